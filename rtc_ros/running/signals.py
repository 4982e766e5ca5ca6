"""SIGTERM and ^C for commands that run nodes: no node is left behind, whenever they come."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_AGAIN_S = 0.02
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""SIGALRM is the one by which ``sigterm_as_interrupt`` raises again."""


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a block as ^C does: through its ``with`` blocks, so no process is left.

    A signal that comes while Python runs a finaliser or a weak reference's callback raises there,
    where Python prints the error and goes on as if no one had asked: it is raised again right
    after. Only the main thread can do all that; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    print_unraisable = sys.unraisablehook

    def raise_again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            print_unraisable(dropped)

    before = {n: signal.signal(n, _interrupt) for n in (signal.SIGTERM, signal.SIGALRM)}
    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        sys.unraisablehook = print_unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_later() -> Iterator[None]:
    """Keep signals back until the block has ended, and let the first of them come then.

    For what must not be done by halves: a process that was started and isn't in the list of those
    to end yet, or nodes that are being ended. Child processes start with the usual handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {n: signal.getsignal(n) for n in _ENDING}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in _ENDING:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        try:
            put_back()
        except KeyboardInterrupt:  # one came between two of them: none may keep ours
            put_back()
            raise
        for first in came[:1]:
            signal.raise_signal(first)
