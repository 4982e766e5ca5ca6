"""`rtc_ros bench robot`: every strategy on the simulated robot, through the real nodes.

Driver, inference node, controller and ring run as they do on a robot, with a latency injected
into each inference; the shipped policy passes cubes. For each strategy and latency: how many are
passed and how fast, how the seams are, and how often the controller's limits had to act. What is
in the folder is not measured again, so a run that was stopped goes on.

With --realtime-factor the points with an injected latency run faster than real time: the driver's
/clock is everybody's, and less is injected, so that an inference takes as long in simulated time
as it would. Without injected latency there is nothing to take off: those run in real time.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from rtc_ros.bench import robot_report as report
from rtc_ros.bench.robot_figures import Measured, Point
from rtc_ros.bench.robot_run import measure
from rtc_ros.bench.tasks.results import Results
from rtc_ros.command_line import COUNT, SECONDS
from rtc_ros.core.strategies import STRATEGIES, TRAINED
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.running.processes import RobotError

LATENCIES_MS = (0.0, 100.0, 200.0)
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0, 2 where it can't be run or a point failed, 130 interrupted."""
    options = _parser().parse_args(argv)
    episodes = options.episodes or (1 if options.quick else 20)
    conditions = {
        "checkpoint": options.checkpoint,
        "episodes": episodes,
        "seconds": options.seconds,
        "seed": options.seed,
        "warm up": not options.quick,
    }
    # Nobody else's robot.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    try:
        results = Results(options.out, conditions)
    except (OSError, ValueError) as error:
        print(f"bench robot: {error}", file=sys.stderr)
        return 2
    chosen = _points(options)
    columns = (TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn())
    failed: dict[str, str] = {}
    interrupted = False
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        try:
            _measure(chosen, results, failed, options, episodes, progress)
        except KeyboardInterrupt:
            interrupted = True
    rows = [Measured(**results.rows[p.key]) for p in chosen if p.key in results.rows]  # type: ignore[arg-type]
    if rows:
        text = _text(rows, conditions, len(chosen))
        report.write_csv(rows, options.out / "robot.csv")
        (options.out / "robot.md").write_text(text, encoding="utf-8")
        report.draw(rows, options.out / "robot.png")
        print(text, end="")
    for key, why in failed.items():
        print(f"bench robot: {key}: {why}", file=sys.stderr)
    if interrupted:
        print(f"bench robot: interrupted; what was measured is in {options.out}", file=sys.stderr)
        return _INTERRUPTED
    return 2 if failed else 0


def _points(options: argparse.Namespace) -> list[Point]:
    """Return the points, the longest latency first: there strategies differ most."""
    strategies = options.strategies or (["rtc"] if options.quick else _able(options.checkpoint))
    latencies = options.latency_ms or ([100.0] if options.quick else list(LATENCIES_MS))
    return [
        Point(s, ms, options.realtime_factor if ms else 1.0)
        for ms in sorted(latencies, reverse=True)
        for s in strategies
    ]


def _able(checkpoint: str) -> list[str]:
    """Return the strategies that the policy can: all, or all that need no training for it."""
    trained = read_checkpoint(checkpoint_path(checkpoint)).spec.trained_delay
    return [name for name, s in STRATEGIES.items() if trained or s.prefix != TRAINED]


def _measure(
    chosen: Sequence[Point],
    results: Results,
    failed: dict[str, str],
    options: argparse.Namespace,
    episodes: int,
    progress: Progress,
) -> None:
    bar = progress.add_task("", total=len(chosen) * episodes)
    for number, point in enumerate(chosen):
        before = number * episodes
        progress.update(bar, description=point.key, completed=before)
        if point.key in results.rows:
            continue
        with tempfile.TemporaryDirectory(prefix="rtc_ros_bench_robot_") as folder:
            try:
                found = measure(
                    point,
                    checkpoint=options.checkpoint,
                    episodes=episodes,
                    seconds=options.seconds,
                    seed=options.seed,
                    folder=Path(folder),
                    warm_up=not options.quick,
                    on_episode=partial(_show, progress, bar, before),
                )
            except RobotError as error:
                failed[point.key] = str(error)
                continue
        results.keep(found.key, asdict(found))
    progress.update(bar, completed=len(chosen) * episodes)


def _show(progress: Progress, bar: TaskID, before: int, done: int) -> None:
    progress.update(bar, completed=before + done)


def _text(rows: Sequence[Measured], conditions: dict[str, object], points: int) -> str:
    told = ", ".join(f"{k} {v}" for k, v in conditions.items())
    loads = [r.load for r in rows]
    own = [r.own_ms for r in rows]
    said = (
        f"{len(rows)} of {points} points; {told}; {platform.machine()}, {os.cpu_count()} cores, "
        f"load {min(loads):.1f} to {max(loads):.1f}; {sum(r.wall_s for r in rows) / 60:.0f} min; "
        f"an inference itself took {min(own):.0f} to {max(own):.0f} ms (medians)."
    )
    return f"{said}\n\n{report.markdown(rows)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtc_ros bench robot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=a_path, default=Path("bench_robot"), help="folder (%(default)s)")
    add("--strategies", nargs="+", choices=STRATEGIES, metavar="NAME",
        help="all that the policy can, unless given")  # fmt: skip
    add("--latency-ms", nargs="+", type=_latency, metavar="MS", help="injected (0 100 200)")
    add("--episodes", type=COUNT, help="of each point (20)")
    add("--seconds", type=SECONDS, default=7.0, help="an episode's, simulated (%(default)g)")
    add("--seed", type=int, default=9000, help="of the cubes and the noise (%(default)d)")
    add("--checkpoint", type=path_text, default="package:aloha_cube",
        help="of the policy (%(default)s)")  # fmt: skip
    add("--realtime-factor", type=_factor, default=1.0, help="simulated seconds per second where "
        "a latency is injected (%(default)g)")  # fmt: skip
    add("--quick", action="store_true", help="one episode of rtc at +100 ms")
    return parser


def _latency(text: str) -> float:
    value = float(text)
    if not value >= 0.0:
        raise argparse.ArgumentTypeError(f"{text} ms can't be injected: 0 or more")
    return value


def _factor(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 5.0:
        raise argparse.ArgumentTypeError(f"{text} is not within 1 and 5")
    return value


if __name__ == "__main__":
    sys.exit(main())
