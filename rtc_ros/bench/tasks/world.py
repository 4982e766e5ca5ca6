"""What the tasks share: two hands, as point masses in a plane, moved by force.

A world is many episodes at once, stepped together. All that is random in it is drawn when it is
made, from one seed, so every strategy meets the same starts and the same disturbances.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

PERIOD_S = 0.05
FORCE_LIMIT = 15.0
"""Largest force of a hand along one axis [N]; a hand weighs 1 kg."""

_SUBSTEPS = 2
_DAMPING = 1.0


class World:
    """``n`` episodes of one task.

    ``position`` and ``velocity`` are float[n, 2 hands, 2 axes] [m, m/s]. ``failed`` and ``done``
    bool[n] say how it went; what failed can't be done any more, and the other way round.
    ``done_step`` int[n] is the step at which it was done, -1 before.

    Args:
        n: episodes.
        seed: of the starts and disturbances.
        rough: how many times the disturbances of an ordinary episode (demonstrations: more).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    steps: ClassVar[int] = 50
    modes: ClassVar[int] = 2
    action_dim: ClassVar[int] = 4
    force_noise: ClassVar[float] = 1.0
    """Standard deviation of the force noise on each hand and axis [N], constant for a step."""

    limit: ClassVar[float] = FORCE_LIMIT

    def __init__(self, n: int, seed: int, rough: float = 1.0) -> None:
        self.n, self.rough = n, rough
        self.step_count = 0
        self.random = np.random.default_rng(seed)
        self.position: np.ndarray = np.zeros((n, 2, 2))
        self.velocity: np.ndarray = np.zeros((n, 2, 2))
        self.failed = np.zeros(n, bool)
        self.done = np.zeros(n, bool)
        self.done_step = np.full(n, -1)
        self._start()
        horizon = self.steps + 64  # demonstrations go on for a chunk
        self._noise = rough * self.force_noise * self.random.normal(size=(horizon, n, 2, 2))
        self._disturb(horizon)

    # -- what a task defines -----------------------------------------------------------------

    def _start(self) -> None:
        """Draw the starts."""
        raise NotImplementedError

    def _disturb(self, horizon: int) -> None:
        """Draw the task's own disturbances of the first ``horizon`` steps."""

    def _pull(self) -> np.ndarray:
        """Return the forces on the hands besides what they are told, [n, 2, 2]."""
        return np.zeros_like(self.position)

    def _move(self, dt: float) -> None:
        """Move what isn't a hand."""

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what has failed and what is done at this step, bool[n] each."""
        raise NotImplementedError

    def _extra(self) -> np.ndarray:
        """Return what is observed besides the hands, [n, …]."""
        return np.zeros((self.n, 0))

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Return the demonstrator's forces [n, 4]; ``mode`` int[n] is the way it has chosen."""
        raise NotImplementedError

    # -- what all tasks do -------------------------------------------------------------------

    @property
    def ended(self) -> np.ndarray:
        """Which episodes need no more actions, bool[n]: none, each is watched to its last step."""
        return np.zeros(self.n, bool)

    def observe(self) -> np.ndarray:
        """Return float[n, O]: positions, velocities and the task's own."""
        hands = [self.position.reshape(self.n, 4), self.velocity.reshape(self.n, 4)]
        return np.concatenate([*hands, self._extra()], axis=1)

    def step(self, action: np.ndarray) -> None:
        """Apply forces [n, 4] (left x, y, right x, y) for one period."""
        force = np.clip(action, -FORCE_LIMIT, FORCE_LIMIT).reshape(self.n, 2, 2)
        force = force + self._noise[self.step_count]
        dt = PERIOD_S / _SUBSTEPS
        for _ in range(_SUBSTEPS):
            total = force + self._pull() - _DAMPING * self.velocity
            self.velocity = self.velocity + dt * total
            self.position = self.position + dt * self.velocity
            self._move(dt)
        self.step_count += 1
        failed, done = self._judge()
        self.failed |= failed & ~self.done
        newly = done & ~self.failed & ~self.done
        self.done |= newly
        self.done_step[newly] = self.step_count
