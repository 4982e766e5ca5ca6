"""What the controller tells about itself after every tick: the step cursor's content."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.limits import JointLimits, soft_start_scale
from rtc_ros.core.set_points import Motion, SetPoints

HISTORY_ROWS = 64
"""Executed rows that a cursor carries: 1.3 s at 50 Hz, far more than an image is ever late."""


class Mode(IntEnum):
    """What the controller is doing."""

    STOPPED = 0
    """The motion gate is closed: brakes, then holds until someone calls ``start``."""
    WAITING = 1
    """Started, holding until the first chunk comes."""
    RUNNING = 2
    """Executing one row per tick."""
    STARVED = 3
    """Ran out of rows: holding until a chunk comes."""
    FAULT = 4
    """Holding because an input can't be trusted (stale or non-finite joint states)."""
    LATCHED = 5
    """Stopped, and ``start`` is refused until someone calls ``clear``."""


_NOTHING = np.zeros(0)


@dataclass(frozen=True, eq=False)
class CursorState:
    """One consistent view of the controller.

    ``step`` is the next step to execute: the number of actions executed since ``epoch`` began.
    ``tick`` counts the ticks since then in which motion was wanted, executed or held; it is what
    an inference's duration is counted in. ``still_ticks`` counts those beside it, of a fault or a
    driver on its way: a duration with one of them in it isn't known. ``swap_still`` is how many
    there were when the chunk in use came, before it waited. ``chunk_*`` name the chunk in
    use and ``seen_*`` the newest one looked at, used or not; both are ``NO_STEP`` where there is
    none. ``command`` is the last commanded row [A], ``last_step`` [A] the change from the set
    point before it, and ``last_bend`` [A] the change of that. ``points`` is m, the set points of a
    period. ``lower`` … ``turn`` [A] and ``coherent`` are the ``JointLimits``, ``soft_start_ticks``
    the steps within which the velocity limit rises. ``history`` [HISTORY_ROWS, A] holds the rows
    commanded for the last steps as they went out, after the limits; step j is in row
    ``j % HISTORY_ROWS``. Of the arrays with a default: at rest, no limit, no endless joint.
    """

    epoch: int
    step: int
    tick: int
    tick_ns: int
    mode: Mode
    command: np.ndarray
    history: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    max_step: np.ndarray
    max_bend: np.ndarray = field(default_factory=lambda: _NOTHING)
    turn: np.ndarray = field(default_factory=lambda: _NOTHING)
    last_step: np.ndarray = field(default_factory=lambda: _NOTHING)
    last_bend: np.ndarray = field(default_factory=lambda: _NOTHING)
    coherent: bool = False
    points: int = 1
    soft_start_ticks: int = 0
    chunk_epoch: int = NO_STEP
    chunk_seq: int = NO_STEP
    chunk_origin_step: int = NO_STEP
    seen_epoch: int = NO_STEP
    seen_seq: int = NO_STEP
    swap_step: int = NO_STEP
    swap_tick: int = NO_STEP
    swap_still: int = NO_STEP
    swaps: int = 0
    still_ticks: int = 0

    def __post_init__(self) -> None:
        zeros = (("turn", 0.0), ("last_step", 0.0), ("last_bend", 0.0))
        for name, value in (("max_bend", np.inf), *zeros):
            if getattr(self, name) is _NOTHING:
                object.__setattr__(self, name, np.full(np.shape(self.command), value))

    @classmethod
    def of(cls, fields: dict[str, Any]) -> CursorState:
        """Return a state of all ``fields`` as they are, in a fifth of the constructor's time.

        For fields that are whole: nothing is checked or filled in but the mode, and the dict is
        the state's from now on. Raises ValueError where the mode is none.
        """
        fields["mode"] = Mode(fields["mode"])
        state = object.__new__(cls)
        object.__setattr__(state, "__dict__", fields)
        return state

    @property
    def limits(self) -> JointLimits:
        """The controller's limits."""
        return JointLimits(
            self.lower, self.upper, self.max_step, self.max_bend, self.turn, self.coherent
        )

    def next_rows(self, rows: np.ndarray, index: int) -> np.ndarray:
        """Return what the controller will execute for ``rows`` [R, A] from ``index`` on.

        That is from the next step on, [R − index, A].
        """
        scales = soft_start_scale(self.step + np.arange(len(rows) - index), self.soft_start_ticks)
        path = SetPoints(self.limits, self.points)
        return path.play_all(rows, index, self.motion, scales)[0]

    @property
    def motion(self) -> Motion:
        """Where the next set points go on from."""
        return Motion(self.command, self.last_step, self.last_bend)

    @property
    def velocity_scale(self) -> float:
        """The factor of the soft start on the velocity limit, at the next step."""
        return float(soft_start_scale(self.step, self.soft_start_ticks))

    @property
    def chunk_name(self) -> tuple[int, int] | None:
        """The chunk in use, or None."""
        return None if self.chunk_seq == NO_STEP else (self.chunk_epoch, self.chunk_seq)

    @property
    def seen_name(self) -> tuple[int, int] | None:
        """The newest chunk that the controller has looked at, or None."""
        return None if self.seen_seq == NO_STEP else (self.seen_epoch, self.seen_seq)

    def executed(self, step: int) -> np.ndarray | None:
        """Return the row [A] commanded for an executed ``step``, or None if it is forgotten."""
        if not max(0, self.step - HISTORY_ROWS) <= step < self.step:
            return None
        return self.history[step % HISTORY_ROWS]

    def step_at(self, time_ns: int, control_period_s: float) -> int:
        """Return the step that was due at ``time_ns`` (CLOCK_MONOTONIC), 0 at the least.

        Holds while steps are executed tick by tick; for ``anchor: observation`` only, where an
        image's age has to become a step.
        """
        ticks_ago = (self.tick_ns - time_ns) / (control_period_s * 1e9)
        return max(0, self.step - max(0, int(np.ceil(ticks_ago))))
