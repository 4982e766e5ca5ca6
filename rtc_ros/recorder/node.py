"""``rtc_recorder``: records what a continuity report needs into a rosbag2 folder (mcap).

By ``ros2 bag record`` where there is one that can, which this process becomes; else by itself.
"""

from __future__ import annotations

import faulthandler
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from std_msgs.msg import String

from rtc_ros.bags.columns import settings_of
from rtc_ros.bags.writer import BagFolderError, BagWriter, exists_already
from rtc_ros.overrides import with_last_words
from rtc_ros.recorder import ros2_bag
from rtc_ros.recorder.qos import bag_qos, receives_alike, receiving_qos
from rtc_ros.ros.guarded_executor import GuardedExecutor
from rtc_ros.ros.parameter_record import PARAMETER_TOPICS
from rtc_ros.ros.parameters import (
    ConfigurationError,
    declare_all,
    refuse_qos_without_effect,
)
from rtc_ros.ros.runner import tear_down
from rtc_ros.running.entry import leave_after
from rtc_ros.running.signals import noted

POLL_PERIOD_S = 0.1
"""How often the graph is asked for publishers: topics' types are unknown until there is one."""

LATCHED = (QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),)

CAMERAS_TIMEOUT_S = 60.0
"""How long ``ros2 bag`` waits to be told the policy's cameras."""

EXECUTED = "rtc_controller/executed"
LINGER_S, QUIET_S = 3.5, 0.3
"""After the signal to end, how long the controller's last commands are recorded: until none came
for a moment, but no longer than it may brake."""

SETTINGS = "rtc_inference/settings"
"""Ends the name of the topic that says which cameras the policy has."""


class Recorder(Node):
    """Subscribes to each topic as its first publisher shows up and passes on raw messages."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("rtc_recorder", **node_options)
        self._p = p = declare_all(self, "rtc_recorder")
        topics = (*p["topics"], *PARAMETER_TOPICS)
        self._pending = {self.resolve_topic_name(t): False for t in topics}
        self._pending.update({self.resolve_topic_name(t): True for t in p["camera_topics"]})
        self._adds_cameras: bool = p["cameras"]
        self._recorded: dict[str, tuple[Subscription, str, bool]] = {}
        self._refused: dict[str, str] = {}
        self._acted_s = 0.0
        self._output = Path(p["output"] or f"rtc_{datetime.now():%Y%m%d_%H%M%S}")

    def other_program(self, stopping: Callable[[], bool]) -> list[str] | None:
        """Return the command line of ``ros2 bag`` if that is to record, None otherwise.

        Raises:
            BagFolderError: the folder exists.
            ConfigurationError: ``ros2 bag`` was asked for and can't be had.
        """
        try:
            program, said = ros2_bag.find(self._p["record_with"])
        except RuntimeError as error:
            raise ConfigurationError(str(error)) from error
        self.get_logger().info(said)
        if program is None:
            return None
        if self._output.exists():
            raise BagFolderError(exists_already(self._output))
        if self._adds_cameras:
            self._await_cameras(stopping)
        return ros2_bag.command(
            program,
            self._output,
            [t for t, is_camera in self._pending.items() if not is_camera],
            [t for t, is_camera in self._pending.items() if is_camera],
            compress=self._p["compress"],
            cache_bytes=self._p["max_queue_mb"] * 10**6,
            use_sim_time=self.get_parameter("use_sim_time").value,
        )

    def _await_cameras(self, stopping: Callable[[], bool]) -> None:
        """Find out which topics the policy's images have: ros2 bag takes no more once it runs."""
        topics = [t for t in self._pending if t.endswith(SETTINGS)]
        heard: dict[str, bytes] = {}
        subscriptions = [
            self.create_subscription(
                String,
                topic,
                partial(heard.__setitem__, topic),
                receiving_qos(LATCHED),
                raw=True,
            )
            for topic in topics
        ]
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        deadline = time.monotonic() + CAMERAS_TIMEOUT_S
        while len(heard) < len(topics) and not stopping() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=POLL_PERIOD_S)
        executor.remove_node(self)
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        for data in heard.values():
            self._add_cameras(data)
        silent = sorted(set(topics) - set(heard)) or ([] if topics else [SETTINGS])
        if silent and not stopping():
            self.get_logger().error(
                f"the policy's cameras are not recorded: nothing on {', '.join(silent)} names them"
            )

    def begin(self) -> None:
        """Record from now on, by this process.

        Raises:
            BagFolderError: the folder exists or can't be made.
        """
        self.writer = BagWriter(
            self._output,
            compress=self._p["compress"],
            max_queued_bytes=self._p["max_queue_mb"] * 10**6,
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
            if offered and not receives_alike(subscription.qos_profile, wanted):
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
        if topic.endswith(EXECUTED):
            self._acted_s = time.monotonic()
        if self._adds_cameras and topic.endswith(SETTINGS):
            self._add_cameras(data)

    def controller_acts(self, since_s: float) -> bool:
        """Whether the controller commanded something a moment ago.

        Not known before a moment after ``since_s``: what came by then may not be taken yet.
        """
        quiet_s = time.monotonic() - max(self._acted_s, since_s)
        return quiet_s < QUIET_S and self.writer.failure is None

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


def main(argv: Sequence[str] | None = None) -> int:
    """Record until a signal; return 0, 1 past a disk error, 2 for a bad folder or parameter."""
    faulthandler.enable()
    # Our own handlers: rclpy's shut the context down under the node, and the bag's end is
    # written by this function whatever ROS does.
    with noted() as signals:
        try:
            return _record(argv, signals)
        finally:
            rclpy.try_shutdown()


def _record(argv: Sequence[str] | None, signals: list[int]) -> int:
    def ended() -> bool:
        return bool(signals)

    if argv is None:
        argv = sys.argv = with_last_words(sys.argv, "rtc_recorder")
    try:
        rclpy.init(
            args=list(argv),
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = Recorder()
        refuse_qos_without_effect(node)
        words = node.other_program(ended)
        if words is not None and not ended():
            node.destroy_node()
            rclpy.try_shutdown()
            if ended():
                return 0
            ros2_bag.become(words)
        node.begin()
    except (BagFolderError, ConfigurationError, NameValidationException, RuntimeError) as error:
        print(f"rtc_recorder: {error}", file=sys.stderr)
        return 2
    executor = GuardedExecutor()
    executor.add_node(node)
    while not ended() and rclpy.ok() and node.writer.failure is None:
        executor.spin_once(timeout_sec=POLL_PERIOD_S)
    # Whoever ends everything at once wants to see the arm come to rest, too.
    since, count = time.monotonic(), len(signals)
    while (
        time.monotonic() < since + LINGER_S
        and len(signals) == count
        and node.controller_acts(since)
    ):
        executor.spin_once(timeout_sec=POLL_PERIOD_S)
    code = node.finish()
    # The bag is whole: whatever hangs from now on changes nothing.
    tear_down(code, executor.shutdown, node.destroy_node, rclpy.try_shutdown)
    return code


if __name__ == "__main__":
    leave_after(main)
