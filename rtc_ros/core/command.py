"""What one tick of the controller sends to the arm, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rtc_ros.core.chunk_player import PlayedStep
from rtc_ros.core.cursor import Mode
from rtc_ros.core.jerk import RowMean
from rtc_ros.core.set_points import Motion

HOLD = "hold: "
"""Begins every reason for which nothing was executed."""
REASONS = {
    Mode.STOPPED: "hold: stopped",
    Mode.WAITING: "hold: waiting for the first chunk",
    Mode.RUNNING: "execute",
    Mode.STARVED: "hold: starved",
    Mode.FAULT: "hold: fault",
    Mode.LATCHED: "hold: stop latched",
}


@dataclass(frozen=True)
class Command:
    """What one tick sends to the arm.

    ``target`` float64[A] is what went out last, None where nothing was ever commanded; ``sends``
    says whether it goes out in this tick: an arm that was braked to rest is sent nothing, since
    who lets go of it or moves it must not find a command waiting. ``row`` is the executed row
    after the limits; a jerk limit makes ``target`` the mean of the last ones, otherwise both are
    the same. ``points`` [m, A] are the period's set points, of which ``target`` is the last;
    ``path`` [m, A] those before the jerk limit, of which ``row`` is the last. They went on from
    ``motion`` and ``mean``. ``wanted`` is the row before the limits, None on a hold, which brakes
    first. ``limited`` counts the joints that the limits changed.
    """

    target: np.ndarray | None
    row: np.ndarray | None
    wanted: np.ndarray | None
    limited: int
    mode: Mode
    played: PlayedStep
    reason: str
    sends: bool
    points: np.ndarray | None = None
    path: np.ndarray | None = None
    motion: Motion | None = None
    mean: RowMean | None = None

    @property
    def executes(self) -> bool:
        """Whether it is a row of a chunk, not a hold."""
        return self.wanted is not None


def without(command: Command, joints: Sequence[int], at: np.ndarray) -> Command:
    """Return ``command`` with some joints at rest ``at`` [A] instead."""
    row, target = np.array(command.row), np.array(command.target)
    row[joints] = target[joints] = at[joints]
    return replace(command, row=row, target=target, points=None, path=None)
