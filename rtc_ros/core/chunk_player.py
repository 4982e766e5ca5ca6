"""Algorithm 1's controller half: which row is executed at which step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk


class Offer(Enum):
    """What became of a chunk that was offered to the player."""

    TAKEN = "taken"
    SAME = "already known"
    OTHER_RUN = "counts the steps of another controller run"
    PAST = "wholly in the past"
    NOT_FINITE = "holds values that are not finite"
    WRONG_SHAPE = "has another number of joints"


@dataclass(frozen=True)
class Swap:
    """The seam between two chunks.

    ``step`` is the first step executed from ``chunk``, ``row`` its row there. ``previous_row`` is
    the row that ``previous`` would have been at, NO_STEP where it had none left. ``delay``
    counts executed steps since the chunk's row 0, and ``held_ticks`` the ticks held just before.
    """

    step: int
    tick: int
    row: int
    chunk: ActionChunk
    previous: ActionChunk | None
    previous_row: int
    held_ticks: int

    @property
    def delay(self) -> int:
        """The observed d [steps]: how many of the chunk's rows were in the past when it came."""
        return self.row


@dataclass(frozen=True)
class PlayedStep:
    """What one tick does: execute ``action`` [A] (row ``row`` of ``chunk``), or hold.

    On a hold ``action`` is None and ``row`` NO_STEP; ``step`` is then the step waited for.
    """

    step: int
    tick: int
    row: int
    action: np.ndarray | None
    chunk: ActionChunk | None
    swap: Swap | None = None


class ChunkPlayer:
    """Executes chunks row by row; owns the step count k.

    The row is always ``k − origin_step``, so a chunk that comes late, early, twice or out of order
    can never be played at the wrong step, and k only moves when a row is executed, so no
    step is ever skipped. No clock, no ROS: a test steps it.

    Args:
        epoch: names this run of the step count; chunks for another run are refused.
        action_dim: A.
    """

    def __init__(self, epoch: int, action_dim: int) -> None:
        self.epoch = epoch
        self.action_dim = action_dim
        self.step = 0
        self.tick_count = 0
        self.current: ActionChunk | None = None
        self.last_swap: Swap | None = None
        self.swaps = 0
        self.seen: tuple[int, int] | None = None
        self._waiting: ActionChunk | None = None
        self._held = 0

    @property
    def held_ticks(self) -> int:
        """Ticks held in a row, up to now."""
        return self._held

    def offer(self, chunk: ActionChunk) -> Offer:
        """Look at a chunk; where it is good it replaces the current one at the next tick."""
        if chunk.name == self.seen or (self.seen is not None and self._is_older(chunk)):
            return Offer.SAME
        self.seen = chunk.name
        if chunk.step_epoch != self.epoch:
            return Offer.OTHER_RUN
        if chunk.action_dim != self.action_dim:
            return Offer.WRONG_SHAPE
        if chunk.end_step <= self.step:
            return Offer.PAST
        if not np.isfinite(chunk.actions).all():
            return Offer.NOT_FINITE
        self._waiting = chunk
        return Offer.TAKEN

    def _is_older(self, chunk: ActionChunk) -> bool:
        assert self.seen is not None
        return chunk.epoch == self.seen[0] and chunk.seq < self.seen[1]

    def tick(self, *, swaps: bool = True) -> PlayedStep:
        """Play one control period: swap if a chunk waits for this step, then execute or hold."""
        swap = self._swap() if swaps else None
        step, tick = self.step, self.tick_count
        row = None if self.current is None else self.current.row_of(step)
        self.tick_count += 1
        if row is None or self.current is None:
            self._held += 1
            return PlayedStep(step, tick, NO_STEP, None, self.current, swap)
        self._held = 0
        self.step += 1
        return PlayedStep(step, tick, row, self.current.actions[row], self.current, swap)

    def _swap(self) -> Swap | None:
        chunk = self._waiting
        if chunk is None or chunk.origin_step > self.step:
            return None
        self._waiting = None
        row = chunk.row_of(self.step)
        if row is None:
            return None
        previous = self.current
        previous_row = None if previous is None else previous.row_of(self.step)
        swap = Swap(
            step=self.step,
            tick=self.tick_count,
            row=row,
            chunk=chunk,
            previous=previous,
            previous_row=NO_STEP if previous_row is None else previous_row,
            held_ticks=self._held,
        )
        self.current, self.last_swap, self.swaps = chunk, swap, self.swaps + 1
        return swap
