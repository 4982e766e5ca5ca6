"""`rtc_ros bench kinetix`: strategies by delay on the paper's levels, from trained policies.

The levels run in a process of their own; loop, player, mask and sampler are the package's. What is
in the folder is not measured again, so what was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from rtc_ros.bench.kinetix import paper
from rtc_ros.bench.kinetix.catalogue import SHIPPED, file_of, name_of, policies
from rtc_ros.bench.kinetix.level_world import ACTION_NOISE, Level
from rtc_ros.bench.kinetix.process import EngineError
from rtc_ros.bench.tasks import figures, learn, tables
from rtc_ros.bench.tasks.episodes import Task, run_episodes
from rtc_ros.bench.tasks.flow_policy import FlowPolicy
from rtc_ros.bench.tasks.points import DELAYS, METHODS, Point, points
from rtc_ros.bench.tasks.results import Measured, Results, measured
from rtc_ros.command_line import COUNT
from rtc_ros.paths import a_path, path_text

COMPARED = tuple(m for m in METHODS if m != "weighted_average")
_QUICK_EPISODES, _QUICK_DELAYS = 64, (0, 2)


def main(argv: Sequence[str]) -> int:
    """Measure; 0, or 2 where it can't be done."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    episodes = options.episodes or (_QUICK_EPISODES if options.quick else 1024)
    delays = options.delays or (_QUICK_DELAYS if options.quick else DELAYS)
    conditions: dict[str, object] = {"action noise": ACTION_NOISE}
    if not options.measured:
        conditions = {"seed": options.seed, "episodes": episodes} | conditions
    levels = options.levels or unique_levels(options.policies)
    if not levels:
        print(f"bench kinetix: {options.policies} holds no policy LEVEL_1.pt: "
              "rtc_ros bench kinetix train LEVEL makes them", file=sys.stderr)  # fmt: skip
        return 2
    try:
        results = Results(options.out, conditions, measured=options.measured)
        rows: list[Measured] = []
        for level in levels:
            rows += _of_level(level, options, delays, episodes, results)
    except (EngineError, OSError, ValueError) as error:
        print(f"bench kinetix: {error}", file=sys.stderr)
        return 2
    if not rows:
        print(f"bench kinetix: {options.out} holds no result of what was asked for",
              file=sys.stderr)  # fmt: skip
        return 2
    text = report(rows, results.conditions)
    tables.write_csv(rows, options.out / "kinetix.csv")
    (options.out / "kinetix.md").write_text(text, encoding="utf-8")
    figures.draw(paper.by_level(rows), "delay", options.out / "kinetix_delay.png")
    print(text, end="")
    return 0


def unique_levels(folder: Path) -> list[str]:
    """Return the levels that ``folder`` has policies of."""
    return tables.unique(f.stem.rpartition("_")[0] for f in policies(folder, "*"))


def measurable(
    tasks: Sequence[str], methods: Sequence[str], delays: Sequence[int], horizon: int
) -> list[Point]:
    """Return the points, at s = max(d, 1), without those whose settings can't be with d.

    With H = 8 that is temporal ensembling at d = 4: no step that is executed has two predictions.
    """
    found = points(tasks, ("delay",), methods, delays)
    return [p for p in found if not p.settings.problems(horizon, p.delay)]


def measure(
    world: Task, policy: tuple[FlowPolicy, FlowPolicy], point: Point, episodes: int, seed: int
) -> Measured:
    """Return the figures of one point; the second policy is the weak one that BID contrasts."""
    strong, strong.weak = policy[0], policy[1] if point.settings.bid_contrast else None
    begun = time.perf_counter()
    outcome = run_episodes(world, strong, point.settings, point.delay, episodes, seed)
    return measured(point, outcome, world.steps, time.perf_counter() - begun)


def _of_level(
    level: str,
    options: argparse.Namespace,
    delays: Sequence[int],
    episodes: int,
    results: Results,
) -> Iterator[Measured]:
    name = name_of(level)
    files = policies(options.policies, name)
    if not files:
        raise ValueError(f"{options.policies} holds no policy {name}_1.pt: "
                         f"rtc_ros bench kinetix train {level} makes it")  # fmt: skip
    kept = {f"{name} {f.stem.rpartition('_')[2]}": learn.load(f) for f in files}
    horizon = next(iter(kept.values()))[0].spec.horizon
    chosen = measurable(list(kept), options.methods or COMPARED, delays, horizon)
    missing = [p for p in chosen if results.find(p) is None]
    if missing and not options.measured:
        if options.python is None:
            raise EngineError("--python names the Python that has Kinetix (docs/kinetix.md)")
        where = file_of(level, options.level_files)
        print(f"{name}: the engine starts; a level's first step takes a minute to compile",
              file=sys.stderr, flush=True)  # fmt: skip
        with Level(options.python, where, ("--cache", str(options.out / "compiled"))) as world:
            for number, point in enumerate(missing, 1):
                one = measure(world, kept[point.task], point, episodes, options.seed)
                results.add(one)
                print(
                    f"{number} of {len(missing)}: {point.task}, {point.line}, d = {point.delay}: "
                    f"{one.share:.1%} solved, {one.seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    found = (results.find(p) for p in chosen)
    return (one for one in found if one is not None)


def report(rows: Sequence[Measured], conditions: dict[str, object]) -> str:
    """Return the tables: beside the paper's, in short, by d and level, and each training's."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    told = ", ".join(f"{k} {v}" for k, v in conditions.items())
    minutes = sum({r.key: r.seconds for r in rows}.values()) / 60
    head = (
        f"{told}; {where}; {minutes:.0f} min. Percent solved, in brackets Wilson's 95 % interval; "
        "the best of a column is bold. Differences are of pairs (the same noise), in brackets the "
        "95 % interval of their mean. A level's trainings are taken together where they are whole."
    )
    levels = paper.by_level(rows)
    parts = [paper.beside(levels), tables.brief(levels, "delay"), tables.markdown(levels, "delay")]
    return "\n".join([head, "", *parts, paper.trainings(rows)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtc_ros bench kinetix",
        description=__doc__ + "\n`rtc_ros bench kinetix train LEVEL` trains the policies.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--python", type=a_path, help="of the environment that has Kinetix (docs/kinetix.md)")
    add("--out", type=a_path, default=Path("bench_kinetix"), help="folder (%(default)s)")
    add("--policies", type=a_path, default=SHIPPED, help="folder of LEVEL_1.pt … (the shipped)")
    add("--levels", nargs="+", type=path_text, help="names or files (all with policies)")
    add("--level-files", type=a_path, help="folder where a level given by name is looked up first")
    add("--methods", nargs="+", choices=METHODS, help=f"({' '.join(COMPARED)})")
    add("--delays", nargs="+", type=int, choices=DELAYS, help="all unless given")
    add("--episodes", type=COUNT, help="of each point (1024)")
    add("--seed", type=int, default=2007, help="of the noise (%(default)s)")
    add("--measured", action="store_true", help="report what is in the folder, measure nothing")
    add("--quick", action="store_true", help="64 episodes at d = 0 and 2")
    return parser
