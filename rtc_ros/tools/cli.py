"""The `rtc_ros` command: finds the tool and hands it the rest of the line."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

import rtc_ros
from rtc_ros.running.signals import sigterm_as_interrupt

COMMANDS = {
    ("demo",): ("rtc_ros.tools.demo", "the main job in simulation for two minutes, with a report"),
    ("start",): ("rtc_ros.tools.start", "start the nodes, simulated or beside your driver"),
    ("set",): ("rtc_ros.tools.set", "change live parameters together, as s_min:=12 beta:=10"),
    ("preflight",): (
        "rtc_ros.tools.preflight",
        "check robot, checkpoint and parameter file before anything moves",
    ),
    ("continuity",): ("rtc_ros.tools.continuity", "judge the motion in a bag"),
    ("monitor",): ("rtc_ros.tools.monitor", "judge a running robot, at a glance"),
    ("replay",): (
        "rtc_ros.tools.replay",
        "a recording through the policy again: reproduce it, try settings",
    ),
    ("film",): ("rtc_ros.tools.film", "a film or a strip of frames from the images in a bag"),
    ("layouts",): (
        "rtc_ros.tools.layouts",
        "PlotJuggler and Foxglove layouts for a robot's joints",
    ),
    ("finetune",): (
        "rtc_ros.tools.finetune",
        "teach a checkpoint to go on from given rows, for strategy: rtc_trained",
    ),
    ("bench", "handoff"): (
        "rtc_ros.bench.handoff",
        "shared memory against a topic, side by side",
    ),
    ("bench", "tick"): (
        "rtc_ros.bench.tick",
        "lateness of the control tick: deadline loop against rclpy timer",
    ),
    ("bench", "inference"): (
        "rtc_ros.bench.inference",
        "a chunk by the fast path against LeRobot's code, by phases",
    ),
    ("bench", "gpu"): (
        "rtc_ros.bench.gpu",
        "all that is to be known of a GPU, in seven minutes; small on a CPU",
    ),
    ("bench", "soak"): (
        "rtc_ros.bench.soak",
        "an hour of the whole system: memory of each process, lateness of the tick",
    ),
    ("bench", "kinetix"): (
        "rtc_ros.bench.kinetix.evaluate",
        "the paper's simulated study in its own environment; `train LEVEL` trains its policies",
    ),
    ("bench", "smooth"): (
        "rtc_ros.bench.smooth",
        "the simulated arms' jerk and torque with set points between rows, and without",
    ),
    ("bench", "link"): (
        "rtc_ros.bench.link",
        "robot and GPU machine with a network between them: steps, delays, cost",
    ),
    ("sim", "record"): ("rtc_ros.sim.demonstrations", "record demonstrations of the expert"),
    ("sim", "train"): ("rtc_ros.sim.train", "train the small SmolVLA on them"),
    ("sim", "rollout"): (
        "rtc_ros.sim.rollout",
        "score a checkpoint in the simulator, without ROS",
    ),
    ("sim", "eval"): (
        "rtc_ros.sim.evaluate",
        "passes and seams by strategy, delay and settings, with the real nodes or without ROS",
    ),
    ("docs", "parameters"): ("rtc_ros.tools.parameter_page", "write docs/parameters.md"),
}


def usage() -> str:
    """Return the list of commands."""
    width = max(len(" ".join(words)) for words in COMMANDS)
    lines = [f"  rtc_ros {' '.join(w):<{width}}  {what}" for w, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: rtc_ros COMMAND [OPTION …]", "", *lines, ""])


def unknown(words: Sequence[str]) -> str:
    """Return the sentence about ``words`` that begin no command."""
    group = [" ".join(c) for c in COMMANDS if c[0] == words[0]]
    asked = " ".join(words[: 2 if group else 1])
    known = group or sorted({c[0] for c in COMMANDS})
    return f"rtc_ros has no command {asked!r}: there are {', '.join(known)}; see rtc_ros --help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 for one that there is not.

    Where whoever reads its output goes (``| head``), that is the end, without a traceback.
    """
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("--version", "version"):
        print(f"rtc_ros {rtc_ros.__version__}")
        return 0
    for length in (2, 1):
        entry = COMMANDS.get(tuple(words[:length]))
        if entry is not None:
            return _run(" ".join(words[:length]), entry[0], words[length:])
    print(unknown(words), file=sys.stderr)
    return 2


def _run(command: str, module: str, options: list[str]) -> int:
    try:
        with sigterm_as_interrupt():
            tool = _import(command, module)
            return 2 if tool is None else int(tool.main(options) or 0)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"rtc_ros {command}: interrupted", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT


def _import(command: str, module: str) -> ModuleType | None:
    """Return a tool's module, or None where a package of others that it needs isn't there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rtc_ros"):
            raise
        print(
            f"rtc_ros {command} needs the Python package {error.name}, which is not installed: "
            "see docs/development.md",
            file=sys.stderr,
        )
        return None
    except ImportError as error:
        if error.name is not None:
            raise
        # Ours, of a package that is there but can't be used: a sentence.
        print(f"rtc_ros {command}: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
