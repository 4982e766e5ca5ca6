"""`rtc_ros start`: what `ros2 launch` does, where there is no `ros2 launch`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence

from rtc_ros.bringup import LINK_ARGUMENTS, MACHINES, SIM_ARGUMENTS, nodes_to_run
from rtc_ros.command_line import assigned, tool
from rtc_ros.running.processes import Processes, explain
from rtc_ros.running.signals import noted


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {a.name}:=…  {a.description}" for a in (*SIM_ARGUMENTS, *LINK_ARGUMENTS)]
    parser = tool("start", "Start the nodes: the same arguments as the launch files.")
    parser.epilog = "arguments:\n" + "\n".join(lines)
    parser.add_argument(
        "what",
        choices=("rtc", "sim", "robot", "gpu"),
        help="beside your driver, or simulated; robot and gpu: the one and the other of two "
        "machines (docs/remote.md)",
    )
    parser.add_argument("arguments", nargs="*", default=[], metavar="name:=value")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Start the nodes and wait for a signal; 0: all ended cleanly, 1: one did not, 2: usage."""
    options = _parser().parse_args(argv)
    simulated = options.what == "sim"
    try:
        values = assigned(options.arguments)
        machine = options.what if options.what in MACHINES else ""
        nodes = nodes_to_run(values, simulated=simulated, machine=machine)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    with noted() as signals, Processes() as processes:
        processes.start(nodes)
        alone: dict[str, int] = {}
        while not signals and not alone:
            time.sleep(0.1)
            alone = processes.ended()
        with contextlib.suppress(OSError):  # the terminal may be gone
            for name, code in alone.items():
                print(f"{explain(name, code)}; ending the others", file=sys.stderr, flush=True)
        codes = processes.stop()
    return 1 if any(codes.values()) or alone else 0
