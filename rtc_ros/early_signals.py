"""SIGINT and SIGTERM while a node's process still imports: it ends at once, with exit code 0.

Those imports take a second or two, in which Python would answer ^C with a traceback.
``rtc_ros.ros.runner`` puts its own handlers in place of these.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def runs_a_node(command: list[str]) -> bool:
    """Tell whether ``command``, of a Python process, is a node's module or its script."""
    if "-m" in command[:-1]:
        module = command[command.index("-m") + 1]
        return module.startswith("rtc_ros.") and module.endswith(".node")
    return any(Path(word).name.startswith("rtc_") for word in command[1:2]) and (
        Path(command[1]).name != "rtc_ros"
    )


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def take() -> None:
    """Take both signals over in a node's process; in any other do nothing."""
    if runs_a_node(sys.orig_argv):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
