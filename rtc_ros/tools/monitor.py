"""`rtc_ros monitor`: a running robot, or a bag that is being played, at a glance."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live

from rtc_ros.command_line import SECONDS
from rtc_ros.monitor.node import MonitorNode
from rtc_ros.ros.parameters import ConfigurationError
from rtc_ros.running.signals import noted
from rtc_ros.running.watch import call
from rtc_ros.tools.monitor_view import line, view

REFRESH_S = 0.5
LINE_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Show until ^C, or for ``--seconds``; 0, or 2 where it can't begin."""
    parser = argparse.ArgumentParser(
        prog="rtc_ros monitor",
        description="Show chunks, rows in use, d, s, β, seams, starvation and lateness while the "
        "robot runs or a bag is played. A pipe gets a line a second.",
        epilog="ROS arguments follow --ros-args, for instance -r __ns:=/robot or -p window:=30.0",
    )
    parser.add_argument("--seconds", type=SECONDS, metavar="S", help="end after this time")
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--ros-args") if "--ros-args" in words else len(words)
    options = parser.parse_args(words[:split])
    with noted() as signals:
        return _show(options.seconds, words[split:], signals)


def _show(seconds: float | None, ros_words: list[str], signals: list[int]) -> int:
    try:
        with call("the start of a node"):
            rclpy.init(args=ros_words, signal_handler_options=SignalHandlerOptions.NO)
            node = MonitorNode("rtc_monitor_view")
    except (ConfigurationError, RuntimeError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = None if seconds is None else time.monotonic() + seconds

    def spin(for_s: float) -> bool:
        """Listen for a while; return whether to go on."""
        until = time.monotonic() + for_s
        while not signals and (left := until - time.monotonic()) > 0:
            with call("spin_once"):
                executor.spin_once(timeout_sec=min(left, 0.1))
        return not signals and rclpy.ok() and (end is None or time.monotonic() < end)

    console = Console()
    try:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False, screen=True) as live:
                while spin(REFRESH_S):
                    live.update(view(node.live.state(), node.absent()), refresh=True)
        else:
            while spin(LINE_S):
                print(line(node.live.state(), node.absent()), flush=True)
    except ExternalShutdownException:
        pass
    finally:
        with call("the end of a node"):
            executor.shutdown()
            node.destroy_node()
            rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
