"""What the steps and seams of all sections add up to, in memory that doesn't grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.report import JointFigures
from rtc_ros.core.continuity.seams import Seam
from rtc_ros.core.continuity.sections import worst_of
from rtc_ros.core.continuity.spread import Spread, SpreadSum

MOVED_RAD = 1e-4
"""A run none of whose steps is larger than this didn't move the arm."""

MAX_SEAMS = 20_000
"""Seams that a report lists; of more, the worst."""

_OF_SEAM = (
    "jump_max",
    "jump_ratio",
    "excess_max",
    "excess_ratio",
    "acceleration_max",
    "prefix_mismatch",
    "overlap_rms",
    "stride",
)

_SIZES: dict[str, Callable[[Motion], np.ndarray]] = {
    "ordinary_jump": lambda m: m.jump[m.ordinary],
    "seam_jump": lambda m: m.jump[m.seam],
    "ordinary_excess": lambda m: m.inside(m.excess),
    "seam_excess": lambda m: m.excess[m.seam],
    "ordinary_acceleration": lambda m: m.inside(m.bend) / m.period_s**2,
    "seam_acceleration": lambda m: m.bend[m.seam] / m.period_s**2,
    "ordinary_jerk": lambda m: m.twist[m.deep] / m.period_s**3,
    "seam_jerk": lambda m: m.twist[m.seam] / m.period_s**3,
}


class SizeSums:
    """How large steps, excess, acceleration and jerk were: by joint, and the worst of each step.

    ``moved`` says whether the arm moved at all.
    """

    def __init__(self, joints: int) -> None:
        self.moved = False
        self._of_joints = {name: SpreadSum(joints) for name in _SIZES}
        self._worst = {name: SpreadSum() for name in _SIZES}
        self._excess_ratio = SpreadSum()

    def add(self, motion: Motion) -> None:
        """Take the steps of one section or span."""
        self.moved = self.moved or bool(np.nanmax(np.abs(motion.jump), initial=0) > MOVED_RAD)
        for name, size in _SIZES.items():
            values = np.abs(size(motion))
            self._of_joints[name].add(values)
            self._worst[name].add(worst_of(values))
        scale = np.where(motion.scale > 0, motion.scale, np.nan)
        self._excess_ratio.add(worst_of(motion.inside(motion.excess) / scale))

    def worst(self, name: str) -> Spread | None:
        """Return the spread of the worst joint's size in each step, by its name in ``_SIZES``."""
        return self._worst[name].spread()

    @property
    def excess_ratio(self) -> Spread | None:
        """Of the ordinary steps' excess in ordinary steps."""
        return self._excess_ratio.spread()

    def of_joint(
        self, index: int, name: str, tracking_rms: float | None, per_s: float | None
    ) -> JointFigures:
        """Return the figures of one joint; ``per_s``: steps a second."""
        sizes = {size: total.spread(index) for size, total in self._of_joints.items()}
        speeds = {f"{w}_speed": per(sizes[f"{w}_jump"], per_s) for w in ("ordinary", "seam")}
        return JointFigures(name=name, tracking_rms=tracking_rms, **sizes, **speeds)


class SeamSums:
    """The seams: how many there were, the worst of them, and the spreads over all.

    ``delays`` counts (forecast, observed).
    """

    def __init__(self) -> None:
        self.count = 0
        self.delays: Counter[tuple[int, int]] = Counter()
        self._seams: list[Seam] = []
        self._sums = {name: SpreadSum() for name in _OF_SEAM}

    def add(self, seams: list[Seam]) -> None:
        """Take the seams of one section or span."""
        self.count += len(seams)
        self._seams += seams
        if len(self._seams) > 2 * MAX_SEAMS:
            self._seams = _worst(self._seams)
        for name, total in self._sums.items():
            total.add(np.array([getattr(s, name) for s in seams], dtype=np.float64))
        self.delays.update(
            (s.delay_forecast, s.delay_observed) for s in seams if s.delay_forecast is not None
        )

    def spread(self, name: str) -> Spread | None:
        """Return the spread of one of the seams' figures, by its name in ``_OF_SEAM``."""
        return self._sums[name].spread()

    def listed(self) -> tuple[Seam, ...]:
        """Return the seams that a report lists."""
        return tuple(_worst(self._seams))


def _worst(seams: list[Seam]) -> list[Seam]:
    """Return at most ``MAX_SEAMS`` of the seams, the worst, in the order of time."""
    if len(seams) <= MAX_SEAMS:
        return seams
    by_size = sorted(seams, key=lambda s: s.excess_ratio or 0.0, reverse=True)
    return sorted(by_size[:MAX_SEAMS], key=lambda s: s.record)


def per(spread: Spread | None, per_s: float | None) -> Spread | None:
    """Return a spread of steps as one of speeds; None where either is unknown."""
    return None if spread is None or per_s is None else spread.scaled(per_s)
