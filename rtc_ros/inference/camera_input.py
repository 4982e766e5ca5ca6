"""Camera images through cv_bridge: the newest one of each camera, converted when it is used."""

from __future__ import annotations

import threading
import time
from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from rtc_ros.inference.parameters import CAMERA
from rtc_ros.ros.parameters import declare, require

_UNFIT = (CvBridgeError, cv2.error, ValueError, TypeError, KeyError, AttributeError)
"""What comes of an image that can't be converted."""


class CameraInput:
    """One camera. Only the newest message is kept; safe to read from any thread.

    Messages that repeat the stamp of the last one are no news; a camera that never stamps can't
    be told from a live one.
    """

    def __init__(self, node: Node, name: str, group: CallbackGroup | None = None) -> None:
        prefix = f"camera.{name}."
        values = declare(node, CAMERA, prefix)
        require(values, "topic", prefix=prefix)
        self.name = name
        self.topic: str = values["topic"]
        self.feature: str = values["feature"] or f"observation.images.{name}"
        self._compressed = values["transport"] == "compressed"
        self._node = node
        self._bridge = CvBridge()
        self._lock = threading.Lock()
        self._newest: tuple[Any, int] | None = None
        self._stamp_ns, self._repeats = 0, False
        self._form = ""
        self._interval_ns = 0.0
        self.change = ""
        """How the images changed last, in words; "" where they never did."""
        self.changed_ns = 0
        self.read_stamp_ns = 0
        """The header's stamp of the image that ``read`` returned last; 0: it has none."""
        # Best effort matches reliable and best-effort cameras alike; depth 1: only the newest.
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(
            CompressedImage if self._compressed else Image,
            self.topic,
            self._receive,
            qos,
            callback_group=group,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _receive(self, message: Any) -> None:
        now = time.monotonic_ns()
        stamp_ns = _stamp_ns(message)
        # Of a compressed image only the format is known before it is decoded.
        form = (
            str(message.format)
            if self._compressed
            else f"{message.width} × {message.height} {message.encoding}"
        )
        with self._lock:
            # A driver that sends its last image again and again is as good as silent.
            self._repeats = stamp_ns != 0 and stamp_ns == self._stamp_ns
            if self._repeats:
                return
            self._stamp_ns = stamp_ns
            if form != self._form and self._form:
                self.change = f"camera {self.name} changed from {self._form} to {form}"
                self.changed_ns = now
            self._form = form
            if self._newest is not None:
                apart = now - self._newest[1]
                self._interval_ns += 0.2 * (apart - self._interval_ns)
            self._newest = (message, now)

    @property
    def rate_hz(self) -> float:
        """Images a second lately; 0 while none comes."""
        with self._lock:
            if self._newest is None or not self._interval_ns:
                return 0.0
            silent_ns = time.monotonic_ns() - self._newest[1]
            return 1e9 / max(self._interval_ns, silent_ns)

    def read(self, timeout_s: float) -> tuple[np.ndarray | None, int, str]:
        """Return (image, taken_ns, problem): uint8[height, width, 3] in RGB, or why not.

        ``taken_ns`` is CLOCK_MONOTONIC: the header's stamp, where it lies within the last ten
        seconds of the ROS clock, else the time of arrival.
        """
        with self._lock:
            newest, repeats = self._newest, self._repeats
        if newest is None:
            return None, 0, f"no image yet from camera {self.name} on {self.topic}"
        message, received_ns = newest
        age_s = (time.monotonic_ns() - received_ns) * 1e-9
        if age_s > timeout_s:
            still = ": its messages repeat one stamp, the driver hangs" if repeats else ""
            return (
                None,
                0,
                (
                    f"the last image of camera {self.name} on {self.topic} is {age_s:.2f} s old "
                    f"(camera_timeout is {timeout_s:g} s){still}"
                ),
            )
        try:
            if self._compressed:
                image = self._bridge.compressed_imgmsg_to_cv2(message, "rgb8")
            else:
                image = self._bridge.imgmsg_to_cv2(message, "rgb8")
        except _UNFIT as error:
            encoding = message.format if self._compressed else message.encoding
            return (
                None,
                0,
                (
                    f"an image of camera {self.name} on {self.topic} ({encoding}) can't be "
                    f"converted to rgb8: {error}"
                ),
            )
        if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            return None, 0, f"camera {self.name} on {self.topic} sends no 8-bit colour images"
        self.read_stamp_ns = _stamp_ns(message)
        return image, self._taken_ns(message, received_ns), ""

    def _taken_ns(self, message: Any, received_ns: int) -> int:
        age_ns = self._node.get_clock().now().nanoseconds - _stamp_ns(message)
        if 0 <= age_ns <= 10**10:
            return min(time.monotonic_ns() - age_ns, received_ns)
        return received_ns


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
