"""Two hands close around a ball that changes its course without warning."""

from __future__ import annotations

import numpy as np

from rtc_ros.bench.tasks.world import World

_GRIP = 0.15
_NEAR = 0.2
_FOR = 8
_REACH = 1.2


class Catch(World):
    """The ball is kicked twice a second or so; there is one way to follow it.

    Nothing here rewards going on as planned: what counts is the newest observation. Done: both
    hands within 0.2 m of their sides of the ball for eight steps in a row.
    """

    name = "catch"
    title = "ball that is kicked about"
    steps = 60
    modes = 1
    force_noise = 1.0

    def _start(self) -> None:
        self.position[:, 0] = [-0.6, 0.0]
        self.position[:, 1] = [0.6, 0.0]
        self.position += self.random.normal(scale=0.05, size=self.position.shape)
        angle = self.random.uniform(0, 2 * np.pi, self.n)
        self.ball: np.ndarray = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self.moving: np.ndarray = self.random.normal(scale=0.4, size=(self.n, 2))
        self._held: np.ndarray = np.zeros(self.n, int)

    def _disturb(self, horizon: int) -> None:
        kicked = self.random.random((horizon, self.n, 1)) < 0.12
        kick = self.random.normal(scale=0.8, size=(horizon, self.n, 2))
        self._kick = self.rough**0.5 * kicked * kick

    def step(self, action: np.ndarray) -> None:
        """Apply forces [n, 4] for one period; the ball may be kicked before."""
        self.moving = self.moving + self._kick[self.step_count]
        super().step(action)

    def _move(self, dt: float) -> None:
        pull = -1.5 * self.ball - 0.8 * self.moving  # back to the middle, and slower
        self.moving = self.moving + dt * pull
        self.ball = np.clip(self.ball + dt * self.moving, -_REACH, _REACH)

    def _sides(self) -> np.ndarray:
        grip = np.array([[-_GRIP, 0.0], [_GRIP, 0.0]])
        return np.asarray(self.ball[:, None] + grip)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        apart = np.linalg.norm(self.position - self._sides(), axis=2)
        self._held = np.where((apart < _NEAR).all(axis=1), self._held + 1, 0)
        return np.zeros(self.n, bool), self._held >= _FOR

    def _extra(self) -> np.ndarray:
        return np.concatenate([self.ball, self.moving], axis=1)

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Follow the ball with both hands."""
        velocity = self.velocity - self.moving[:, None]
        force = _towards(self.position, velocity, self._sides(), 2.0)
        return np.asarray(force.reshape(self.n, 4))


def _towards(
    position: np.ndarray, velocity: np.ndarray, goal: np.ndarray, speed: float
) -> np.ndarray:
    """Return the force that brings a hand to ``goal`` and stops it there, no faster than so."""
    apart = goal - position
    distance = np.linalg.norm(apart, axis=-1, keepdims=True)
    wanted = apart * np.minimum(3.0, speed / np.maximum(distance, 1e-6))
    return np.asarray(5.0 * (wanted - velocity) + velocity)
