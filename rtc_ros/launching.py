"""Turns ``bringup``'s description into launch_ros actions. Imported by the launch files only."""

from __future__ import annotations

import sys

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from rtc_ros.bringup import (
    PACKAGE,
    REFUSED,
    launch_arguments,
    nodes_to_run,
    refuse_undeclared,
)


def describe(*, simulated: bool, machine: str = "") -> LaunchDescription:
    """Return the launch description: the arguments, then the nodes that they ask for.

    ``machine`` is ``robot`` or ``gpu`` where there are two.
    """
    arguments = launch_arguments(simulated=simulated, machine=machine)

    def start(context: LaunchContext) -> list[Node]:
        given = context.launch_configurations
        refuse_undeclared(given, sys.argv, simulated=simulated, machine=machine)
        values = {a.name: LaunchConfiguration(a.name).perform(context) for a in arguments}
        return [
            Node(
                package=PACKAGE,
                executable=node.executable,
                name=node.executable,
                namespace=node.namespace,
                parameters=node.parameter_files(),
                ros_arguments=["--log-level", node.log_level],
                additional_env=node.environment,
                output="screen",
                on_exit=end_where_refused,
            )
            for node in nodes_to_run(values, simulated=simulated, machine=machine)
        ]

    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description)
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def end_where_refused(event: ProcessExited, _: LaunchContext) -> list[Shutdown]:
    """End the launch where a node refused to begin: without it the others would wait for nothing.

    Not where one ends later: rtc_controller brakes and holds the arm without rtc_inference.
    """
    if event.returncode != REFUSED:
        return []
    return [Shutdown(reason=f"{event.process_name} can't begin, and said why (exit code 2)")]
