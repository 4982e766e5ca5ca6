"""Waiting until a writer publishes, without looking again and again: Linux's futex.

The published number itself is what is waited on, so nothing is added to a segment, and a writer
that never wakes anybody costs its readers no more than the time that they were ready to wait.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import time

import numpy as np

_SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine(), 0)
_WAIT, _WAKE = 0, 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_POLL_S = 0.001


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


def _futex(number: memoryview, what: int, value: int, limit: _Timespec | None) -> None:
    assert _LIBC is not None
    at = np.frombuffer(number, np.uint32)  # a view: the mapping stays as long as it does
    _LIBC.syscall(
        ctypes.c_long(_SYS_FUTEX), ctypes.c_void_p(at.ctypes.data), ctypes.c_long(what),
        ctypes.c_long(value), None if limit is None else ctypes.byref(limit),
    )  # fmt: skip


def can_wait() -> bool:
    """Tell whether there is a futex here; else ``wait`` looks every millisecond."""
    return _LIBC is not None and bool(_SYS_FUTEX) and sys.byteorder == "little"


def wake(number: memoryview) -> None:
    """Wake whoever waits on ``number``, an 8-byte word of a shared mapping, after it changed."""
    if can_wait():
        _futex(number, _WAKE, 1 << 30, None)


def wait(number: memoryview, seen: int, limit_s: float) -> None:
    """Return when ``number`` isn't ``seen`` any more, or after ``limit_s``, or sooner.

    A reader's mapping may be read-only. Other threads run meanwhile.
    """
    if can_wait():
        s = int(limit_s)
        limit = _Timespec(s, int((limit_s - s) * 1e9))
        _futex(number, _WAIT, seen & 0xFFFFFFFF, limit)
        return
    end_s = time.monotonic() + limit_s
    while number[0] == seen and (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(_POLL_S, left_s))
