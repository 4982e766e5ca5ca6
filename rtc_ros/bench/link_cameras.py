"""`rtc_ros bench link --cameras N`: the cameras, and who looks at their images there.

``film`` is a process on the robot that publishes raw images at a camera's rate. ``Viewer`` is the
inference's side: the newest image of each camera, decoded as rtc_inference does it.
"""

from __future__ import annotations

import functools
import itertools
import select
import sys
import threading
import time
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from rtc_ros.bags.images import decode
from rtc_ros.bringup import LINKED_IMAGES
from rtc_ros.sim.driver_messages import image_message

HEIGHT, WIDTH, HZ = 480, 640, 15.0


def names(count: int) -> list[str]:
    """Return the cameras' names."""
    return [f"camera_{i}" for i in range(count)]


def link_parameters(count: int) -> dict[str, Any]:
    """Return what rtc_link is told of the cameras."""
    told: dict[str, Any] = {"cameras": names(count)}
    return told | {f"camera.{name}.topic": f"bench_{name}" for name in names(count)}


def picture(seed: int) -> np.ndarray:
    """Return uint8[HEIGHT, WIDTH, 3] with as much detail at each scale as photographs have."""
    chance = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(HEIGHT) * HEIGHT, np.fft.fftfreq(WIDTH) * WIDTH
    scale = np.maximum(np.hypot(down[:, None], across), 1.0) ** 1.2
    grey = np.fft.fft2(chance.normal(size=(HEIGHT, WIDTH))) / scale
    colours = [np.fft.fft2(chance.normal(size=(HEIGHT, WIDTH))) / scale for _ in range(3)]
    image = np.stack([np.fft.ifft2(grey + 0.3 * c).real for c in colours], axis=-1)
    image = (image - image.mean()) / image.std()
    return np.clip(128 + 50 * image, 0, 255).astype(np.uint8)


def film(count: int) -> int:
    """Publish ``count`` cameras' raw images until the input ends."""
    rclpy.init()
    node = Node("bench_cameras")
    publishers = [
        node.create_publisher(Image, f"bench_{name}", QoSProfile(depth=1)) for name in names(count)
    ]
    messages = [image_message(picture(seed), Header()) for seed in range(count)]
    due_s = time.monotonic()
    for publisher, message in itertools.cycle(zip(publishers, messages, strict=True)):
        if select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))[0]:
            break
        due_s += 1 / HZ / count
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


class Viewer:
    """Receives the images of ``count`` cameras in a thread of its own."""

    def __init__(self, count: int) -> None:
        rclpy.init()
        self._node = Node("bench_viewer")
        self._newest: dict[str, Any] = {}
        self.received = self.bytes = 0
        self.ages_s: list[float] = []
        """How old the images were that an inference began with, since each was taken."""
        self.missing = 0
        """Images that an inference had seen already."""
        self.decode_s: list[float] = []
        self.encode_ms: list[float] = []
        """As rtc_link says it in /diagnostics."""
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        for name in names(count):
            self._node.create_subscription(
                CompressedImage, f"{LINKED_IMAGES}/{name}",
                functools.partial(self._receive, name), QoSProfile(depth=1),
            )  # fmt: skip
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _receive(self, name: str, message: CompressedImage) -> None:
        self._newest[name] = message
        self.received += 1
        self.bytes += len(message.data)

    def _hear(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("rtc_link: link"):
                said = {v.key: v.value for v in status.values}
                self.encode_ms += [float(v) for k, v in said.items() if k.endswith("encode [ms]")]

    def look(self) -> None:
        """Take the newest images, as an inference that begins does."""
        now_ns = self._node.get_clock().now().nanoseconds
        for name, message in list(self._newest.items()):
            if message is None:
                self.missing += 1
                continue
            self._newest[name] = None
            stamp = message.header.stamp
            self.ages_s.append((now_ns - stamp.sec * 10**9 - stamp.nanosec) * 1e-9)
            begun_s = time.perf_counter()
            decode(message)
            self.decode_s.append(time.perf_counter() - begun_s)

    def close(self) -> None:
        """End."""
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._node.destroy_node()
        rclpy.try_shutdown()

    def forget(self) -> None:
        """Begin to count."""
        self.received = self.bytes = self.missing = 0
        self.ages_s, self.decode_s, self.encode_ms = [], [], []

    def figures(self) -> dict[str, float]:
        """Return what it comes to."""
        taken = len(self.ages_s)
        return {
            "images": self.received,
            "kB": self.bytes / max(1, self.received) / 1e3,
            "stale": self.missing / max(1, self.missing + taken),
            "age_ms": float(np.median(self.ages_s)) * 1e3 if taken else float("nan"),
            "age_max_ms": max(self.ages_s, default=float("nan")) * 1e3,
            "encode_ms": float(np.median(self.encode_ms)) if self.encode_ms else float("nan"),
            "decode_ms": float(np.median(self.decode_s)) * 1e3 if taken else float("nan"),
        }
