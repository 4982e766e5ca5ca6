"""The robot description, as robot_state_publisher publishes it."""

from __future__ import annotations

import time

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def await_description(node: Node, topic: str, seconds: float) -> str:
    """Return the first message on ``topic``, "" if none comes within ``seconds``.

    For a node that nothing spins yet; other callbacks of it may run meanwhile.
    """
    got: list[str] = []
    subscription = node.create_subscription(
        String, topic, lambda message: got.append(message.data), LATCHED
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = time.monotonic() + seconds
    while not got and (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)
    executor.remove_node(node)
    node.destroy_subscription(subscription)
    return got[0] if got else ""
