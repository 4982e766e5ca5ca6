"""`rtc_ros bench kinetix train`: experts by PPO, then flow policies on a mixture of them.

Each expert and each flow policy is a file; what is there is gone on with or not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from rtc_ros.bench.kinetix import learn
from rtc_ros.bench.kinetix.catalogue import LEVELS, Recipe, file_of, name_of
from rtc_ros.bench.kinetix.experts import Expert, demonstrate
from rtc_ros.bench.kinetix.level_world import Level
from rtc_ros.bench.kinetix.process import EngineError, EngineProcess, add_python
from rtc_ros.command_line import COUNT, tool, whole
from rtc_ros.paths import a_path, path_text

GOOD = 0.8
"""An expert that solves less is left out of the mixture; others are trained in its place, until
there were twice as many as wanted."""


def main(argv: Sequence[str]) -> int:
    """Train; 0, or 2 where it can't be done."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    try:
        experts: list[Expert] = []
        good: list[Expert] = []
        while len(good) < options.experts and len(experts) < 2 * options.experts:
            experts.append(_expert(options, len(experts) + 1))
            good = [e for e in experts if e.solved >= GOOD]
        if len(good) < len(experts):
            print(f"{len(experts) - len(good)} of {len(experts)} experts solve less than "
                  f"{GOOD:.0%}", flush=True)  # fmt: skip
        if options.trainings:
            _flow_policies(options, good or experts)
    except (EngineError, OSError, ValueError) as error:
        print(f"bench kinetix train: {error}", file=sys.stderr)
        return 2
    return 0


def _expert(options: argparse.Namespace, seed: int) -> Expert:
    name = name_of(options.level)
    recipe = LEVELS.get(name, Recipe())
    file: Path = options.out / f"{name}_expert_{seed}.npz"
    options.out.mkdir(parents=True, exist_ok=True)
    steps = options.steps or recipe.steps
    before = Expert(file) if file.exists() else None
    if before and before.whole and (before.solved >= GOOD or before.steps >= steps):
        return before
    words = ("--out", file, "--seed", seed, "--steps", steps, "--gamma", recipe.gamma,
             "--dense", recipe.dense, "--cache", options.out / "compiled")  # fmt: skip
    level = file_of(options.level, options.level_files)
    curve = file.with_suffix(".jsonl")
    with EngineProcess(options.python, "train", level, *map(str, words)) as engine:
        for told in engine.reports():
            with curve.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(told) + "\n")
            print(
                f"{name}, expert {seed}: {told['steps']:,} steps, {told['solved']:.1%} of "
                f"{told['ended']} episodes solved, {told['seconds']:.0f} s "
                f"({told['cpu']:.0f} of CPU)",
                flush=True,
            )
    return Expert(file)


def _flow_policies(options: argparse.Namespace, experts: list[Expert]) -> None:
    name = name_of(options.level)
    wanted = [options.out / f"{name}_{k}.pt" for k in range(1, options.trainings + 1)]
    if all(file.exists() for file in wanted):
        return
    where = file_of(options.level, options.level_files)
    with Level(options.python, where, ("--cache", str(options.out / "compiled"))) as level:
        for number, file in enumerate(wanted, 1):
            if file.exists():
                continue
            seed = 100 * number
            seen, chunks, solved = demonstrate(level, experts, options.episodes, seed)
            print(f"{name}, training {number}: {len(seen):,} steps of {len(experts)} experts, "
                  f"{solved:.1%} of {options.episodes} episodes solved", flush=True)  # fmt: skip

            def told(done: int) -> None:
                if done % 1000 == 0:
                    print(f"  {done:,} of {options.updates:,} updates", flush=True)

            learn.save(file, learn.fit(seen, chunks, seed, options.updates, told))
            print(f"{file}: {file.stat().st_size / 1e3:.0f} kB", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = tool("bench kinetix train", __doc__)
    add = parser.add_argument
    add("level", type=path_text, help=f"a level's file, or its name: {', '.join(LEVELS)}")
    add_python(parser)
    add("--out", type=a_path, default=Path("bench_kinetix"), help="folder (%(default)s)")
    add("--level-files", type=a_path, help="folder where a level given by name is looked up first")
    add("--experts", type=COUNT, default=3, help="good ones (%(default)s)")
    add("--steps", type=COUNT, help="of an expert at most, in the environment (the level's own)")
    add("--trainings", type=whole(0), default=2, help="policies (%(default)s); 0: only experts")
    add("--episodes", type=COUNT, default=1536, help="of each one's demonstrations (%(default)s)")
    add("--updates", type=COUNT, default=8000, help="of each flow policy (%(default)s)")
    return parser
