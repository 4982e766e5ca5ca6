"""SIGINT, SIGTERM and SIGHUP (the terminal closed, ssh dropped): all of them ask to end.

Only entry points touch them, never an import. A node leaves at once while it still imports
(``leave_when_told``) and then takes note of them (``noted``). A command that runs nodes raises
KeyboardInterrupt (``sigterm_as_interrupt``), except where that would leave a node behind
(``signals_later``). Handlers belong to the main thread; in another one nothing changes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_AGAIN_S = 0.02
_AGAIN = signal.SIGALRM
"""The signal by which ``sigterm_as_interrupt`` raises again."""
Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


def ending() -> tuple[signal.Signals, ...]:
    """Return the signals that ask to end; no SIGHUP under nohup, which is to outlive it."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hang_up)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave(_: int, __: FrameType | None) -> NoReturn:
    os._exit(0)


def leave_when_told() -> None:
    """End this process with 0 at a signal: for a node that still imports, a second or two.

    Python would answer ^C with a traceback there. For the entry point of a process that runs
    nothing else.
    """
    for number in ending():
        signal.signal(number, _leave)


def note() -> list[int]:
    """Take note of each signal that asks to end from now on, in the list that this returns."""
    came: list[int] = []
    # Nothing that takes a lock: a second signal may interrupt the first one's handler.
    for number in ending():
        signal.signal(number, lambda number, _: came.append(number))
    return came


def ignore() -> None:
    """Be deaf from now on: the process is ending, and impatience must not change its exit code."""
    for number in ending():
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """``note`` within a block, and put the handlers back after it."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number), ending()):
        yield came


@contextlib.contextmanager
def _handled(handler: Handler, numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}

    def put_back() -> None:
        for number, earlier in before.items():
            signal.signal(number, earlier)

    try:
        for number in numbers:
            signal.signal(number, handler)
        yield
    finally:
        try:
            put_back()
        except KeyboardInterrupt:  # one came between two of them: none may keep ours
            put_back()
            raise


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a block as ^C does: through its ``with`` blocks.

    A signal that comes while Python runs a finaliser or a weak reference's callback raises there,
    where Python prints the error and goes on as if no one had asked: it is raised again right
    after.
    """
    if not _in_main_thread():
        yield
        return
    print_unraisable = sys.unraisablehook

    def raise_again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            print_unraisable(dropped)

    with _handled(_interrupt, (*ending()[1:], _AGAIN)):  # Python itself raises for SIGINT
        sys.unraisablehook = raise_again
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            sys.unraisablehook = print_unraisable


@contextlib.contextmanager
def signals_later() -> Iterator[None]:
    """Keep signals back until the block has ended, and let the first of them come then.

    For what must not be done by halves: a process that was started and isn't in the list of those
    to end yet, or nodes that are being ended. Child processes start with the usual handlers.
    """
    came: list[int] = []
    try:
        with _handled(lambda number, _: came.append(number), (*ending(), _AGAIN)):
            yield
    finally:
        for first in came[:1]:
            signal.raise_signal(first)
