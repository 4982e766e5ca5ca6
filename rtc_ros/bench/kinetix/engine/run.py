"""What the engine's process does: step episodes as it is told, or train an expert."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from . import level, ppo, wire
from .arena import Arena

_BATCH = 256
"""Episodes that are stepped together."""

_TELL = 5
_LOOK_BACK = 10
"""Updates between two reports, and updates that a report looks back on."""


def main(argv: list[str], speak: BinaryIO) -> int:
    """Do one of the two; errors are told, not raised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve", "train"))
    parser.add_argument("level")
    parser.add_argument("--cache", help="folder for what is compiled")
    parser.add_argument("--out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--solved", type=float, default=0.95)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--dense", type=float, default=0.5)
    parser.add_argument("--stock", action="store_true")
    options = parser.parse_args(argv)
    if options.cache:
        # XLA's own caches would make the folder's path part of what is looked up.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
        jax.config.update("jax_compilation_cache_dir", options.cache)
    if not Path(options.level).exists() and options.level.endswith(".json"):
        wire.send(speak, {"error": f"there is no file {options.level}"})
        return 2
    try:
        loaded = level.load(options.level)
    except (AssertionError, KeyError, ValueError) as error:
        wire.send(speak, {"error": f"{options.level} is no level: {error}"})
        return 2
    if options.what == "serve":
        _serve(Arena(loaded, stock=options.stock), speak)
    else:
        _train(loaded, options, speak)
    return 0


class Batches:
    """``n`` episodes in batches of one size, so that one compiled step serves any n.

    Where those that go on fit into fewer batches, they are put together anew.
    """

    def __init__(self, arena: Arena, step: Any, n: int) -> None:
        self._step, self._live = step, np.ones(n, bool)
        self.seen = np.tile(np.asarray(arena.observe(arena.begin(1))), (n, 1))
        self._rows = _split(np.arange(n))
        self._states = [arena.begin(_BATCH)] * len(self._rows)

    def step(self, actions: np.ndarray) -> list[np.ndarray]:
        """Return what is seen [n, O], which episodes end and which are solved now, bool[n]."""
        ends, solves = np.zeros((2, len(self._live)), bool)
        for number, rows in enumerate(self._rows):
            mine = np.zeros((_BATCH, actions.shape[1]), np.float32)
            mine[: len(rows)] = actions[rows]
            self._states[number], *told = self._step(self._states[number], mine)
            seen, _, ended, solved = (np.asarray(x)[: len(rows)] for x in told)
            self.seen[rows], ends[rows], solves[rows] = seen, ended, solved
        self._live &= ~ends
        if -(-self._live.sum() // _BATCH) < len(self._rows):
            self._pack()
        return [self.seen, ends, solves]

    def _pack(self) -> None:
        """Keep the episodes that go on."""
        lanes = [n * _BATCH + np.arange(len(rows)) for n, rows in enumerate(self._rows)]
        going = np.flatnonzero(self._live[np.concatenate(self._rows)])
        lane, row = np.concatenate(lanes)[going], np.concatenate(self._rows)[going]
        states, self._rows = self._states, _split(row)
        whole = [np.pad(x, (0, _BATCH - len(x)), mode="edge") for x in _split(lane)]
        self._states = [
            jax.tree.map(lambda *x, at=at: jnp.concatenate(x)[at], *states) for at in whole
        ]


def _split(episodes: np.ndarray) -> list[np.ndarray]:
    return [episodes[i : i + _BATCH] for i in range(0, len(episodes), _BATCH)]


def _serve(arena: Arena, speak: BinaryIO) -> None:
    """Answer "begin" (n) and "step" (actions) until the other side is gone."""
    step = jax.jit(arena.step)
    wire.send(speak, {"actions": arena.actions, "steps": arena.steps})
    batches: Batches | None = None
    with open(sys.stdin.fileno(), "rb", closefd=False) as listen:
        while True:
            try:
                told, arrays = wire.receive(listen)
            except EOFError:
                return
            if told["do"] == "begin":
                batches = Batches(arena, step, told["n"])
                wire.send(speak, {}, batches.seen)
            else:
                assert batches is not None, "begin comes first"
                wire.send(speak, {}, *batches.step(arrays[0]))


def _train(loaded: level.Level, options: argparse.Namespace, speak: BinaryIO) -> None:
    """Train until the share solved is there twice in a row, or the steps are done."""
    recipe, out = ppo.Recipe(options.gamma, options.dense), Path(options.out)
    training = ppo.Training(Arena(loaded, recipe.dense_reward), recipe, options.seed)
    if out.exists():
        training.resume(out)
    recent: deque[tuple[float, float]] = deque(maxlen=_LOOK_BACK)
    begun, good = time.monotonic(), 0
    for told in training.run():
        recent.append((told["ended"], told["solved"]))
        steps = training.updates * ppo.PER_UPDATE
        last = steps >= options.steps
        if training.updates % _TELL and not last:
            continue
        ended, solved = (sum(x) for x in zip(*recent, strict=True))
        share = solved / max(ended, 1.0)
        good = good + 1 if share >= options.solved else 0
        last |= good >= 2
        report = {
            "steps": steps,
            "solved": round(share, 4),
            "ended": int(ended),
            "std": round(told["std"], 3),
            "seconds": round(time.monotonic() - begun, 1),
            "cpu": round(sum(os.times()[:2]), 1),
            "last": last,
        }
        training.save(out, {"steps": steps, "solved": share, "whole": float(last)})
        wire.send(speak, report)
        if last:
            return
