"""The `rtc_ros` command: finds the tool and hands it the rest of the line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    ("demo",): ("rtc_ros.tools.demo", "a minute of the main job in simulation, with a report"),
    ("start",): ("rtc_ros.tools.start", "start the nodes, simulated or beside your driver"),
    ("continuity",): ("rtc_ros.tools.continuity", "judge the motion in a bag"),
    ("bench", "handoff"): (
        "rtc_ros.tools.bench_handoff",
        "shared memory against a topic, side by side",
    ),
    ("bench", "tick"): (
        "rtc_ros.tools.bench_tick",
        "lateness of the control tick: deadline loop against rclpy timer",
    ),
    ("sim", "record"): ("rtc_ros.sim.demonstrations", "record demonstrations of the expert"),
    ("sim", "train"): ("rtc_ros.sim.train", "train the small SmolVLA on them"),
    ("docs", "parameters"): ("rtc_ros.tools.parameter_page", "write docs/parameters.md"),
}


def usage() -> str:
    """Return the list of commands."""
    width = max(len(" ".join(words)) for words in COMMANDS)
    lines = [f"  rtc_ros {' '.join(w):<{width}}  {what}" for w, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: rtc_ros COMMAND [OPTION …]", "", *lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for length in (2, 1):
        entry = COMMANDS.get(tuple(words[:length]))
        if entry is not None:
            module = importlib.import_module(entry[0])
            return int(module.main(words[length:]) or 0)
    asked = not words or words[0] in ("-h", "--help", "help")
    print(usage(), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
