"""A level without Kinetix, and experts and a flow policy for it that are made in a second."""

from __future__ import annotations

import numpy as np

from rtc_ros.bench.kinetix import learn
from rtc_ros.bench.kinetix.experts import Expert, demonstrate


class Line:
    """A level of one number: to be brought from 0 past 1, on one of two sides, as in Kinetix."""

    steps, limit, action_dim = 24, 1.0, 1

    def __call__(self, n, seed):
        return LineWorld(n, seed)


class LineWorld:
    def __init__(self, n, seed):
        self.step_count = 0
        self.done, self.failed = np.zeros(n, bool), np.zeros(n, bool)
        self.done_step = np.full(n, -1)
        self._noise = 0.1 * np.random.default_rng(seed).normal(size=(Line.steps, n))
        self.at, self.actions = np.zeros(n), []

    @property
    def ended(self):
        return self.done | self.failed

    def observe(self):
        return np.stack([self.at, np.abs(self.at)], axis=1)

    def step(self, action):
        self.actions.append(action.copy())
        pushed = np.clip(action[:, 0] + self._noise[self.step_count], -1, 1)
        self.at = np.where(self.ended, self.at, self.at + 0.1 * pushed)
        self.step_count += 1
        newly = (np.abs(self.at) > 1) & ~self.ended
        self.done |= newly
        self.done_step[newly] = self.step_count
        self.failed |= (self.step_count == Line.steps) & ~self.done


def expert_file(path, side):
    """Write an expert that pushes to one side, as the engine writes them."""
    np.savez(
        path,
        weight_0=np.zeros((2, 3)),
        bias_0=np.full(3, 9.0),
        weight_1=np.full((3, 1), side / 3),
        bias_1=np.zeros(1),
        log_std=np.log([0.05]),
        observation_mean=np.zeros(2),
        observation_std=np.ones(2),
        solved=0.97,
        steps=1000,
        whole=1.0,
    )
    return Expert(path)


def demonstrated(folder):
    """Return the demonstrations of a mixture of two, each to its own side."""
    both = [expert_file(folder / f"{side}.npz", side) for side in (-0.8, 0.8)]
    return demonstrate(Line(), both, 40, 1)


def trained(folder, updates=60):
    """Return the flow policy on it, and the weak one."""
    seen, chunks, _ = demonstrated(folder)
    return learn.fit(seen, chunks, 1, updates=updates)
