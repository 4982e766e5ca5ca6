"""Camera images out of a bag's messages, without ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from rtc_ros.bags.reader import BagError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
TO_BGR = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "mono8": cv2.COLOR_GRAY2BGR,
}


def decode_bgr(message: Any) -> np.ndarray | None:
    """Return an image message as uint8[height, width, 3] in BGR order.

    None where its bytes can't be decoded.

    Raises:
        BagError: the encoding isn't known.
    """
    data = np.asarray(message.data, dtype=np.uint8)
    if not hasattr(message, "encoding"):
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise BagError(
            f"images with the encoding {message.encoding} are not supported; "
            f"known are {', '.join(CHANNELS)}"
        )
    width = message.width * channels
    if len(data) < message.height * message.step or message.step < width:
        return None
    rows = data[: message.height * message.step].reshape(message.height, message.step)
    image = rows[:, :width].reshape(message.height, message.width, channels)
    code = TO_BGR.get(message.encoding)
    return image if code is None else cv2.cvtColor(image, code)
