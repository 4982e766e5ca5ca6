"""The parameters of the link's two nodes."""

from __future__ import annotations

from rtc_ros.ros.parameter_table import COMMON, Parameter

LINK = (
    *(p for p in COMMON if p.name in ("joints", "control_period", "handoff_name")),
    Parameter(
        "robot_name",
        "",
        "Which robot this is, the same on both machines: a link of another robot is refused by "
        "it. Empty: handoff_name and the namespace.",
    ),
    Parameter(
        "realtime_priority",
        0,
        "SCHED_FIFO priority of the link's threads, where the user may; 0: none. Below "
        "rtc_controller's.",
        "",
        0,
        99,
    ),
    Parameter(
        "beat_interval",
        0.05,
        "A message goes out at each tick, for each chunk, and at least so often. After 0.5 s "
        "without one the other machine counts as gone.",
        "s",
        0.01,
        0.2,
    ),
    Parameter(
        "cameras",
        [""],
        "Names of the cameras whose images the GPU machine gets, with camera.NAME.topic and "
        "camera.NAME.transport as rtc_inference has them. The launch files take them from its "
        "section.",
    ),
    Parameter(
        "image_format",
        "jpeg",
        "How a raw image crosses; a driver's CompressedImage crosses as it is.",
        choices=("jpeg", "png"),
    ),
    Parameter("jpeg_quality", 90, "Of image_format jpeg.", "", 1, 100),
    Parameter(
        "image_interval",
        0.2,
        "An image is sent when an inference is about to begin, and at least so often; must be "
        "below camera_timeout.",
        "s",
        0.01,
        60.0,
    ),
)
