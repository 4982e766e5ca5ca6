"""Runs a node until a signal and ends it cleanly: exit code 0, or 2 with a sentence."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from rtc_ros.handoff.errors import HandoffError
from rtc_ros.nodes.parameters import ConfigurationError
from rtc_ros.nodes.ticker import ask_for_realtime


class Runnable(Protocol):
    """What a node class has beside ``Node``: ``run`` begins its work, ``close`` ends it."""

    executor_priority: int

    def run(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End; may be called once."""


def run_node(
    make: Callable[[], Runnable],
    executor_type: Callable[[], Executor] = SingleThreadedExecutor,
) -> None:
    """Run ``make()`` until SIGINT or SIGTERM, then exit the process.

    The executor spins in its own thread, which gets the node's ``executor_priority``; the main
    thread only waits for signals.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        node = make()
    except (ConfigurationError, HandoffError) as error:
        print(f"{error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        sys.exit(2)
    # A waiting thread gets the GIL back after this long, even from a busy callback.
    sys.setswitchinterval(2e-4)
    assert isinstance(node, Node)
    executor = executor_type()
    executor.add_node(node)
    failure: list[BaseException] = []

    def spin() -> None:
        ask_for_realtime(node.executor_priority)
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except BaseException as error:  # noqa: BLE001 - reported below, with the node closed
            failure.append(error)
        ended.set()

    thread = threading.Thread(target=spin, name="executor", daemon=True)
    thread.start()
    try:
        node.run()
        gc.collect()
        gc.freeze()
        ended.wait()
    finally:
        node.close()
        executor.shutdown(timeout_sec=2.0)
        node.destroy_node()
        rclpy.try_shutdown()
        thread.join(timeout=2.0)
    if failure:
        raise failure[0]
