"""Two hands carry a spring bar past an obstacle, on one side or the other."""

from __future__ import annotations

import numpy as np

from rtc_ros.bench_tasks.world import World, spring

_LENGTH = 0.4
_STIFFNESS = 15.0
_OBSTACLE = np.array([1.1, 0.0])
_RADIUS = 0.2
_GOAL = np.array([2.0, 0.0])
_PASS = 0.62
_SPEED = 1.2


class SpringBar(World):
    """The bar stands across the way; it must not touch the obstacle nor be torn or crushed.

    Both ways round are as good, and the demonstrations take either. Done: the middle of the bar
    within 0.15 m of the goal behind the obstacle.
    """

    name = "spring_bar"
    title = "spring bar past an obstacle"
    force_noise = 1.0

    def _start(self) -> None:
        middle = self.random.normal(scale=0.03, size=(self.n, 2))
        self.position[:, 0] = middle + [0.0, -_LENGTH / 2]
        self.position[:, 1] = middle + [0.0, _LENGTH / 2]

    def _pull(self) -> np.ndarray:
        force = spring(self.position[:, 0], self.position[:, 1], _LENGTH, _STIFFNESS)
        return np.stack([force, -force], axis=1)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        left, right = self.position[:, 0], self.position[:, 1]
        bar = right - left
        length = np.linalg.norm(bar, axis=1)
        along = ((_OBSTACLE - left) * bar).sum(axis=1) / np.maximum(length, 1e-6) ** 2
        nearest = left + np.clip(along, 0.0, 1.0)[:, None] * bar
        touched = np.linalg.norm(nearest - _OBSTACLE, axis=1) < _RADIUS
        broken = (length < 0.5 * _LENGTH) | (length > 1.5 * _LENGTH)
        arrived = np.linalg.norm(self.position.mean(axis=1) - _GOAL, axis=1) < 0.15
        return touched | broken, arrived

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Go round by the side of ``mode``, keeping the bar upright."""
        side = 2.0 * mode - 1.0
        middle = self.position.mean(axis=1)
        ahead = middle[:, 0] + 0.35
        y = side * _PASS * np.exp(-(((ahead - _OBSTACLE[0]) / 0.42) ** 2))
        slow = np.clip(4.0 * (_GOAL[0] - middle[:, 0]), -_SPEED, _SPEED)
        wanted = np.stack([slow, 4.0 * (y - middle[:, 1])], axis=1)
        hold = np.array([[0.0, -_LENGTH / 2], [0.0, _LENGTH / 2]])
        shape = 3.0 * (middle[:, None] + hold - self.position)
        force = 4.5 * (wanted[:, None] + shape - self.velocity) + self.velocity
        return np.asarray(force.reshape(self.n, 4))
