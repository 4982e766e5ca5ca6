"""Camera images: the newest one of each camera, decoded when it is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from rtc_ros.bags.images import ImageError, decode, form, plain
from rtc_ros.inference.parameters import CAMERA
from rtc_ros.ros.parameters import declare, require
from rtc_ros.ros.sources import Publishers, Sources


class CameraInput:
    """One camera. Only the newest message is kept; safe to read from any thread.

    Messages that repeat the stamp of their publisher's last one are no news. While two publishers
    take turns on the topic no image is given: each would be of another place.
    """

    def __init__(self, node: Node, name: str, group: CallbackGroup | None = None) -> None:
        prefix = f"camera.{name}."
        values = declare(node, CAMERA, prefix)
        require(values, "topic", prefix=prefix)
        self.name = name
        self.topic: str = values["topic"]
        self.feature: str = values["feature"] or f"observation.images.{name}"
        self._compressed = values["transport"] == "compressed"
        self._node, self._bridge = node, CvBridge()
        self._lock = threading.Lock()
        self._newest: tuple[Any, int] | None = None
        self._publishers, self._sources, self._repeats = Publishers(), Sources(), False
        self._form = ""
        self._interval_ns = 0.0
        self.change = ""
        """How the images changed last, in words; "" where they never did."""
        self.changed_ns = 0
        self.decode_s = 0.0
        """How long it took to decode the image that ``read`` returned last."""
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

    def _receive(self, message: Any, info: Mapping[str, Any]) -> None:
        now = time.monotonic_ns()
        is_like = form(message)
        with self._lock:
            news = self._sources.hear(self._publishers.of(info, now), _stamp_ns(message), now)
            self._repeats = not news
            if not news:
                return
            if is_like != self._form and self._form:
                self.change = f"camera {self.name} changed from {self._form} to {is_like}"
                self.changed_ns = now
            self._form = is_like
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
        now = time.monotonic_ns()
        with self._lock:
            newest, repeats, twice = self._newest, self._repeats, self._sources.two_at(now)
        if newest is None:
            return None, 0, f"no image yet from camera {self.name} on {self.topic}"
        message, received_ns = newest
        age_s = (now - received_ns) * 1e-9
        problem = ""
        if age_s > timeout_s:
            still = ": its messages repeat one stamp, the driver hangs" if repeats else ""
            problem = (
                f"the last image of camera {self.name} on {self.topic} is {age_s:.2f} s old "
                f"(camera_timeout is {timeout_s:g} s){still}"
            )
        elif twice:
            problem = (
                f"the images of camera {self.name} come from two publishers at once on "
                f"{self.topic}: stop one, or give each camera a topic of its own"
            )
        else:
            begun_s = time.perf_counter()
            try:
                image = self._pixels(message)
                self.decode_s = time.perf_counter() - begun_s
            except ImageError as error:
                problem = (
                    f"an image of camera {self.name} on {self.topic} can't be converted to rgb8: "
                    f"{error}"
                )
        if problem:
            return None, 0, problem
        self.read_stamp_ns = _stamp_ns(message)
        return image, self._taken_ns(message, received_ns), ""

    def _pixels(self, message: Any) -> np.ndarray:
        """Return uint8[height, width, 3] in RGB order; raises ImageError.

        By cv_bridge, as everywhere in ROS 2, what any cv_bridge converts alike; padded rows, byte
        orders, depth and transports are where they differ.
        """
        if plain(message):
            image: np.ndarray = self._bridge.imgmsg_to_cv2(message, "rgb8")
            return image
        return decode(message)

    def _taken_ns(self, message: Any, received_ns: int) -> int:
        age_ns = self._node.get_clock().now().nanoseconds - _stamp_ns(message)
        if 0 <= age_ns <= 10**10:
            return min(time.monotonic_ns() - age_ns, received_ns)
        return received_ns


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
