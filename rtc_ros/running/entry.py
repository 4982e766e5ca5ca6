"""A node's process from its first line to its last; what each package's ``__main__`` calls."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from rtc_ros.running.signals import leave_when_told


def run(module: str, main: str = "main") -> NoReturn:
    """Run ``main()`` of a node's module as this process; heavy imports come after the signals."""
    leave_when_told()
    leave_after(getattr(importlib.import_module(module), main))


def leave_after(main: Callable[[], int | None]) -> NoReturn:
    """Run ``main()`` and end the process with its exit code; for processes of our own only."""
    try:
        code = main() or 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:  # noqa: BLE001 - shown, as Python would
        with contextlib.suppress(OSError):
            traceback.print_exc()
        code = 1
    leave(code)


def ask_for_realtime(priority: int) -> str:
    """Put the calling thread under SCHED_FIFO; return "" or why that is not so."""
    if priority == 0:
        return "not asked for"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return (
            f"SCHED_FIFO {priority} refused ({error.strerror}): give the user an rtprio limit in "
            "/etc/security/limits.d, or the process CAP_SYS_NICE"
        )
    return ""


def leave(code: int) -> NoReturn:
    """End this process at once.

    Without the finalisers of Python and of the libraries: on a loaded machine one of the
    middleware's has been seen to hang, where no signal is heard any more.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            stream.flush()
    os._exit(code)
