"""Joint positions by name, from one or several JointState topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState


class JointInput:
    """The newest position of each joint and how old it is; safe to read from any thread.

    Args:
        node: where the subscriptions live.
        topics: JointState topics; each may carry any subset of the joints, in any order.
        joints: the A joints, in the order wanted.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[str],
        joints: Sequence[str],
        group: CallbackGroup | None = None,
    ) -> None:
        self.joints = tuple(joints)
        self.topics = tuple(topics)
        self.not_finite = 0
        self._index = {name: i for i, name in enumerate(self.joints)}
        self._positions = np.full(len(self.joints), np.nan)
        self._received_ns = np.zeros(len(self.joints), dtype=np.int64)
        self._stamps_ns = np.zeros(len(self.joints), dtype=np.int64)
        self.read_stamps_ns: tuple[int, ...] = ()
        """The headers' stamps of the positions that ``read`` returned last, joint by joint."""
        self._lock = threading.Lock()
        # Best effort matches reliable and best-effort drivers alike. Not depth 1: two drivers may
        # share a topic, and the second's message would push out the first's.
        qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions = [
            node.create_subscription(
                JointState,
                topic,
                self._receive,
                qos,
                callback_group=group,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for topic in self.topics
        ]

    def _receive(self, message: JointState) -> None:
        now = time.monotonic_ns()
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        with self._lock:
            for name, position in zip(message.name, message.position, strict=False):
                i = self._index.get(name)
                if i is None:
                    continue
                if not np.isfinite(position):
                    self.not_finite += 1
                    continue
                self._positions[i] = position
                self._received_ns[i] = now
                self._stamps_ns[i] = stamp_ns

    def read(self, timeout_s: float) -> tuple[np.ndarray, str]:
        """Return the positions float64[A] and "", or what is wrong with them.

        A joint that was never seen, or not within ``timeout_s``, is named.
        """
        with self._lock:
            positions, received = self._positions.copy(), self._received_ns.copy()
            self.read_stamps_ns = tuple(self._stamps_ns.tolist())
        oldest = int(np.argmin(received))
        if received[oldest] == 0:
            missing = [n for n, at in zip(self.joints, received, strict=True) if at == 0]
            return positions, (
                f"no joint state yet for {_few(missing)} on {', '.join(self.topics)}"
            )
        age_s = (time.monotonic_ns() - received[oldest]) * 1e-9
        if age_s > timeout_s:
            return positions, (
                f"the joint state of {self.joints[oldest]} is {age_s:.2f} s old "
                f"(joint_state_timeout is {timeout_s:g} s)"
            )
        return positions, ""


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
