"""`rtc_ros start`: what `ros2 launch` does, where there is no `ros2 launch`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from rtc_ros.bringup import SIM_ARGUMENTS, nodes_to_run
from rtc_ros.running.processes import Processes, explain


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {a.name}:=…  {a.description}" for a in SIM_ARGUMENTS]
    parser = argparse.ArgumentParser(
        prog="rtc_ros start",
        description="Start the nodes: the same arguments as the launch files.",
        epilog="arguments:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("rtc", "sim"), help="beside your driver, or simulated")
    parser.add_argument("arguments", nargs="*", metavar="name:=value")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Start the nodes and wait for ^C; 0 where all ended cleanly, 1 where one did not, 2 usage."""
    options = _parser().parse_args(argv)
    simulated = options.what == "sim"
    values = {}
    for word in options.arguments:
        name, separator, value = word.partition(":=")
        if not separator:
            print(f"{word} is not of the form name:=value", file=sys.stderr)
            return 2
        values[name] = value
    try:
        nodes = nodes_to_run(values, simulated=simulated)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Processes() as processes:
        processes.start(nodes)
        alone: dict[str, int] = {}
        while not ended.wait(0.2) and not alone:
            alone = processes.ended()
        for name, code in alone.items():
            print(f"{explain(name, code)}; ending the others", file=sys.stderr)
        codes = processes.stop()
    return 1 if any(codes.values()) or alone else 0
