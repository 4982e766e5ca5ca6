"""What the inference node publishes beside /diagnostics: ~/chunk and ~/settings."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.inference_loop import InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.inference.camera_input import CameraInput
from rtc_ros.inference.live_settings import LiveSettings
from rtc_ros.inference.reports import made_of, same_limits
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.provenance import ChunkSource, chunk_message

if TYPE_CHECKING:
    from rtc_ros.policy.protocol import PolicySpec


class InferenceOutput:
    """Copies of the chunks, and what is in effect, for people, bags and replays.

    Args:
        node: publishes.
        p: its parameters, kept up to date.
        units: of actions and state.
        cameras: what the policy sees.
        live: the settings.
    """

    def __init__(
        self,
        node: Node,
        p: Mapping[str, Any],
        units: PolicyUnits,
        cameras: Sequence[CameraInput],
        live: LiveSettings,
    ) -> None:
        self.spec: PolicySpec | None = None
        """Of the policy that is loaded."""
        self._node, self._p, self._live = node, p, live
        self._units, self._cameras = units, cameras
        self._limits: JointLimits | None = None
        # A recorder on another machine gets what a network lost for some seconds, too.
        self._chunks = node.create_publisher(JointTrajectory, "~/chunk", 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._settings = node.create_publisher(String, "~/settings", latched)

    def publish_settings(self) -> None:
        """Publish what is in effect now."""
        effective = self._live.effective(self.spec) | made_of(
            self._node, self._p, self._units, self._cameras, self._limits
        )
        self._settings.publish(String(data=json.dumps(effective)))

    def publish_chunk(
        self,
        chunk: ActionChunk,
        request: InferenceRequest,
        source: ChunkSource,
        limits: JointLimits,
    ) -> None:
        """Publish a chunk that was written, and the controller's limits where they are new."""
        # Row 0 is for the step at which the inference started (or earlier, by the anchor).
        ago_ns = time.monotonic_ns() - chunk.start_ns
        early = request.horizons.delay - request.forecast
        period_s = self._p["control_period"]
        now_ns = self._node.get_clock().now().nanoseconds
        row_0 = max(0, now_ns - ago_ns - round(early * period_s * 1e9))
        stamp = Time(nanoseconds=row_0).to_msg()
        latency_ms = (chunk.end_ns - chunk.start_ns) * 1e-6
        if not same_limits(limits, self._limits):
            self._limits = limits
            self.publish_settings()
        self._chunks.publish(
            chunk_message(chunk, self._p["joints"], period_s, stamp, latency_ms, source)
        )
