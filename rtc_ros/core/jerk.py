"""The jerk limit: what goes out is the mean of the last n rows, so no force comes suddenly.

A mean keeps every position, velocity and acceleration limit that its rows keep. Its acceleration
changes in one step by (the rows' acceleration now − that of n steps before) / n, so by no more
than 2 · max_bend / n. After L. Biagiotti and C. Melchiorri, "FIR filters for online trajectory
planning with time- and frequency-domain specifications", Control Engineering Practice 20 (2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.limits import JointLimits

_SMALL = 1 << 18
"""Numbers [8 bytes] of a sum that are made at once."""


def jerk_windows(limits: JointLimits) -> np.ndarray:
    """Return n for each joint, float64[A]: the rows whose mean keeps its ``max_twist``.

    1 where it has no such limit, infinite where nothing limits its acceleration. A joint without
    acceleration limit may go from its velocity limit to the opposite within a step.
    """
    bend = np.minimum(limits.max_bend, 2 * limits.max_step)
    limited = np.isfinite(limits.max_twist)
    # A ratio that is whole but for its rounding needs no row more.
    needed = np.ceil(2 * bend / np.where(limited, limits.max_twist, 1.0) * (1 - 1e-9))
    return np.where(limited, np.maximum(needed, 1.0), 1.0)


def jerk_window(limits: JointLimits) -> int:
    """Return the one n for all joints: they stay together, near the path of their rows.

    Raises:
        ValueError: a joint has a jerk limit and neither velocity nor acceleration limit.
    """
    n = float(np.max(jerk_windows(limits), initial=1.0))
    if not np.isfinite(n):
        raise ValueError("a jerk limit needs an acceleration limit or a velocity limit")
    return int(n)


@dataclass(frozen=True, eq=False)
class RowMean:
    """The mean of the last n rows; the row itself, to the bit, where n is 1. Frozen.

    It is (n − 1) / 2 steps late, and comes to rest n − 1 steps after its rows. ``rows`` is
    float64[n, A].
    """

    rows: np.ndarray

    @classmethod
    def resting(cls, pose: np.ndarray, window: int) -> RowMean:
        """Begin at rest at ``pose`` [A], with n = ``window``."""
        return cls(np.tile(pose, (window, 1)))

    @property
    def window(self) -> int:
        """How many rows a mean is of: n."""
        return len(self.rows)

    @property
    def settled(self) -> bool:
        """Whether the mean stays where it is if the last row does."""
        return len(self.rows) == 1 or bool((self.rows == self.rows[-1]).all())

    def standing(self, columns: Sequence[int], at: np.ndarray) -> RowMean:
        """Let some joints rest at ``at`` [A]; the others go on."""
        rows = np.array(self.rows)
        rows[:, columns] = at[columns]
        return RowMean(rows)

    def taking(self, columns: Sequence[int], other: RowMean) -> RowMean:
        """Let some joints be as in ``other``, of the same n."""
        rows = np.array(self.rows)
        rows[:, columns] = other.rows[:, columns]
        return RowMean(rows)

    def push(self, row: np.ndarray) -> tuple[RowMean, np.ndarray]:
        """Take the next row [A] and return the mean that goes out [A]."""
        if len(self.rows) == 1:
            return RowMean(row[None]), row
        rows = np.concatenate([self.rows[1:], row[None]])
        return RowMean(rows), _mean(rows.T)

    def push_all(self, rows: np.ndarray) -> tuple[RowMean, np.ndarray]:
        """Take the next rows [R, A], one by one, and return the means that go out [R, A]."""
        if not len(rows):
            return self, rows
        if len(self.rows) == 1:
            return RowMean(rows[-1:]), rows
        if len(rows) == 1:
            mean, row = self.push(rows[0])
            return mean, row[None]
        n = len(self.rows)
        whole = np.concatenate([self.rows, rows])
        # [R, A, n] without a copy, for as many rows at once as stay small.
        windows = np.lib.stride_tricks.sliding_window_view(whole[1:], n, axis=0)
        at_once = max(1, _SMALL // (n * rows.shape[1]))
        means = [_mean(windows[i : i + at_once]) for i in range(0, len(rows), at_once)]
        return RowMean(whole[len(whole) - n :]), np.concatenate(means)


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean [...] of ``rows`` [..., n], never beyond them by its rounding: rest is rest.

    Summed one after the other, whatever is done at once: two processes make the same bits.
    """
    total = np.add.accumulate(rows, axis=-1)[..., -1]
    mean = total / rows.shape[-1]
    return np.minimum(np.maximum(mean, rows.min(axis=-1)), rows.max(axis=-1))
