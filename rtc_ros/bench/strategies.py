"""`rtc_ros bench strategies`: every way of executing chunks, on tasks that a laptop can train.

Trains a small flow policy for each task (they are kept in the folder), then measures each method
at each delay and stride on the same episodes. The sweep "settings" tries each method's own
parameters on half as many other episodes, and "chosen" compares what did best there in each task.
What is in the folder is not measured again, so a sweep that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtc_ros.bench.tasks import figures, learn, tables
from rtc_ros.bench.tasks.catalogue import TASKS
from rtc_ros.bench.tasks.episodes import run_episodes
from rtc_ros.bench.tasks.flow_policy import FlowPolicy
from rtc_ros.bench.tasks.points import (
    DELAYS,
    METHODS,
    SETTINGS_DELAYS,
    STRIDES,
    Point,
    chosen_points,
    points,
)
from rtc_ros.bench.tasks.results import Measured, Results, measured
from rtc_ros.command_line import COUNT
from rtc_ros.paths import a_path

SWEEPS = ("delay", "stride", "settings", "chosen")
_CHOOSING, _COMPARING = 1000, 2000
"""Added to the seed: nothing is chosen, and no policy trained, on what is compared."""
_FEW = (0, 2), (1, 4), (2,)
_QUICK = {"episodes": 16, "updates": 40, "demonstrations": 64}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0, or 2 where it can't be run."""
    options = _parser().parse_args(argv)
    for name, few in _QUICK.items():
        if getattr(options, name) is None:
            whole = {"episodes": 1024, "updates": learn.UPDATES}.get(name, learn.DEMONSTRATIONS)
            setattr(options, name, few if options.quick else whole)
    torch.set_num_threads(options.threads)
    out: Path = options.out
    conditions: dict[str, object] = {"stride": "max(d, s_min)"}  # it was d + 1 where s_min ≤ d
    if not options.measured:
        names = ("seed", "episodes", "updates", "demonstrations")
        conditions = {name: getattr(options, name) for name in names} | conditions
    try:
        results = Results(out, conditions, measured=options.measured)
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f"bench strategies: {error}", file=sys.stderr)
        return 2
    sweeps = options.sweeps or list(SWEEPS)
    delays, strides, tried = _FEW if options.quick else (DELAYS, STRIDES, SETTINGS_DELAYS)
    tasks, methods = options.tasks or list(TASKS), options.methods or list(METHODS)
    # What is chosen is chosen from the settings' sweep.
    known = [*sweeps, "settings"] if "chosen" in sweeps else sweeps
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:46}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        found = points(tasks, known, methods, delays, strides, tried)
        rows = _measure(found, results, options, progress)
        if "chosen" in sweeps:
            found = chosen_points(tasks, tables.chosen(rows), methods, delays)
            rows += _measure(found, results, options, progress)
    if not rows:
        print(f"bench strategies: {out} holds no result of what was asked for", file=sys.stderr)
        return 2
    text = _report(rows, results.conditions)
    tables.write_csv(rows, out / "strategies.csv")
    (out / "strategies.md").write_text(text, encoding="utf-8")
    for sweep in ("delay", "stride", "chosen"):
        if any(r.sweep == sweep for r in rows):
            figures.draw(rows, sweep, out / f"strategies_{sweep}.png", together=False)
    print(text, end="")
    return 0


def _measure(
    chosen: Sequence[Point], results: Results, options: argparse.Namespace, progress: Progress
) -> list[Measured]:
    bar = progress.add_task("", total=len(chosen))
    policies: dict[str, tuple[FlowPolicy, FlowPolicy]] = {}
    rows = []
    for point in chosen:
        progress.update(bar, description=f"{point.task}: {point.line}, d = {point.delay}")
        found = results.find(point)
        if found is None and options.measured:
            progress.advance(bar)
            continue
        if found is None:
            if point.task not in policies:
                policies[point.task] = _policies(point.task, options, progress)
            policy, weak = policies[point.task]
            policy.weak = weak if point.settings.bid_contrast else None
            begun, task = time.perf_counter(), TASKS[point.task]
            # Half as many are enough to choose by.
            episodes = -(-options.episodes // 2) if point.choosing else options.episodes
            seed = options.seed + (_CHOOSING if point.choosing else _COMPARING)
            outcome = run_episodes(
                task, policy, point.settings, point.delay, episodes, seed
            )
            found = measured(point, outcome, task.steps, time.perf_counter() - begun)
            results.add(found)
        rows.append(found)
        progress.advance(bar)
    return rows


def _policies(
    name: str, options: argparse.Namespace, progress: Progress
) -> tuple[FlowPolicy, FlowPolicy]:
    file = options.out / f"{name}.pt"
    if not file.exists():
        bar = progress.add_task(f"{name}: training", total=options.updates)
        made = learn.train(
            TASKS[name],
            options.seed,
            options.updates,
            options.demonstrations,
            lambda done: progress.update(bar, completed=done),
        )
        learn.save(file, made)
        progress.remove_task(bar)
    return learn.load(file)


def _report(rows: Sequence[Measured], conditions: dict[str, object]) -> str:
    where = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    told = ", ".join(f"{k} {v}" for k, v in conditions.items())
    if conditions["episodes"] == _QUICK["episodes"]:
        told += ". A smoke run: so few episodes of hardly trained policies tell nothing"
    seconds = sum({r.key: r.seconds for r in rows}.values())
    parts = [
        f"{told}; {where}; {seconds / 60:.0f} min of episodes in all. Percent done, in brackets "
        "Wilson's 95 % interval; the best of a column is bold. Differences are of pairs: the same "
        "episodes, in brackets the 95 % interval of their mean.",
        "",
    ]
    for sweep in SWEEPS:
        if not any(r.sweep == sweep for r in rows):
            continue
        if sweep == "chosen":
            parts.append(tables.what_was_chosen(rows))
        if sweep in ("delay", "chosen"):
            parts.append(tables.brief(rows, sweep))
        # Two ends, of which a mean says nothing.
        parts.append(tables.markdown(rows, sweep, together=False))
        if sweep == "delay":
            parts.append(tables.motion(rows))
    return "\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtc_ros bench strategies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=a_path, default=Path("bench_strategies"), help="folder (%(default)s)")
    add("--tasks", nargs="+", choices=TASKS, help="all unless given")
    add("--methods", nargs="+", choices=METHODS, help="all unless given")
    add("--sweeps", nargs="+", choices=SWEEPS, help="all unless given")
    add("--episodes", type=COUNT, help="of each point (1024)")
    add("--demonstrations", type=COUNT, help=f"of each task ({learn.DEMONSTRATIONS})")
    add("--updates", type=COUNT, help=f"of the training ({learn.UPDATES})")
    add("--seed", type=int, default=7, help="of training, starts, noise (%(default)s)")
    add("--threads", type=COUNT, default=1, help="of torch (%(default)s)")
    add("--measured", action="store_true", help="report what is in the folder, measure nothing")
    add("--quick", action="store_true", help="a few episodes of hardly trained policies")
    return parser


if __name__ == "__main__":
    sys.exit(main())
