"""``rtc_recorder``: records what a continuity report needs into a rosbag2 folder (mcap)."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from rtc_ros.bags.columns import settings_of
from rtc_ros.bags.writer import BagFolderError, BagWriter
from rtc_ros.nodes.parameters import ConfigurationError, declare
from rtc_ros.nodes.recorder_parameters import RECORDER

POLL_PERIOD_S = 0.1
"""How often the graph is asked for publishers: topics' types are unknown until there is one."""

DEPTH = 1000
"""Messages that may wait for this process: 20 s of a 50 Hz topic."""

CAMERA_DEPTH = 10

SETTINGS = "rtc_inference/settings"
"""Ends the name of the topic that says which cameras the policy has."""


class Recorder(Node):
    """Subscribes to each topic as its first publisher shows up and passes on raw messages."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("rtc_recorder", **node_options)
        p = declare(self, RECORDER)
        self._pending = {self.resolve_topic_name(t): False for t in p["topics"]}
        self._pending.update({self.resolve_topic_name(t): True for t in p["camera_topics"]})
        self._adds_cameras: bool = p["cameras"]
        self._recorded: dict[str, tuple[Subscription, str, bool]] = {}
        self._refused: dict[str, str] = {}
        self.writer = BagWriter(
            Path(p["output"] or f"rtc_{datetime.now():%Y%m%d_%H%M%S}"),
            compress=p["compress"],
            max_queued_bytes=p["max_queue_mb"] * 10**6,
        )
        self.create_timer(POLL_PERIOD_S, self._look_for_publishers)
        self.get_logger().info(
            f"recording {len(self._pending)} topics to {self.writer.path} as they appear"
        )

    def _look_for_publishers(self) -> None:
        for topic, is_camera in list(self._pending.items()):
            infos = self.get_publishers_info_by_topic(topic)
            types = {info.topic_type for info in infos}
            if not types:
                continue
            del self._pending[topic]
            if len(types) > 1:
                self._refuse(topic, f"its publishers disagree on the type: {sorted(types)}")
                continue
            self._record(topic, types.pop(), is_camera, [i.qos_profile for i in infos])
        for topic, (subscription, msgtype, is_camera) in list(self._recorded.items()):
            offered = [i.qos_profile for i in self.get_publishers_info_by_topic(topic)]
            wanted = receiving_qos(offered, is_camera)
            if offered and not _receives_alike(subscription.qos_profile, wanted):
                self.get_logger().info(f"{topic}: another QoS is offered now, subscribing anew")
                self.destroy_subscription(subscription)
                self._record(topic, msgtype, is_camera, offered)

    def _record(
        self, topic: str, msgtype: str, is_camera: bool, offered: Sequence[QoSProfile]
    ) -> None:
        try:
            self.writer.add_topic(topic, msgtype, [bag_qos(q) for q in offered])
            package, _, name = msgtype.split("/")
            message_class = getattr(importlib.import_module(f"{package}.msg"), name)
        except (LookupError, ImportError, AttributeError) as error:
            self._refuse(topic, str(error))
            return
        self._recorded[topic] = (
            self.create_subscription(
                message_class,
                topic,
                partial(self._on_message, topic),
                receiving_qos(offered, is_camera),
                raw=True,
            ),
            msgtype,
            is_camera,
        )
        self.get_logger().info(f"recording {topic} ({msgtype})")

    def _refuse(self, topic: str, why: str) -> None:
        self._refused[topic] = why
        self.get_logger().error(f"not recording {topic}: {why}")

    def _on_message(self, topic: str, data: bytes) -> None:
        self.writer.put(topic, self.get_clock().now().nanoseconds, data)
        if self._adds_cameras and topic.endswith(SETTINGS):
            self._add_cameras(data)

    def _add_cameras(self, data: bytes) -> None:
        """Record the images that the policy sees, too: its settings name their topics."""
        try:
            cameras = settings_of(data).get("cameras")
        except ValueError:
            return
        for topic in cameras.values() if isinstance(cameras, dict) else ():
            if topic not in self._recorded and topic not in self._refused:
                self._pending.setdefault(topic, True)

    def finish(self) -> int:
        """Complete the bag, say what is in it, and return the exit code."""
        self.writer.close()
        log = self.get_logger()
        for topic in self._pending:
            log.warning(f"nothing recorded from {topic}: no publisher showed up")
        for topic, count in sorted(self.writer.dropped.items()):
            log.warning(f"{count} messages of {topic} dropped: the disk was too slow or refused")
        counts = ", ".join(f"{topic} {n}" for topic, n in sorted(self.writer.counts.items()))
        log.info(f"{self.writer.path}: {counts or 'no messages'}")
        if self.writer.failure is not None:
            log.error(self.writer.failure)
            return 1
        return 0


def receiving_qos(offered: Sequence[QoSProfile], is_camera: bool = False) -> QoSProfile:
    """Return the QoS that receives from every publisher in ``offered`` as well as it can.

    Reliable and transient local only where all of them are; cameras always best effort, so that
    a slow disk never holds back a driver.
    """
    reliable = not is_camera and all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = reliable and all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=CAMERA_DEPTH if is_camera else DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _receives_alike(have: QoSProfile, want: QoSProfile) -> bool:
    # A reliable or latched subscription is only replaced when it misses a publisher.
    misses = (
        have.reliability == ReliabilityPolicy.RELIABLE
        and want.reliability == ReliabilityPolicy.BEST_EFFORT
    ) or (
        have.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and want.durability == DurabilityPolicy.VOLATILE
    )
    return not misses


def bag_qos(profile: QoSProfile) -> Qos:
    """Return rclpy's QoS profile as the bag's metadata spells it."""

    def seconds(duration: Duration) -> QosTime:
        return QosTime(*divmod(duration.nanoseconds, 10**9))

    return Qos(
        QosHistory(int(profile.history)),
        profile.depth,
        QosReliability(int(profile.reliability)),
        QosDurability(int(profile.durability)),
        seconds(profile.deadline),
        seconds(profile.lifespan),
        QosLiveliness(int(profile.liveliness)),
        seconds(profile.liveliness_lease_duration),
        profile.avoid_ros_namespace_conventions,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Record until a signal; return 0, 1 past a disk error, 2 for a bad folder or parameter."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    # Our own handlers: rclpy's shut the context down under the node, and the bag's end is
    # written by this function whatever ROS does.
    restore: list[tuple[int, Callable[..., Any] | int | None]] = [
        (s, signal.signal(s, stop)) for s in (signal.SIGINT, signal.SIGTERM)
    ]
    rclpy.init(
        args=None if argv is None else list(argv),
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        try:
            node = Recorder()
        except (BagFolderError, ConfigurationError) as error:
            print(f"rtc_recorder: {error}", file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stopping and rclpy.ok() and node.writer.failure is None:
            executor.spin_once(timeout_sec=POLL_PERIOD_S)
        code = node.finish()
        executor.shutdown()
        node.destroy_node()
        return code
    finally:
        rclpy.try_shutdown()
        for number, handler in restore:
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
