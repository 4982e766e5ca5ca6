"""The pixels of a camera's message: one reader for the nodes, recordings, preflight and films.

Works on messages of ROS and of a bag alike and imports neither. Colours are converted as
cv_bridge does it, where cv_bridge does.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

_COLOURS: dict[str, tuple[int, int | None]] = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a pattern by its second row and column, ROS by its first.
    "bayer_rggb": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg": (1, cv2.COLOR_BayerGB2RGB),
}
"""Layouts that there are with 8 and with 16 bits: channels, and how they become RGB."""

_CODES: dict[str, tuple[str, int, int | None]] = {
    **{f"{name}8": ("u1", *of) for name, of in _COLOURS.items()},
    **{f"{name}16": ("u2", *of) for name, of in _COLOURS.items()},
    "8UC1": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "uyvy": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": ("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": ("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Encoding → type of a number, numbers a pixel, and how they become RGB."""

_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
"""Brightness of all pixels, then colour of every second one in every second row."""

_VIDEO = ("h264", "h265", "hevc", "av1", "vp8", "vp9", "theora", "mpeg4", "ffmpeg")
_PICTURE = "let it send rgb8 or bgr8, or JPEG as a CompressedImage"


class ImageError(ValueError):
    """A message without a picture in it: what it has instead, and what to do."""


def form(message: Any) -> str:
    """Return size and encoding in words; of a compressed image only the format is known."""
    if hasattr(message, "format"):
        return str(message.format)
    return f"{message.width} × {message.height} {message.encoding}"


def decode(message: Any) -> np.ndarray:
    """Return uint8[height, width, 3] in RGB order; it may share the message's memory.

    16 bits become 8. Rows may be longer than the picture (``step``); where ``step`` is too small
    and the bytes are exactly those of the picture, there is nothing between the rows.

    Args:
        message: a sensor_msgs/Image or CompressedImage, or what a bag has of one.

    Raises:
        ImageError: there is no picture in it; the sentence says why and what to do.
    """
    convert: Callable[[Any], np.ndarray] = _compressed if hasattr(message, "format") else _raw
    try:
        image = convert(message)
    except cv2.error as error:
        why = " ".join(str(error.err or error).split())
        raise ImageError(f"{form(message)}: OpenCV can't convert it ({why}); {_PICTURE}") from None
    return np.ascontiguousarray(image)


class Decoder:
    """Decodes the messages of a recording's topic; counts those without a picture in them."""

    def __init__(self, topic: str) -> None:
        self._topic, self._seen, self._left_out, self._why = topic, 0, 0, ""

    def __call__(self, message: Any) -> np.ndarray | None:
        """Return what ``decode`` does, None for a message that it refuses."""
        self._seen += 1
        try:
            return decode(message)
        except ImageError as error:
            self._left_out += 1
            self._why = self._why or str(error)
            return None

    @property
    def note(self) -> str:
        """How many were left out, and why the first; "" where none was."""
        if not self._left_out:
            return ""
        return (
            f"{self._left_out} of {self._seen} images on {self._topic} are left out, the first: "
            f"{self._why}"
        )


# ----------------------------------------------------------------------------------------- raw


def _raw(message: Any) -> np.ndarray:
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in _CODES and encoding not in _PLANES:
        raise ImageError(f"{form(message)}: {_unknown(encoding)}")
    if not height or not width:
        raise ImageError(f"{form(message)}: it has no pixels; look at the camera and its driver")
    if encoding in _PLANES:
        if height % 2 or width % 2:
            raise ImageError(f"{form(message)}: its sides must be even; {_PICTURE}")
        return cv2.cvtColor(_rows(message, height * 3 // 2, width), _PLANES[encoding])
    kind, channels, code = _CODES[encoding]
    order = ">" if message.is_bigendian else "<"
    numbers = _rows(message, height, width * channels * int(kind[1])).view(order + kind)
    return _to_rgb(numbers.reshape(height, width, channels), code)


def _rows(message: Any, count: int, length: int) -> np.ndarray:
    """Return the message's first ``count`` rows of ``length`` bytes, without what pads them."""
    data, step = np.frombuffer(message.data, dtype=np.uint8), int(message.step)
    if step < length and len(data) == count * length:
        step = length
    needed = (count - 1) * step + length
    if step < length or len(data) < needed:
        raise ImageError(
            f"{form(message)}: {len(data)} bytes with a step of {step}, and {count} rows of "
            f"{length} bytes need {max(needed, count * length)}; look at the camera's driver"
        )
    rows = np.lib.stride_tricks.as_strided(data, (count, length), (step, 1), writeable=False)
    return np.ascontiguousarray(rows)


def _to_rgb(image: np.ndarray, code: int | None) -> np.ndarray:
    """Convert [height, width, channels] of 8 or 16 bits."""
    if image.dtype.itemsize == 2:
        if code is not None:
            image = cv2.cvtColor(image.astype(np.uint16), code)
        # Of 65535 parts to 255, rounded: as cv_bridge does.
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image if code is None else cv2.cvtColor(image, code)


def _unknown(encoding: str) -> str:
    """Say what is wrong with an encoding that isn't that of a colour or grey picture."""
    known = [*_CODES, *_PLANES]
    if encoding[:2] in ("16", "32", "64") or encoding.startswith("8S"):
        return f"those are measurements, a depth image for instance, no picture; {_PICTURE}"
    if encoding in ("8UC2", "8UC3", "8UC4"):
        return f"it doesn't say which channel is red; {_PICTURE}"
    close = difflib.get_close_matches(encoding.lower(), known, 1)
    meant = f" (did the driver mean {close[0]}?)" if close else ""
    return f"an encoding that isn't known{meant}; {_PICTURE}"


# ---------------------------------------------------------------------------------- compressed


def _compressed(message: Any) -> np.ndarray:
    said = str(message.format)
    source = said.rpartition(";")[0].strip()
    if "compressedDepth" in said or source[:2] in ("16", "32"):
        raise ImageError(
            f"{said!r}: a compressed depth image, no picture; name the topic of the colour image"
        )
    if any(video in said.lower() for video in _VIDEO):
        raise ImageError(
            f"{said!r}: a video stream, whose frames can't be used one by one; let the camera "
            "send JPEG (image_transport compressed), or raw"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    if not len(data):
        raise ImageError(f"{said!r}: it has no bytes; look at the camera and its driver")
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ImageError(
            f"{said!r}: its {len(data)} bytes are no whole JPEG or PNG; look at the driver and at "
            f"the link to it, or {_PICTURE}"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{said!r}: it holds {image.dtype}, no picture; {_PICTURE}")
    if image.ndim == 3:
        # Whoever compressed pixels in the order of rgb8 told the codec that they were bgr.
        return _to_rgb(image, None if "compressed rgb" in said else cv2.COLOR_BGR2RGB)
    if source in _CODES and _CODES[source][1] == 1:
        return _to_rgb(image, _CODES[source][2])
    if image.dtype == np.uint16:
        raise ImageError(
            f"{said!r}: grey with 16 bits, which is a depth image unless the format begins with "
            f"mono16; {_PICTURE}"
        )
    return _to_rgb(image, cv2.COLOR_GRAY2RGB)
