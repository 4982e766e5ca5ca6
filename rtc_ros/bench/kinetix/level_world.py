"""A Kinetix level as the episodes that the loop plays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtc_ros.bench.kinetix.process import EngineProcess

ACTION_NOISE = 0.1
"""Standard deviation of what is added to each action, as in the paper; actions are in [-1, 1]."""


class LevelWorld:
    """``n`` episodes of a level; all that is random in them is the noise on actions.

    ``done`` is solved, ``failed`` ended otherwise (red was touched, or time is over), bool[n];
    ``done_step`` int[n] is the step at which it was done, -1 before. What has ended is stepped no
    further, so what failed can't be solved any more.
    """

    def __init__(
        self, process: EngineProcess, n: int, seed: int, steps: int, actions: int
    ) -> None:
        self.step_count = 0
        self.done, self.failed = np.zeros(n, bool), np.zeros(n, bool)
        self.done_step = np.full(n, -1)
        self._process = process
        shape = (steps, n, actions)
        self._noise = ACTION_NOISE * np.random.default_rng(seed).normal(size=shape)
        self._seen = process.ask({"do": "begin", "n": n})[1][0]

    @property
    def ended(self) -> np.ndarray:
        """Which episodes have ended, bool[n]."""
        return np.asarray(self.done | self.failed)

    def observe(self) -> np.ndarray:
        """Return float[n, O]: of each body that can move x, y, their rates, ω, sin, cos."""
        return self._seen

    def step(self, action: np.ndarray) -> None:
        """Apply actions [n, A] in [-1, 1], and noise, for one period of 1/30 s."""
        noisy = np.clip(action, -1.0, 1.0) + self._noise[self.step_count]
        told = np.clip(noisy, -1.0, 1.0).astype(np.float32)
        seen, ends, solved = self._process.ask({"do": "step"}, told)[1]
        self.step_count += 1
        going = ~self.ended
        self.done |= going & solved
        self.failed |= going & ends & ~solved
        self.done_step[going & solved] = self.step_count
        # What happens after an end is nobody's business, and may not be finite.
        known = going[:, None] & np.isfinite(seen)
        self._seen = np.where(known, seen, self._seen)


class Level(EngineProcess):
    """A level in a process of its own; called, it begins episodes. Ends with the block.

    Episodes have ``steps`` steps, and ``action_dim`` actions within ±``limit``.
    """

    limit = 1.0

    def __init__(self, python: Path | None, level: str, arguments: Sequence[str] = ()) -> None:
        super().__init__(python, "serve", level, *arguments)
        told = self.hello
        self.steps, self.action_dim = int(told["steps"]), int(told["actions"])

    def __call__(self, n: int, seed: int) -> LevelWorld:
        """Begin ``n`` episodes, the ones before end; the same seed gives the same ones."""
        return LevelWorld(self, n, seed, self.steps, self.action_dim)
