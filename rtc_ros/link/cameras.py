"""The robot's cameras, for the other machine: the newest image of each, when it is asked for."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import cv2
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from rtc_ros.bags.images import ImageError, decode
from rtc_ros.bringup import LINKED_IMAGES
from rtc_ros.inference.parameters import CAMERA
from rtc_ros.ros.parameters import declare, require


class Camera:
    """One camera: its newest message as it came, and what became of it."""

    def __init__(self, node: Node, name: str) -> None:
        prefix = f"camera.{name}."
        values = declare(node, CAMERA, prefix)
        require(values, "topic", prefix=prefix)
        self.name, self.topic = name, values["topic"]
        self.kind = CompressedImage if values["transport"] == "compressed" else Image
        self.newest: bytes | None = None
        self.problem = ""
        self.sent = self.sent_bytes = 0
        self.encode_s = 0.0
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(
            self.kind, self.topic, functools.partial(self._receive), qos, raw=True,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )  # fmt: skip
        self.publisher = node.create_publisher(
            CompressedImage, f"{LINKED_IMAGES}/{name}", QoSProfile(depth=1)
        )

    def _receive(self, data: bytes) -> None:
        self.newest = data


class CameraSender:
    """A thread that sends each camera's newest image, once for each ``ask``."""

    def __init__(self, node: Node, names: list[str], image_format: str, quality: int) -> None:
        self.cameras = [Camera(node, name) for name in names]
        self._format = image_format
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality] if image_format == "jpeg" else []
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self.cameras:
            self._thread.start()

    def ask(self) -> None:
        """Send the newest images that haven't been sent."""
        self._asked.set()

    def close(self) -> None:
        """End."""
        self._ended = True
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._ended:
            self._asked.wait()
            self._asked.clear()
            for camera in self.cameras:
                data, camera.newest = camera.newest, None
                if data is not None and not self._ended:
                    self._send(camera, data)

    def _send(self, camera: Camera, data: bytes) -> None:
        begun_s = time.perf_counter()
        size = len(data)
        try:
            if camera.kind is Image:
                message = self._compressed(deserialize_message(data, Image))
                size, camera.encode_s = len(message.data), time.perf_counter() - begun_s
                camera.publisher.publish(message)
            else:
                camera.publisher.publish(data)
        except Exception as error:  # noqa: BLE001 - of one image; the next may be good
            reason = str(error) if isinstance(error, ImageError) else repr(error)
            camera.problem = f"an image of camera {camera.name} can't be sent: {reason}"
            return
        camera.problem = ""
        camera.sent += 1
        camera.sent_bytes += size

    def _compressed(self, image: Any) -> CompressedImage:
        """Return the image compressed, under its own stamp: recordings find it by that."""
        pixels = cv2.cvtColor(decode(image), cv2.COLOR_RGB2BGR)
        suffix = ".jpg" if self._format == "jpeg" else ".png"
        done, buffer = cv2.imencode(suffix, pixels, self._options)
        if not done:
            raise ImageError(f"OpenCV can't write it as {self._format}")
        message = CompressedImage(format=self._format)
        message.header = image.header
        message.data.frombytes(buffer.tobytes())
        return message
