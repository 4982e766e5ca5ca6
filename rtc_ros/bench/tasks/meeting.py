"""Two hands meet before or behind a post to hand something over."""

from __future__ import annotations

import numpy as np

from rtc_ros.bench.tasks.world import World, towards

_PLACE = 0.6
_POST = 0.3
_CLOSE = 0.2


class Meeting(World):
    """The hands come from both sides; a post stands in the middle, hands must not touch it.

    They meet above or below it, whichever, but both at the same place. Done: less than 0.2 m
    apart at one of the places, with less than 0.8 m/s between them.
    """

    name = "meeting"
    title = "meeting at one of two places"
    steps = 60
    force_noise = 1.5

    def _start(self) -> None:
        self.position[:, 0] = [-1.1, 0.0]
        self.position[:, 1] = [1.1, 0.0]
        self.position += self.random.normal(scale=0.05, size=self.position.shape)

    def _judge(self) -> tuple[np.ndarray, np.ndarray]:
        touched = (np.linalg.norm(self.position, axis=2) < _POST).any(axis=1)
        apart = np.linalg.norm(self.position[:, 0] - self.position[:, 1], axis=1)
        rate = np.linalg.norm(self.velocity[:, 0] - self.velocity[:, 1], axis=1)
        middle = self.position.mean(axis=1)
        there = (np.abs(middle[:, 0]) < 0.2) & (np.abs(np.abs(middle[:, 1]) - _PLACE) < 0.2)
        past = np.abs(self.position).max(axis=(1, 2)) > 2.0
        return touched | past, (apart < _CLOSE) & (rate < 0.8) & there

    def expert(self, mode: np.ndarray) -> np.ndarray:
        """Go straight until near the post, then to the place of ``mode``."""
        side = 2.0 * mode - 1.0
        sign = np.array([-1.0, 1.0])
        distance = np.abs(self.position[..., 0])
        turn = np.clip((0.95 - distance) / 0.35, 0.0, 1.0)
        high = np.abs(self.position[..., 1]) > 0.4
        x = np.where(high, 0.06, 0.45) * sign
        y = side[:, None] * _PLACE * turn
        goal = np.stack([np.broadcast_to(x, y.shape), y], axis=-1)
        return np.asarray(towards(self.position, self.velocity, goal, 1.3).reshape(self.n, 4))
