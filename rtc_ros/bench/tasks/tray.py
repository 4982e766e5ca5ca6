"""Two hands bring a tray with a rolling ball to one of two shelves."""

from __future__ import annotations

import numpy as np

from rtc_ros.bench.tasks.world import World, spring

_WIDTH = 0.6
_STIFFNESS = 20.0
_ROLLS = 3.5
"""Acceleration of the ball per lean of the tray [m/s² per rad]: it is soft."""

_EDGE = 0.28
_SHELF = 0.8


class Tray(World):
    """The ball rolls where the tray leans, and is pushed; it must not roll off.

    A shelf is on either side. Done: the tray's middle within 0.18 m of a shelf, slower than
    0.4 m/s, the ball on it.
    """

    name = "tray"
    title = "tray with a ball, to either shelf"
    steps = 60
    force_noise = 0.7

    def _start(self) -> None:
        middle = self.random.normal(scale=0.04, size=(self.n, 2))
        self.position[:, 0] = middle + [-_WIDTH / 2, 0.0]
        self.position[:, 1] = middle + [_WIDTH / 2, 0.0]
        self.ball: np.ndarray = self.random.uniform(-0.08, 0.08, size=self.n)
        self.rolling: np.ndarray = np.zeros(self.n)
        self._speed: np.ndarray = np.zeros(self.n)

    def _disturb(self, horizon: int) -> None:
        pushed = self.random.random((horizon, self.n)) < 0.05
        self._push = self.rough * pushed * self.random.normal(scale=0.25, size=(horizon, self.n))

    def _pull(self) -> np.ndarray:
        force = spring(self.position[:, 0], self.position[:, 1], _WIDTH, _STIFFNESS)
        return np.stack([force, -force], axis=1)

    def _move(self, dt: float) -> None:
        lean = (self.position[:, 1, 1] - self.position[:, 0, 1]) / _WIDTH
        speed = self.velocity[:, :, 0].mean(axis=1)
        self.rolling = self.rolling + dt * (-_ROLLS * np.clip(lean, -0.5, 0.5))
        # Relative to the tray: where it speeds up the ball stays behind, by half as it spins.
        self.rolling = self.rolling - 0.5 * (speed - self._speed)
        self._speed = speed
        self.ball = self.ball + dt * self.rolling

    def step(self, action: np.ndarray) -> None:
        """Apply forces [n, 4] for one period; the ball may be pushed before."""
        self.rolling = self.rolling + self._push[self.step_count]
        super().step(action)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        length = np.linalg.norm(self.position[:, 1] - self.position[:, 0], axis=1)
        broken = (length < 0.5 * _WIDTH) | (length > 1.5 * _WIDTH)
        middle, speed = self.position.mean(axis=1), self.velocity.mean(axis=1)
        near = np.hypot(np.abs(middle[:, 0]) - _SHELF, middle[:, 1] - 0.5) < 0.18
        slow = np.linalg.norm(speed, axis=1) < 0.4
        return (np.abs(self.ball) > _EDGE) | broken, near & slow

    def _extra(self) -> np.ndarray:
        return np.stack([self.ball, self.rolling], axis=1)

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Lift, then go to the shelf of ``mode``; lean against the ball."""
        side = 2.0 * mode - 1.0
        middle = self.position.mean(axis=1)
        lifted = np.clip((middle[:, 1] - 0.1) / 0.25, 0.0, 1.0)
        goal = np.stack([side * _SHELF * lifted, np.full(self.n, 0.5)], axis=1)
        apart = goal - middle
        wanted = np.clip(2.5 * apart, -0.8, 0.8)
        push = np.clip(4.0 * (wanted - self.velocity.mean(axis=1)), -5.0, 5.0)
        lean = np.clip(1.4 * self.ball + 1.0 * self.rolling, -0.45, 0.45)
        half = np.array([-_WIDTH / 2, _WIDTH / 2])
        y = middle[:, 1, None] + lean[:, None] * half
        x = middle[:, 0, None] + half
        shape = np.stack([x, y], axis=-1) - self.position
        relative = self.velocity - self.velocity.mean(axis=1, keepdims=True)
        force = push[:, None] + 36.0 * shape - 7.0 * relative + self.velocity
        return np.asarray(force.reshape(self.n, 4))
