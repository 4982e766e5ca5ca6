"""Recording by ``ros2 bag record``: which, with what, and in place of this process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from rtc_ros.recorder.parameters import AUTO, OWN, ROS2_BAG
from rtc_ros.recorder.qos import CAMERA_DEPTH, DEPTH
from rtc_ros.ros.parameter_record import PARAMETER_TOPICS

_OPTIONS = (
    "--topics",
    "--node-name",
    "--max-cache-size",
    "--use-sim-time",
    "--qos-profile-overrides-path",
    "--storage-config-file",
    "--disable-keyboard-controls",
)
"""What is asked of it beside -s and -o. Jazzy and later have them all."""

_HELP_TIMEOUT_S = 30.0
_CHUNK_BYTES = 128 * 1024
"""An mcap chunk is on disk once it is full: a kill costs no more than this. mcap's own is 768 kB,
five seconds of a run without cameras."""

_LATCHED_DEPTH = 10

_OURS = (
    "rtc_controller/executed",
    "rtc_controller/swap",
    "rtc_inference/chunk",
)
_LATCHED = ("rtc_inference/settings", *PARAMETER_TOPICS)


def find(choice: str) -> tuple[str | None, str]:
    """Return the ``ros2`` to record with, None for our own recorder, and a sentence about it.

    Args:
        choice: ``auto`` takes ``ros2 bag`` where it can do what is needed; ``ros2_bag`` insists.

    Raises:
        RuntimeError: ``ros2_bag`` was asked for and can't be had.
    """
    if choice == OWN:
        return None, "recording by rtc_recorder itself, as record_with says"
    program, problem = _usable()
    if program is not None:
        return program, f"recording by ros2 bag ({program})"
    if choice == ROS2_BAG:
        raise RuntimeError(f"record_with is {ROS2_BAG}, but {problem}; {AUTO} would do without")
    return None, f"recording by rtc_recorder itself: {problem}"


def _usable() -> tuple[str | None, str]:
    """Return a ``ros2`` whose bag verb records mcap with the options used here, or why none."""
    program = shutil.which("ros2")
    if program is None:
        return None, "there is no ros2 command on the PATH"
    # Its parser refuses a storage that isn't installed before it comes to --help.
    words = [program, "bag", "record", "-s", "mcap", "--help"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_HELP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{program} can't be run: {error}"
    if "invalid choice: 'bag'" in done.stderr:
        return None, f"{program} has no `bag` (rosbag2's ros2bag isn't installed)"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return None, f"{program} can't record mcap ({last})"
    absent = [o for o in _OPTIONS if o not in done.stdout]
    if absent:
        return None, f"{program} bag record doesn't know {', '.join(absent)}: older than Jazzy"
    return program, ""


def qos_overrides(topics: Sequence[str], cameras: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return the QoS overrides by topic, in ``ros2 bag``'s words.

    Our own topics: reliable, and as deep as the disk may stall. Cameras best effort, so that a
    slow disk never holds back a driver. All others as ``ros2 bag`` adapts to what is offered.
    """

    def profile(depth: int, reliability: str, durability: str) -> dict[str, object]:
        return {
            "history": "keep_last",
            "depth": depth,
            "reliability": reliability,
            "durability": durability,
        }

    found = {}
    for topic in topics:
        if topic.endswith(_OURS):
            found[topic] = profile(DEPTH, "reliable", "volatile")
        elif topic.endswith(_LATCHED):
            found[topic] = profile(_LATCHED_DEPTH, "reliable", "transient_local")
    return found | {t: profile(CAMERA_DEPTH, "best_effort", "volatile") for t in cameras}


def command(
    program: str,
    output: Path,
    topics: Sequence[str],
    cameras: Sequence[str],
    *,
    compress: bool,
    cache_bytes: int,
    use_sim_time: bool,
) -> list[str]:
    """Return the command line; the files that it names live as long as this process."""
    storage = {
        "chunkSize": _CHUNK_BYTES,
        "compression": "Zstd" if compress else "None",
        "compressionLevel": "Fastest",
    }
    return [
        *(program, "bag", "record", "-s", "mcap", "-o", str(output)),
        *("--node-name", "rtc_recorder", "--disable-keyboard-controls"),
        *("--max-cache-size", str(cache_bytes)),
        *("--storage-config-file", _in_memory("storage", storage)),
        *("--qos-profile-overrides-path", _in_memory("qos", qos_overrides(topics, cameras))),
        *(["--use-sim-time"] if use_sim_time else []),
        *("--topics", *dict.fromkeys([*topics, *cameras])),
    ]


def _in_memory(name: str, values: Mapping[str, object]) -> str:
    """Return the path of a YAML file that this process, and what it becomes, can read.

    In memory, because nobody would be left to remove it.
    """
    descriptor = os.memfd_create(f"rtc_recorder_{name}", 0)
    os.write(descriptor, yaml.safe_dump(dict(values)).encode())
    return f"/proc/self/fd/{descriptor}"


def become(words: Sequence[str]) -> None:
    """Replace this process: signals and the exit code are then those of ``ros2 bag``."""
    os.execv(words[0], list(words))
