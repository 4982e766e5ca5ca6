"""Runs a node until a signal and ends it cleanly.

Exit codes: 0 after SIGINT, SIGTERM or SIGHUP; 1 where the node ended itself, by an error, or not
within ``END_S``; 2 with a sentence where it could not begin.
"""

from __future__ import annotations

import faulthandler
import gc
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn, Protocol

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from rtc_ros.handoff.errors import HandoffError
from rtc_ros.overrides import with_last_words
from rtc_ros.ros.guarded_executor import Guard, GuardedExecutor
from rtc_ros.ros.own_name import NameTakenError, OwnName, claim_name
from rtc_ros.ros.parameters import ConfigurationError, rcl_words, refuse_qos_without_effect
from rtc_ros.running.entry import ask_for_realtime, leave
from rtc_ros.running.signals import ignore, note

END_S = 9.0
"""How long a node may take to end: 3 s for arm or inference, the rest is the middleware's."""


class Runnable(Protocol):
    """What a node class has beside ``Node``: ``run`` begins its work, ``close`` ends it.

    ``abandoned`` is set by ``close`` where a thread couldn't be ended in time: the process then
    ends without waiting for it.
    """

    executor_priority: int

    def run(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End; may be called once."""


def tear_down(code: int, *steps: Callable[[], object]) -> None:
    """Take the steps, or end the process with ``code`` where one hangs, saying where.

    The middleware has been seen to hang while a node is taken down on a loaded machine.
    """

    def take() -> None:
        for step in steps:
            step()

    faulthandler.dump_traceback_later(END_S + 1.0, exit=True)  # for one that keeps the GIL
    thread = threading.Thread(target=take, name="tear-down", daemon=True)
    thread.start()
    thread.join(END_S)
    if thread.is_alive():
        faulthandler.dump_traceback()
        leave(code)
    faulthandler.cancel_dump_traceback_later()


_failed = threading.Event()


def end_with_failure() -> None:
    """Let the node that ``run_node`` runs close, which brakes the arm, and end with exit code 1.

    From any thread. Unlike one whose context is shut down it can still publish until then.
    """
    _failed.set()


def _refuse(sentence: str) -> NoReturn:
    """Say why the node can't begin; exit code 2."""
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    rclpy.try_shutdown()
    sys.exit(2)


def _begin(
    make: Callable[[], Runnable], alone_as: str, stop: Callable[[], bool]
) -> tuple[Runnable, OwnName]:
    """Return the node and its name, or end the process where it can't be made."""
    sys.argv = with_last_words(sys.argv, alone_as)
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # whatever rcl doesn't understand of the command line
        _refuse(f"the command line can't be used: {rcl_words(error)}")
    try:
        name = claim_name(alone_as, stop) if alone_as else OwnName(None)
        made = make()
        assert isinstance(made, Node)
        refuse_qos_without_effect(made)
        return made, name
    except (ConfigurationError, HandoffError, NameTakenError) as error:
        _refuse(str(error))
    except NameValidationException as error:
        _refuse(str(error).rstrip("^ "))


def run_node(
    make: Callable[[], Runnable],
    executor_type: Callable[[], Executor] = GuardedExecutor,
    alone_as: str = "",
) -> None:
    """Run ``make()`` until a signal asks to end, then return; further signals change nothing.

    For a process that is the node's alone. The executor spins in its own thread, the main thread
    only waits for signals; both get the node's ``executor_priority``: a thread without it could
    hold the GIL while others have the processor. A node ends itself by ``end_with_failure``, or by
    shutting its context down: exit code 1. Where a name is given as ``alone_as``, no other node
    may have it.
    """
    faulthandler.enable()  # a crash, or SIGABRT, says where each thread was
    _failed.clear()
    signalled = note()
    node, name = _begin(make, alone_as, lambda: bool(signalled))
    # A waiting thread gets the GIL back after this long, even from a busy callback.
    sys.setswitchinterval(2e-4)
    assert isinstance(node, Node)
    executor = executor_type()
    executor.add_node(node)
    failure: list[BaseException] = []
    ended = threading.Event()
    closing = threading.Event()

    def spin() -> None:
        ask_for_realtime(node.executor_priority)
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except BaseException as error:  # noqa: BLE001 - reported below, with the node closed
            # While it closes, a thread may still wait on what is being taken away.
            if not closing.is_set():
                failure.append(error)
        ended.set()

    thread = threading.Thread(target=spin, name="executor", daemon=True)
    # Before anything ticks: a collection holds the GIL, however long it waits for the processor.
    gc.collect()
    gc.freeze()
    thread.start()
    try:
        node.run()
        ask_for_realtime(node.executor_priority)
        # Not one long wait: of two signals in a row, Python may leave it waiting.
        while not (signalled or ended.wait(0.05) or _failed.is_set()):
            pass
    finally:
        closing.set()
        # A node that can't end says where it hangs, and ends.
        faulthandler.dump_traceback_later(END_S, exit=True)
        node.close()
        if isinstance(executor, Guard):
            executor.say_no_more()
        if not getattr(node, "abandoned", False):  # else it would wait for what was given up
            executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=2.0)
        node.destroy_node()
        rclpy.try_shutdown()
        name.release()
        faulthandler.cancel_dump_traceback_later()
        # Python takes its handlers down at exit; an impatient ^C would end in a signal's code.
        ignore()
    well = bool(signalled) and not failure and not _failed.is_set()
    if getattr(node, "abandoned", False):
        if failure:
            traceback.print_exception(failure[0])
        leave(0 if well else 1)
    if failure:
        raise failure[0]
    if not well:
        sys.exit(1)
