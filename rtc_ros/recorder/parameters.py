"""The parameters of the recorder."""

from __future__ import annotations

from rtc_ros.ros.parameter_table import Parameter

AUTO, ROS2_BAG, OWN = "auto", "ros2_bag", "rtc_recorder"

DEFAULT_TOPICS = (
    "rtc_controller/executed",
    "rtc_controller/swap",
    "rtc_inference/chunk",
    "rtc_inference/settings",
    "rtc_inference/task",
    "joint_states",
    "left_arm/commands",
    "right_arm/commands",
    "/diagnostics",
    "/parameter_events",
)

RECORDER = (
    Parameter(
        "record_with",
        AUTO,
        "What records: `ros2_bag` (`ros2 bag record -s mcap`, which this process becomes), "
        "`rtc_recorder` (this package's own, into the same format), or `auto`: ros2 bag where "
        "there is one that can.",
        choices=(AUTO, ROS2_BAG, OWN),
    ),
    Parameter(
        "output",
        "",
        "Folder of the bag; must not exist. Empty: rtc_DATE_TIME in the current folder.",
        path=True,
    ),
    Parameter(
        "topics",
        list(DEFAULT_TOPICS),
        "Topics to record, beside the parameters of both nodes. Relative names are resolved in "
        "the node's namespace.",
    ),
    Parameter(
        "camera_topics",
        [""],
        "Image topics to record, raw or compressed; received best effort.",
    ),
    Parameter(
        "cameras",
        False,
        "Also record the images that the policy sees, from the topics that its settings name: "
        "for `rtc_ros replay`. The launch files name them in `camera_topics` instead, at once.",
    ),
    Parameter(
        "compress", True, "Compress the bag's chunks with zstd: smaller, a little CPU time."
    ),
    Parameter(
        "max_queue_mb",
        256,
        "Messages that may wait for the disk; beyond, new ones are dropped and counted.",
        "MB",
        1,
        100000,
    ),
)
