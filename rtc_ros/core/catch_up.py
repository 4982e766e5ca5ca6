"""Leads a driver that stood still while the rows went on back to them, within its limits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.limits import JointLimits, limit_row


class CatchUp:
    """For a driver of single rows beside one that plays chunks by itself.

    While ticks are missed the second goes on along its chunk and k with it; the first stands still
    and would be sent a row that is many steps away. As long as no tick was missed every row goes
    out as it is, to the bit. ``columns`` are the driver's joints among those of ``limits``.
    """

    def __init__(self, limits: JointLimits, columns: Sequence[int]) -> None:
        self._limits = JointLimits(
            limits.lower[columns],
            limits.upper[columns],
            limits.max_step[columns],
            limits.max_bend[columns],
            limits.turn[columns],
            limits.coherent,
        )
        self._target: np.ndarray | None = None
        self._sent: np.ndarray = np.zeros(len(columns))
        self._step: np.ndarray = np.zeros(len(columns))
        self.behind = False
        """Whether what was sent last isn't what was wanted."""

    def row(self, target: np.ndarray, *, stalled: bool) -> np.ndarray:
        """Return what to send for ``target`` [A]; ``stalled``: ticks were missed just before."""
        if self._target is None:
            self._target = self._sent = target
        if stalled:
            self.behind, self._step = True, np.zeros_like(target)
        row = target
        if self.behind:
            onward = target + (target - self._target if not stalled else 0.0)
            row = limit_row(target, self._sent, self._limits, 1.0, self._step, onward)
            self.behind = not np.array_equal(row, target)
        self._step, self._sent, self._target = row - self._sent, row, target
        return row

    def onward(self) -> np.ndarray | None:
        """Return the next row on the way to a target that stands, None once it is reached."""
        if not self.behind or self._target is None:
            return None
        return self.row(self._target, stalled=False)
