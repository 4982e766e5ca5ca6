"""The reading process of `rtc_ros bench handoff`, and the messages that it is sent."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

TOPICS = {"JointTrajectory": "trajectory_msgs", "Float64MultiArray": "std_msgs"}
"""Message types that carry a chunk, and their packages."""

_now = time.monotonic_ns


def serve(name: str, spec: HandoffSpec) -> int:
    """Serve turns asked for on standard input, as `[discipline, way, samples]` a line."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init(args=[])
    node = rclpy.create_node("bench_handoff_reader")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ring = ChunkRing.attach(name, spec)
    seen: list[tuple[int, int, int]] = []
    topic = {way: f"/bench_handoff_writer/{way}" for way in TOPICS}

    def take(way: str, message: Any) -> None:
        arrived = _now()
        chunk = from_message(way, message, spec)
        seen.append((chunk.origin_step, arrived, _now()))

    for way in TOPICS:
        node.create_subscription(message_type(way), topic[way], lambda m, w=way: take(w, m), 10)
    while any(node.count_publishers(name) == 0 for name in topic.values()):
        executor.spin_once(0.05)
    time.sleep(0.5)  # matched on this side; let the other side match as well
    for discipline, way, samples in map(json.loads, sys.stdin):
        seen.clear()
        ring.read_newest()
        print("ready", flush=True)
        end = _now() + int(10e9 + samples * 20e6)  # what is lost is reported as not seen
        if way == "ring":
            for arrived in _polls(ring, 50e-6 if discipline == "waiting" else 0.0, end):
                chunk = ring.read_newest()
                assert chunk is not None
                seen.append((chunk.origin_step, arrived, _now()))
                if chunk.origin_step == samples - 1:
                    break
        else:
            wait_s = 0.1 if discipline == "waiting" else 0.0
            while _now() < end and not (seen and seen[-1][0] == samples - 1):
                executor.spin_once(wait_s)
        print(json.dumps(seen), flush=True)
    rclpy.shutdown()
    return 0


def _polls(ring: ChunkRing, pause_s: float, end_ns: int) -> Iterator[int]:
    """Poll until ``end_ns``; yields the time of each poll that said yes."""
    while (now := _now()) < end_ns:
        if ring.poll():
            yield now
        elif pause_s:
            time.sleep(pause_s)


def message_type(way: str) -> Any:
    """Return the message class of that name."""
    return getattr(importlib.import_module(f"{TOPICS[way]}.msg"), way)


def to_message(way: str, chunk: ActionChunk, joints: tuple[str, ...]) -> Any:
    """Return the chunk as a message; its origin_step goes where the type has room for a number."""
    message = message_type(way)()
    if way == "Float64MultiArray":
        message.layout.data_offset = chunk.origin_step
        message.data = chunk.actions.ravel().tolist()
        return message
    from trajectory_msgs.msg import JointTrajectoryPoint

    message.header.stamp.nanosec = chunk.origin_step
    message.joint_names = list(joints)
    message.points = [JointTrajectoryPoint(positions=row) for row in chunk.actions.tolist()]
    for i, point in enumerate(message.points):
        point.time_from_start.nanosec = i * 20_000_000
    return message


def from_message(way: str, message: Any, spec: HandoffSpec) -> ActionChunk:
    """Return the chunk in a message."""
    if way == "Float64MultiArray":
        actions = np.array(message.data).reshape(spec.horizon, spec.action_dim)
        return ActionChunk(actions, message.layout.data_offset)
    rows = [point.positions for point in message.points]
    return ActionChunk(np.array(rows), message.header.stamp.nanosec)
