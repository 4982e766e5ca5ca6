"""Two hands carry a spring bar past three obstacles, each on one side or the other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rtc_ros.bench.tasks.world import World

_LENGTH = 0.4
_STIFFNESS = 15.0
_RADIUS = 0.2
_PASS = 0.62
_SPEED = 1.2


class Slalom(World):
    """The bar stands across the way; it must not touch an obstacle nor be torn or crushed.

    Little disturbs. Before each obstacle the side is open again, and both are as good, so what
    counts is to stay with what was begun. Done: the middle of the bar within 0.15 m of the goal.
    """

    name = "slalom"
    title = "spring bar past three obstacles"
    steps = 95
    modes = 8
    force_noise = 0.4
    obstacles: ClassVar[tuple[float, ...]] = (1.1, 2.5, 3.9)
    goal: ClassVar[float] = 4.8

    def _start(self) -> None:
        middle = self.random.normal(scale=0.03, size=(self.n, 2))
        self.position[:, 0] = middle + [0.0, -_LENGTH / 2]
        self.position[:, 1] = middle + [0.0, _LENGTH / 2]

    def _pull(self) -> np.ndarray:
        force = _spring(self.position[:, 0], self.position[:, 1], _LENGTH, _STIFFNESS)
        return np.stack([force, -force], axis=1)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        left, right = self.position[:, 0], self.position[:, 1]
        bar = right - left
        length = np.linalg.norm(bar, axis=1)
        failed = (length < 0.5 * _LENGTH) | (length > 1.5 * _LENGTH)
        for x in self.obstacles:
            middle = np.array([x, 0.0])
            along = ((middle - left) * bar).sum(axis=1) / np.maximum(length, 1e-6) ** 2
            nearest = left + np.clip(along, 0.0, 1.0)[:, None] * bar
            failed |= np.linalg.norm(nearest - middle, axis=1) < _RADIUS
        goal = np.array([self.goal, 0.0])
        return failed, np.linalg.norm(self.position.mean(axis=1) - goal, axis=1) < 0.15

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Go round by the sides that the bits of ``mode`` say, keeping the bar upright."""
        middle = self.position.mean(axis=1)
        ahead = middle[:, 0] + 0.35
        y = np.zeros(self.n)
        for bit, x in enumerate(self.obstacles):
            side = 2.0 * (mode >> bit & 1) - 1.0
            y = y + side * _PASS * np.exp(-(((ahead - x) / 0.42) ** 2))
        slow = np.clip(4.0 * (self.goal - middle[:, 0]), -_SPEED, _SPEED)
        wanted = np.stack([slow, 4.0 * (y - middle[:, 1])], axis=1)
        hold = np.array([[0.0, -_LENGTH / 2], [0.0, _LENGTH / 2]])
        shape = 3.0 * (middle[:, None] + hold - self.position)
        force = 4.5 * (wanted[:, None] + shape - self.velocity) + self.velocity
        return np.asarray(force.reshape(self.n, 4))


def _spring(one: np.ndarray, other: np.ndarray, length: float, stiffness: float) -> np.ndarray:
    """Return the force [n, 2] on ``one`` by a spring to ``other``."""
    apart = other - one
    distance = np.linalg.norm(apart, axis=-1, keepdims=True)
    return np.asarray(stiffness * (distance - length) * apart / np.maximum(distance, 1e-6))
