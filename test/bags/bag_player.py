"""Plays a bag over real ROS 2 topics with its timing: bag_player.py BAG [RATE] [TIMES].

What `ros2 bag play` does, as far as a listener can tell: serialized messages, at the distances of
their receive times, latched topics latched. It begins once all topics have a listener and its
input says so with a line: that listener may not know yet of this publisher.
"""

import importlib
import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile

from rtc_ros.bags.reader import Bag

LATCHED = ("/rtc_inference/settings",)


def read(path):
    """Return {topic: type}, and (receive time [ns], topic, bytes) in the order of time."""
    with Bag(path) as bag:
        found = [
            (time_ns, topic, message)
            for topic, times, data in bag.batches(*bag.topics)
            for time_ns, message in zip(times, data, strict=True)
        ]
        return dict(bag.topics), sorted(found, key=lambda m: m[0])


def message_class(msgtype):
    package, _, name = msgtype.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def main() -> None:
    path, rate, times = Path(sys.argv[1]), *(float(x) for x in [*sys.argv[2:], 1, 1][:2])
    types, messages = read(path)
    rclpy.init()
    node = rclpy.create_node("bag_player")
    publishers = {}
    for topic, msgtype in types.items():
        latched = topic.endswith(LATCHED)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        profile = QoSProfile(depth=500, durability=durability)
        publishers[topic] = node.create_publisher(message_class(msgtype), topic, profile)
    deadline = time.monotonic() + 60
    while not all(p.get_subscription_count() for p in publishers.values()):
        if time.monotonic() > deadline:
            sys.exit("nobody listens")
        time.sleep(0.05)
    sys.stdin.readline()
    for _ in range(int(times)):
        begun, first = time.monotonic(), messages[0][0]
        for time_ns, topic, data in messages:
            due = begun + (time_ns - first) * 1e-9 / rate
            time.sleep(max(0.0, due - time.monotonic()))
            publishers[topic].publish(data)
    print("done", flush=True)
    # Stays until its input ends, so that nothing is lost with it.
    sys.stdin.read()
    rclpy.try_shutdown()


main()
