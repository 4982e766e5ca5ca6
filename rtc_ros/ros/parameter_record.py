"""A node's parameters as a latched message, so that a recording says what a run was made with."""

from __future__ import annotations

from array import array
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from rtc_ros.parameter_files import yaml_value

PARAMETER_TOPICS = ("rtc_inference/parameters", "rtc_controller/parameters")
"""Recorded whatever else is: without them nobody knows later what a run was made with."""


def announce_parameters(node: Node) -> None:
    """Publish the text of a parameter file with all of ``node``'s on ~/parameters, now and anew.

    /parameter_events has the changes only: a recorder that comes later never sees the beginning.
    """
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(String, "~/parameters", latched)

    def publish(_: list[Parameter] | None = None) -> None:
        values = {p.name: _plain(p.value) for p in node.get_parameters_by_prefix("").values()}
        tree = {node.get_fully_qualified_name(): {"ros__parameters": values}}
        publisher.publish(String(data=yaml_value(tree)))

    node.add_post_set_parameters_callback(publish)
    publish()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, array) else value
