"""`rtc_ros bench kinetix`: strategies on the paper's levels, from trained policies.

The levels run in a process of their own; loop, player, mask and sampler are the package's. Sweeps:
"delay" (every method over d, s = max(d, 1)), "stride" (over s, d = 1), "settings" (each method's
own parameters, one changed at a time, at d = 1 and 3, on half as many other episodes of a level's
first training) and "chosen" ("delay" again, each method with what did most of the level in
"settings"). What is in the folder is not measured again, so what was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from rtc_ros.bench.kinetix import figures, learn, paper, tables, train
from rtc_ros.bench.kinetix.catalogue import SHIPPED, file_of, name_of, policies
from rtc_ros.bench.kinetix.episodes import run_episodes
from rtc_ros.bench.kinetix.flow_policy import FlowPolicy
from rtc_ros.bench.kinetix.level_world import ACTION_NOISE, Level
from rtc_ros.bench.kinetix.measured import Measured, find, measured
from rtc_ros.bench.kinetix.points import (
    DELAYS,
    METHODS,
    SETTINGS,
    SETTINGS_DELAYS,
    STRIDES,
    Point,
    chosen_points,
    points,
)
from rtc_ros.bench.kinetix.process import EngineError, add_python
from rtc_ros.bench.results import Results
from rtc_ros.command_line import COUNT, tool, whole
from rtc_ros.paths import a_path, path_text

SWEEPS = ("delay", "stride", "settings", "chosen")
_CHOOSING = 1000
"""Added to the seed: nothing is chosen on the episodes that are compared."""
_QUICK_EPISODES = 64
_FEW: tuple[tuple[int, ...], ...] = (0, 2), (1, 4), (2,)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or train where the first word is ``train``; 0, or 2 where it can't be done."""
    words = list(argv or ())
    if words[:1] == ["train"]:
        return train.main(words[1:])
    options = _parser().parse_args(words)
    torch.set_num_threads(1)
    if not options.measured:  # else of whatever they are
        options.seed = 2007 if options.seed is None else options.seed
        options.episodes = options.episodes or (_QUICK_EPISODES if options.quick else 1024)
    asked = {"seed": options.seed, "episodes": options.episodes, "action noise": ACTION_NOISE}
    conditions = {k: v for k, v in asked.items() if v is not None}
    try:
        if options.delays and not set(options.sweeps) & {"delay", "chosen"}:
            raise ValueError("--delays is for the sweeps delay and chosen: the others' are given")
        levels = options.levels or unique_levels(options.policies)
        names = [name_of(level) for level in levels]
        if not levels:
            raise ValueError(f"{options.policies} holds no policy LEVEL_1.pt: "
                             "rtc_ros bench kinetix train LEVEL makes them")  # fmt: skip
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two levels are called {twice[0]}: measure one at a time")
        with Results(options.out, conditions, measured=options.measured) as results:
            rows = [row for level in levels for row in _of_level(level, options, results)]
        if not rows:
            raise ValueError(f"{options.out} holds no result of what was asked for")
        text = report(rows, results.conditions)
        tables.write_csv(rows, options.out / "kinetix.csv")
        (options.out / "kinetix.md").write_text(text, encoding="utf-8")
        for sweep in ("delay", "stride", "chosen"):
            if mine := [r for r in rows if r.sweep == sweep]:
                figures.draw(paper.by_level(mine), sweep, options.out / f"kinetix_{sweep}.png")
    except (EngineError, OSError, ValueError) as error:
        print(f"bench kinetix: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"bench kinetix: what was measured is in {options.out}: the same command goes on "
              "with it, --measured makes its tables", file=sys.stderr, flush=True)  # fmt: skip
        raise
    print(text, end="")
    return 0


def unique_levels(folder: Path) -> list[str]:
    """Return the levels that ``folder`` has policies of."""
    return tables.unique(f.stem.rpartition("_")[0] for f in policies(folder))


def digest(policy: Path, level: str) -> str:
    """Name a policy and its level (a file, or the name of one of Kinetix's own)."""
    file = Path(level)
    content = file.read_bytes() if file.is_file() else level.encode()
    return hashlib.sha256(policy.read_bytes() + content).hexdigest()[:8]


def measurable(found: Sequence[Point], horizon: int) -> list[Point]:
    """Return the points without those whose settings can't be with d.

    With H = 8 that is ensembling at d = 4: no step that is executed has two predictions.
    """
    return [p for p in found if not p.settings.problems(horizon, p.delay)]


def measure(
    level: Level,
    policy: tuple[FlowPolicy, FlowPolicy],
    point: Point,
    episodes: int,
    seed: int,
    digest: str = "",
) -> Measured:
    """Return the figures of one point; the second policy is the weak one that BID contrasts.

    ``digest`` names policy and level.
    """
    strong, strong.weak = policy[0], policy[1] if point.settings.bid_contrast else None
    begun = time.perf_counter()
    if point.choosing:
        episodes, seed = -(-episodes // 2), seed + _CHOOSING
    outcome = run_episodes(level, strong, point.settings, point.delay, episodes, seed)
    return measured(point, outcome, level.steps, time.perf_counter() - begun, digest)


def _of_level(level: str, options: argparse.Namespace, results: Results) -> list[Measured]:
    name = name_of(level)
    files = policies(options.policies, name)
    if not files:
        raise ValueError(f"{options.policies} holds no policy {name}_1.pt: "
                         f"rtc_ros bench kinetix train {level} makes it")  # fmt: skip
    where = file_of(level, options.level_files)
    tasks = {f"{name} {file.stem.rpartition('_')[2]}": file for file in files}
    trained = {task: learn.load(file) for task, file in tasks.items()}
    digests = {task: digest(file, where) for task, file in tasks.items()}
    first = next(iter(tasks))
    horizon = trained[first][0].spec.horizon
    methods, sweeps = tables.unique(options.methods or METHODS), options.sweeps
    delays, strides, tried = _FEW if options.quick else (DELAYS, STRIDES, SETTINGS_DELAYS)
    delays = tuple(tables.unique(options.delays or delays))

    with contextlib.ExitStack() as stack:

        @functools.cache
        def world() -> Level:
            """Start the engine, where there is something to measure."""
            cache = ("--cache", str(options.out / "compiled"))
            level = stack.enter_context(Level(options.python, where, cache))
            print(f"{name}: the engine is there; a level's first step takes a minute to compile",
                  file=sys.stderr, flush=True)  # fmt: skip
            return level

        def played(asked: Sequence[Point]) -> list[Measured]:
            def known(point: Point) -> Measured | None:
                return find(results, point, digests[point.task])

            asked = measurable(asked, horizon)
            # Points of two sweeps may be one.
            missing = {p.key: p for p in asked if not options.measured and known(p) is None}
            for number, point in enumerate(missing.values(), 1):
                policy, which = trained[point.task], digests[point.task]
                one = measure(world(), policy, point, options.episodes, options.seed, which)
                results.keep(asdict(one))
                print(
                    f"{number} of {len(missing)}: {point.task}, {point.line}, "
                    f"d = {point.delay}, s = {point.stride}: {one.share:.1%} solved, "
                    f"{one.seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            return [row for p in asked if (row := known(p)) is not None]

        compared = [s for s in sweeps if s in ("delay", "stride")]
        rows = played(points(tasks, compared, methods, delays, strides))
        if set(sweeps) & {"settings", "chosen"}:
            choosing = played(points([first], ("settings",), methods, settings_delays=tried))
            rows += choosing if "settings" in sweeps else []
            if "chosen" in sweeps:
                best = tables.chosen(choosing)
                taken = {(task, m): best[first, m] for task in tasks for _, m in best}
                able = [m for m in methods if m not in SETTINGS or (first, m) in best]
                rows += played(chosen_points(tasks, taken, able, delays))
    return rows


def report(rows: Sequence[Measured], conditions: dict[str, object]) -> str:
    """Return the tables: beside the paper's, in short, by d and level, and each training's."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    told = ", ".join(f"{k} {v}" for k, v in conditions.items())
    minutes = sum({r.key: r.seconds for r in rows}.values()) / 60
    parts = [
        f"{told}; {where}; {minutes:.0f} min. Percent solved, in brackets Wilson's 95 % interval; "
        "the best of a column is bold. Differences are of pairs (the same noise), in brackets the "
        "95 % interval of their mean. A level's trainings are taken together where they are "
        "whole; settings are tried on the first.",
        "",
    ]
    for sweep in SWEEPS:
        mine = [r for r in rows if r.sweep == sweep]
        if not mine:
            continue
        levels = paper.by_level(mine)
        if sweep == "delay":
            parts += [paper.beside(levels), paper.against_order(levels)]
        if sweep == "chosen":
            parts.append(tables.what_was_chosen(levels))
        if sweep in ("delay", "chosen"):
            parts.append(tables.brief(levels, sweep))
        parts.append(tables.markdown(levels, sweep))
        if sweep == "delay":
            parts.append(paper.trainings(mine))
    return "\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    more = "\n`rtc_ros bench kinetix train LEVEL` trains the policies."
    parser = tool("bench kinetix", __doc__ + more)
    add = parser.add_argument
    add_python(parser)
    add("--out", type=a_path, default=Path("bench_kinetix"), help="folder (%(default)s)")
    add("--policies", type=a_path, default=SHIPPED, help="folder of LEVEL_1.pt … (the shipped)")
    add("--levels", nargs="+", type=path_text, help="names or files (all with policies)")
    add("--level-files", type=a_path, help="folder where a level given by name is looked up first")
    add("--sweeps", nargs="+", choices=SWEEPS, default=["delay"], help="(delay)")
    add("--methods", nargs="+", choices=METHODS, help="all unless given")
    add("--delays", nargs="+", type=int, choices=DELAYS, help="all unless given")
    add("--episodes", type=COUNT, help="of each point (1024)")
    add("--seed", type=whole(0), help="of the noise (2007)")
    add("--measured", action="store_true", help="report what is in the folder, measure nothing")
    add("--quick", action="store_true", help="64 episodes at d = 0 and 2")
    return parser
