"""Limits on what goes out to the arm: position, and the change within one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Position [robot units] and per-step change [robot units / step] limits, all float64[A].

    Infinite entries mean no limit.
    """

    lower: np.ndarray
    upper: np.ndarray
    max_step: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(self.lower), np.shape(self.upper), np.shape(self.max_step)}
        if len(shapes) != 1:
            raise ValueError(f"the limits differ in size: {sorted(shapes)}")
        if np.isnan([self.lower, self.upper, self.max_step]).any():
            raise ValueError("a joint limit is NaN; use .inf for no limit")
        if (np.asarray(self.lower) >= self.upper).any():
            bad = int(np.argmax(np.asarray(self.lower) >= self.upper))
            raise ValueError(
                f"joint {bad} has the lower limit {self.lower[bad]:g}, "
                f"not below its upper limit {self.upper[bad]:g}"
            )
        if (np.asarray(self.max_step) <= 0).any():
            raise ValueError("a velocity limit is zero or negative; the arm could never move")

    @classmethod
    def from_velocity(
        cls,
        lower: Sequence[float],
        upper: Sequence[float],
        max_velocity: Sequence[float],
        control_period_s: float,
    ) -> JointLimits:
        """Make limits from velocities [robot units / s] and Δt [s]."""
        return cls(
            np.asarray(lower, float),
            np.asarray(upper, float),
            np.asarray(max_velocity, float) * control_period_s,
        )

    @classmethod
    def none(cls, action_dim: int) -> JointLimits:
        """Make limits that never bind."""
        infinite = np.full(action_dim, np.inf)
        return cls(-infinite, infinite, infinite)


def limit_row(
    wanted: np.ndarray,
    previous: np.ndarray,
    limits: JointLimits,
    velocity_scale: float = 1.0,
) -> np.ndarray:
    """Return what may be commanded after ``previous`` when ``wanted`` is asked for, all [A].

    The velocity limit comes last, so an arm that stands outside its position limits is led
    back at limited speed instead of being thrown back.
    """
    reach = limits.max_step * velocity_scale
    row = np.clip(wanted, limits.lower, limits.upper)
    return np.clip(row, previous - reach, previous + reach)


def limit_rows(
    wanted: np.ndarray,
    previous: np.ndarray,
    limits: JointLimits,
    velocity_scale: float = 1.0,
) -> np.ndarray:
    """Return what the controller will command for ``wanted`` [R, A], starting at ``previous``.

    This is how a new chunk's frozen rows are what will have been executed, not what the last
    chunk had asked for.
    """
    rows = np.array(wanted, dtype=np.float64)
    for i in range(len(rows)):
        rows[i] = previous = limit_row(rows[i], previous, limits, velocity_scale)
    return rows
