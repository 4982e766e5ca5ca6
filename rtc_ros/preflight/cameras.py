"""Cameras of the running robot: rate, size, encoding, stamps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from cv_bridge import CvBridge, CvBridgeError

from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.joints import silence, stamps
from rtc_ros.preflight.probe import Heard, Probe
from rtc_ros.preflight.setup import Camera, Setup

_LEAST_HZ = 10.0
_TYPES = {True: "sensor_msgs/msg/CompressedImage", False: "sensor_msgs/msg/Image"}


def check_rates(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that each camera sends, often enough and without gaps."""
    timeout_s = setup.inference["camera_timeout"]
    for camera in setup.cameras:
        subject, heard = f"camera {camera.name}", probe.heard.get(camera.topic, [])
        kind = _TYPES[camera.compressed]
        if not heard:
            yield bad(
                f"{subject} on {camera.topic}",
                silence(probe, camera.topic, kind),
                f"start the camera; or camera.{camera.name}.topic and .transport",
            )
            continue
        ends = [probe.begun_ns, *(h.received_ns for h in heard), probe.ended_ns]
        gap_s, rate = max(np.diff(ends)) * 1e-9, len(heard) / probe.seconds
        if gap_s > timeout_s:
            yield bad(
                subject,
                f"no image for {gap_s:.2f} s, and camera_timeout is {timeout_s:g} s",
                "a faster camera or link, or a larger camera_timeout",
            )
        elif rate < _LEAST_HZ:
            yield doubt(
                subject,
                f"{rate:.1f} images a second: the policy sees the past",
                "raise the camera's rate, or send it compressed",
            )
        else:
            yield good(subject, f"{rate:.0f} Hz, never more than {gap_s * 1e3:.0f} ms apart")
        yield from stamps(f"stamps of camera {camera.name}", heard)


def check_images(setup: Setup, probe: Probe, spec: PolicySpec | None) -> Iterator[Finding]:
    """Check that the images can be used and are like those of the training data."""
    for camera in setup.cameras:
        heard = probe.heard.get(camera.topic, [])
        if heard:
            yield from _image(camera, heard, spec)


def _image(camera: Camera, heard: list[Heard], spec: PolicySpec | None) -> Iterator[Finding]:
    subject = f"images of camera {camera.name}"
    forms = [_form(h.message) for h in heard]
    if len(set(forms)) > 1:
        changes = " then ".join(dict.fromkeys(form for form, _ in itertools.groupby(forms)))
        yield bad(subject, f"they change: {changes}", "is there a second camera on the topic?")
        return
    message = heard[0].message
    try:
        shape = _decoded(camera, message).shape
    except (CvBridgeError, ValueError, TypeError, KeyError, AttributeError) as error:
        yield bad(
            subject,
            f"{forms[0]} can't be converted to rgb8: {error}",
            "configure the driver for rgb8, bgr8 or JPEG; depth images are no use",
        )
        return
    trained = None if spec is None else spec.image_features.get(camera.feature)
    if trained is None:
        yield good(subject, forms[0])
        return
    height, width = trained
    if not np.isclose(shape[1] / shape[0], width / height, rtol=0.05):
        yield doubt(
            subject,
            f"{shape[1]} × {shape[0]}, and the policy was trained on {width} × {height}: another "
            "shape of picture",
            "set the camera to the shape of the demonstrations' images (or crop)",
        )
    elif shape[0] < height / 2:
        yield doubt(
            subject,
            f"{shape[1]} × {shape[0]}, and the policy was trained on {width} × {height}",
            "raise the camera's resolution",
        )
    else:
        yield good(subject, f"{forms[0]}, trained on {width} × {height}")


def _form(message: Any) -> str:
    """Return size and encoding in words, as far as the header tells."""
    if hasattr(message, "format"):
        return str(message.format)
    return f"{message.width} × {message.height} {message.encoding}"


def _decoded(camera: Camera, message: Any) -> np.ndarray:
    bridge = CvBridge()
    if camera.compressed:
        image = bridge.compressed_imgmsg_to_cv2(message, "rgb8")
    else:
        image = bridge.imgmsg_to_cv2(message, "rgb8")
    if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError("it isn't an 8-bit colour image")
    return np.asarray(image)
