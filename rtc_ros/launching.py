"""Turns ``bringup``'s description into launch_ros actions. Imported by the launch files only."""

from __future__ import annotations

import sys

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from rtc_ros.bringup import PACKAGE, launch_arguments, nodes_to_run, refuse_undeclared


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
            )
            for node in nodes_to_run(values, simulated=simulated, machine=machine)
        ]

    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description)
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
