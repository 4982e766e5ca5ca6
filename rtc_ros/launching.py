"""Turns ``bringup``'s description into launch_ros actions. Imported by the launch files only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from rtc_ros.bringup import PACKAGE, launch_arguments, nodes_to_run, unknown_arguments
from rtc_ros.spelling import letters


def describe(*, simulated: bool, machine: str = "") -> LaunchDescription:
    """Return the launch description: the arguments, then the nodes that they ask for.

    ``machine`` is ``robot`` or ``gpu`` where there are two.
    """
    arguments = launch_arguments(simulated=simulated, machine=machine)

    def start(context: LaunchContext) -> list[Node]:
        names = [a.name for a in arguments]
        refuse_undeclared(context, names, simulated=simulated, machine=machine)
        values = {a.name: LaunchConfiguration(a.name).perform(context) for a in arguments}
        return [
            Node(
                package=PACKAGE,
                executable=node.executable,
                name=node.executable,
                namespace=node.namespace,
                parameters=node.parameter_files(),
                ros_arguments=["--log-level", node.log_level],
                output="screen",
            )
            for node in nodes_to_run(values, simulated=simulated, machine=machine)
        ]

    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description)
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def refuse_undeclared(
    context: LaunchContext, names: list[str], *, simulated: bool, machine: str = ""
) -> None:
    """End the launch by a misspelt argument, which launch itself drops without a word.

    Every argument is in the context, but so are those of a launch file that includes ours. What
    isn't declared here is refused where ours is the file that was launched, and elsewhere only
    where it differs from one of ours by case, ``_`` or ``-`` alone.

    Raises:
        ValueError: names the argument, and the one that may have been meant.
    """
    given = set(context.launch_configurations) - set(names)
    file = "sim" if simulated else machine or "rtc"
    if not is_launched(sys.argv, f"{file}.launch.py"):
        ours = {letters(name) for name in names}
        given = {name for name in given if letters(name) in ours}
    if told := unknown_arguments(given, simulated=simulated, machine=machine):
        raise ValueError(told)


def is_launched(words: Sequence[str], file: str) -> bool:
    """Tell whether a command line is ``ros2 launch rtc_ros FILE …``, or has FILE's whole path."""
    pairs = zip(words, words[1:], strict=False)
    here = Path(__file__).resolve().parent.parent / "launch" / file
    paths = [Path(word) for word in words if word.endswith(file)]
    return (PACKAGE, file) in pairs or any(
        path.resolve() == here or path.parts[-4:-1] == ("share", PACKAGE, "launch")
        for path in paths
    )
