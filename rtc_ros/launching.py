"""Turns ``bringup``'s description into launch_ros actions. Imported by the launch files only."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from rtc_ros.bringup import COMMON_ARGUMENTS, PACKAGE, SIM_ARGUMENTS, nodes_to_run


def describe(*, simulated: bool) -> LaunchDescription:
    """Return the launch description: the arguments, then the nodes that they ask for."""
    arguments = SIM_ARGUMENTS if simulated else COMMON_ARGUMENTS

    def start(context: LaunchContext) -> list[Node]:
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
            for node in nodes_to_run(values, simulated=simulated)
        ]

    declared = [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.description)
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
