"""What the simulated robot's driver says, as ROS messages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header

_JPEG_QUALITY = 95


def joint_state(
    names: Sequence[str], positions: np.ndarray, velocities: np.ndarray, stamp: Time
) -> JointState:
    """Return the joints' float64 positions and velocities."""
    message = JointState(header=Header(stamp=stamp), name=list(names))
    message.position = array("d", positions.tobytes())
    message.velocity = array("d", velocities.tobytes())
    return message


def image_message(image: np.ndarray, header: Header) -> Image:
    """Return an rgb8 Image of uint8[height, width, 3]."""
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array("B", image.tobytes())
    return message


def jpeg_message(image: np.ndarray, header: Header) -> CompressedImage:
    """Return a JPEG of uint8[height, width, 3] in RGB, named as image_transport names it."""
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    coded = cv2.imencode(".jpg", image[:, :, ::-1], quality)[1]
    message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
    message.data = array("B", coded.tobytes())
    return message


def task_message(state: Any, **counts: object) -> DiagnosticStatus:
    """Return where the cube is and who holds it (a TaskState), and the driver's counts."""
    x, y, z = state.cube_m
    values = {
        "cube_x": f"{x:.4f}",
        "cube_y": f"{y:.4f}",
        "cube_z": f"{z:.4f}",
        "holder": state.holder,
        "done": str(state.done).lower(),
        "lies": str(state.lies).lower(),
        **{name: str(value) for name, value in counts.items()},
    }
    holds = f"held by {state.holder}" if state.holder != "none" else "not held"
    return DiagnosticStatus(
        level=DiagnosticStatus.OK,
        name="task",
        message=f"cube {'passed, ' if state.done else ''}{holds}",
        hardware_id="rtc_sim",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
