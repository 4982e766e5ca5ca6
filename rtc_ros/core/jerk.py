"""The jerk limit: what goes out is the mean of the last n rows, so no force comes suddenly.

A mean keeps every position, velocity and acceleration limit that its rows keep. Its acceleration
changes in one step by (the rows' acceleration now − that of n steps before) / n, so by no more
than 2 · max_bend / n. After L. Biagiotti and C. Melchiorri, "FIR filters for online trajectory
planning with time- and frequency-domain specifications", Control Engineering Practice 20 (2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.limits import JointLimits


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


class JerkFilter:
    """The mean of the last ``window`` rows; the row itself, to the bit, where that is 1.

    It is (window − 1) / 2 steps late, and comes to rest window − 1 steps after its rows.
    """

    def __init__(self, action_dim: int, window: int) -> None:
        self._rows: np.ndarray = np.zeros((window, action_dim))
        self._sent = self._before = self._rows[-1]

    @property
    def window(self) -> int:
        """How many rows a mean is of: n."""
        return len(self._rows)

    @property
    def settled(self) -> bool:
        """Whether the mean stays where it is if the last row does."""
        return bool((self._rows == self._rows[-1]).all())

    def rest_at(self, pose: np.ndarray) -> None:
        """Begin at rest at ``pose`` [A]."""
        self._rows = np.tile(pose, (self.window, 1))
        self._sent = self._before = self._rows[-1]

    def stand(self, columns: Sequence[int], at: np.ndarray) -> None:
        """Let some joints rest at ``at`` [A]; the others go on."""
        self._rows, self._sent = np.array(self._rows), np.array(self._sent)
        self._before = np.array(self._before)
        self._rows[:, columns] = self._sent[columns] = self._before[columns] = at[columns]

    def push(self, row: np.ndarray) -> np.ndarray:
        """Take the next row [A] and return the mean that goes out [A]."""
        self._rows = np.concatenate([self._rows[1:], row[None]])
        self._before, self._sent = self._sent, _means(self._rows, self.window)[0]
        return self._sent

    def ahead(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what goes out from the last mean on if ``rows`` [R, A] follow and then rest.

        float64[R + window, A] positions, that mean first; float64[R + window, A] velocities
        [robot units / step] in those points, 0 in the last.
        """
        n = self.window
        series = np.concatenate([self._rows, rows])
        series = np.concatenate([series, np.repeat(series[-1:], n - 1, axis=0)])
        out = _means(series, n)
        steps = np.diff(out, axis=0, prepend=self._before[None])
        velocities = np.zeros_like(out)
        velocities[:-1] = (steps[:-1] + steps[1:]) / 2
        return out, velocities


def _means(rows: np.ndarray, n: int) -> np.ndarray:
    """Return the means of each n consecutive ``rows`` [R, A], float64[R − n + 1, A].

    Never beyond their rows by their rounding, so rest is rest; and added one after the other, so
    that a mean is the same to the bit however many are asked for.
    """
    count = len(rows) - n + 1
    if count < n:
        windows = [rows[i : i + n] for i in range(count)]
        total = np.array([np.add.accumulate(w)[-1] for w in windows])
        low, high = (np.array([f(w, axis=0) for w in windows]) for f in (np.min, np.max))
    else:
        total, low, high = (np.array(rows[:count]) for _ in range(3))
        for i in range(1, n):
            shifted = rows[i : i + count]
            total += shifted
            np.minimum(low, shifted, out=low)
            np.maximum(high, shifted, out=high)
    return np.minimum(np.maximum(total / n, low), high)
