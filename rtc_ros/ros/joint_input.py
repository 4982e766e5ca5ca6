"""Joint positions by name, from one or several JointState topics."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState

from rtc_ros.bags.joint_positions import WHOLE, read_positions
from rtc_ros.ros.parameters import ConfigurationError
from rtc_ros.ros.sources import Publishers, Sources
from rtc_ros.spelling import few

_DISTRUST_NS = 500_000_000
"""How long a jump is held against the joint states."""
_JUMP_FACTOR, _JUMP_SPAN_S = 4.0, 0.05
"""A jump: from one message to the next farther than this many times the velocity limit goes in
the time between them, or in 0.05 s where they come closer (messages may come in bunches)."""


class JointInput:
    """The newest position of each joint and how old it is; safe to read from any thread.

    What is not taken as news: positions that can't be used (``read_positions``), and messages that
    repeat the stamp of their publisher's last one (``Sources``). What makes ``read`` refuse for a
    while: a joint that comes from two publishers, and one that jumps, once ``expect`` was called.

    Args:
        node: where the subscriptions live.
        topics: JointState topics; each may carry any subset of the joints, in any order.
        joints: the A joints, in the order wanted.
        group: of the subscriptions.
        prefixes: one for each topic, put before the names there; none: names as they are.

    Raises:
        ConfigurationError: there are not as many prefixes as topics.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[str],
        joints: Sequence[str],
        group: CallbackGroup | None = None,
        prefixes: Sequence[str] = (),
    ) -> None:
        self.joints = tuple(joints)
        self.topics = tuple(topics)
        self.refused = 0
        """Positions that could not be used, and messages."""
        self._index = {name: i for i, name in enumerate(self.joints)}
        self._positions = np.full(len(self.joints), np.nan)
        self._received_ns = np.zeros(len(self.joints), dtype=np.int64)
        self._fresh_ns = np.zeros(len(self.joints), dtype=np.int64)
        """The same, put off by the time in which this process stood still since then."""
        self._stamps_ns = np.zeros(len(self.joints), dtype=np.int64)
        self._read_stamps_ns = np.zeros(0, dtype=np.int64)
        self.read_received_ns = np.zeros(len(self.joints), dtype=np.int64)
        """When those positions came (CLOCK_MONOTONIC), joint by joint."""
        self._repeats = np.zeros(len(self.joints), dtype=bool)
        self._faults = [""] * len(self.joints)
        """What was wrong with each joint's last position that was no news."""
        self._whole_fault, self._whole_fault_ns = "", 0
        self._sources = [Sources() for _ in self.joints]
        self._publishers: defaultdict[str, Publishers] = defaultdict(Publishers)
        self._two_until_ns = 0
        self._largest_speed: np.ndarray | None = None
        self._jump = ""
        self.jump_ns = 0
        """When a joint jumped last (CLOCK_MONOTONIC); 0: never."""
        self._lock = threading.Lock()
        # Best effort matches reliable and best-effort drivers alike. Not depth 1: two drivers may
        # share a topic, and the second's message would push out the first's.
        qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions = [
            node.create_subscription(
                JointState,
                topic,
                functools.partial(self._receive, prefix, topic=topic),
                qos,
                callback_group=group,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for topic, prefix in prefixed(self.topics, prefixes)
        ]

    def expect(self, max_speed: np.ndarray) -> None:
        """Refuse joint states that jump: ``max_speed`` [A] robot units / s, infinite for any."""
        self._largest_speed = _JUMP_FACTOR * max_speed

    def _receive(
        self, prefix: str, message: JointState, info: Mapping[str, Any], topic: str = ""
    ) -> None:
        told = np.asarray(message.position, dtype=np.float64)
        if not len(told):
            return
        read = read_positions([prefix + n for n in message.name], told[None])
        now = time.monotonic_ns()
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        source = self._publishers[topic].of(info, now)
        with self._lock:
            if WHOLE in read.faults:
                self._whole_fault = f"{read.faults[WHOLE]} on {topic}"
                self._whole_fault_ns = now
                self.refused += 1
            for name, position in zip(read.joints, read.positions[0].tolist(), strict=True):
                i = self._index.get(name)
                if i is None:
                    continue
                sources = self._sources[i]
                self._repeats[i] = not sources.hear(source, stamp_ns, now)
                self._two_until_ns = max(self._two_until_ns, sources.two_until_ns)
                if math.isnan(position):
                    self._faults[i] = read.faults.get(name, "")
                    self.refused += bool(self._faults[i])
                    continue
                if self._repeats[i]:
                    continue
                self._look_for_jump(i, position, now)
                self._positions[i] = position
                self._received_ns[i] = now
                self._fresh_ns[i] = now
                self._stamps_ns[i] = stamp_ns
                self._faults[i] = ""

    @property
    def jump(self) -> str:
        """The last jump in words; "" where there was none."""
        return self._jump

    def _look_for_jump(self, i: int, position: float, now: int) -> None:
        if self._largest_speed is None:
            return
        apart_s = (now - int(self._received_ns[i])) * 1e-9
        change = abs(position - self._positions[i])
        if change > self._largest_speed[i] * max(apart_s, _JUMP_SPAN_S):
            self.jump_ns = now
            self._jump = (
                f"the joint state of {self.joints[i]} jumped by {change:.3g} within "
                f"{apart_s * 1e3:.0f} ms, to {position:.3g}"
            )

    def stood_still(self, seconds: float) -> None:
        """Say that this process stood still: what came meanwhile could not be seen yet."""
        with self._lock:
            self._fresh_ns += round(seconds * 1e9)

    def read(self, timeout_s: float, *, jumps: bool = True) -> tuple[np.ndarray, str]:
        """Return the positions float64[A] and "", or what is wrong with them.

        A joint that was never seen, or not within ``timeout_s``, is named, and one that jumped
        only with ``jumps``.
        """
        with self._lock:
            positions, received = self._positions.copy(), self._received_ns.copy()
            self._read_stamps_ns = self._stamps_ns.copy()
            self.read_received_ns = received
            return positions, self._problem(timeout_s, time.monotonic_ns(), jumps)

    @property
    def read_stamps_ns(self) -> tuple[int, ...]:
        """The headers' stamps of the positions that ``read`` returned last, joint by joint."""
        return tuple(self._read_stamps_ns.tolist())

    def _problem(self, timeout_s: float, now: int, jumps: bool) -> str:
        """Say why the positions can't be used; within the lock."""
        # Ticks ask for it: what is only said where something is wrong is made there alone.
        if not self._received_ns.all():
            missing = np.flatnonzero(self._received_ns == 0).tolist()
            why = next((f": {fault}" for i in missing if (fault := self._fault(i))), "")
            return (
                f"no joint state yet for {few([self.joints[i] for i in missing])} on "
                f"{', '.join(self.topics)}{why}"
            )
        oldest = int(self._fresh_ns.argmin())
        age_s = (now - int(self._fresh_ns[oldest])) * 1e-9
        if age_s > timeout_s:
            hangs = "its messages repeat one stamp, the driver hangs"
            why = self._fault(oldest) or (hangs if self._repeats[oldest] else "")
            return (
                f"the joint state of {self.joints[oldest]} is {age_s:.2f} s old "
                f"(joint_state_timeout is {timeout_s:g} s)" + (f": {why}" if why else "")
            )
        if now < self._two_until_ns:
            twice = next(i for i, each in enumerate(self._sources) if each.two_at(now))
            return (
                f"the joint state of {self.joints[twice]} comes from two publishers at once on "
                f"{', '.join(self.topics)}: stop one"
            )
        if jumps and now - self.jump_ns < _DISTRUST_NS and self._jump:
            return self._jump
        return ""

    def _fault(self, i: int) -> str:
        """Say what was wrong with what came last for joint ``i``; "" where nothing was."""
        newer = self._whole_fault_ns > self._received_ns[i]
        return self._faults[i] or (self._whole_fault if newer else "")


def prefixed(topics: Sequence[str], prefixes: Sequence[str]) -> list[tuple[str, str]]:
    """Return each joint-state topic with the prefix of its names, "" where none are given.

    Raises:
        ConfigurationError: there are not as many prefixes as topics.
    """
    if prefixes and len(prefixes) != len(topics):
        raise ConfigurationError(
            f"parameter joint_state_prefixes has {len(prefixes)} values for {len(topics)} "
            "joint_state_topics"
        )
    return list(zip(topics, prefixes or [""] * len(topics), strict=True))
