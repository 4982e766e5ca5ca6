"""Algorithm 1's controller half: which row is executed at which step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.frozen import changed


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
    ``still_ticks`` is the player's when the chunk came: it may have waited since.
    """

    step: int
    tick: int
    row: int
    chunk: ActionChunk
    previous: ActionChunk | None
    previous_row: int
    held_ticks: int
    still_ticks: int = 0

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


@dataclass(frozen=True, eq=False)
class ChunkPlayer:
    """Executes chunks row by row; owns the step count k. Frozen: each event makes a new one.

    The row is always ``k − origin_step``, so a chunk that comes late, early, twice or out of order
    can never be played at the wrong step, and k only moves when a row is executed, so no
    step is ever skipped. No clock, no ROS: a test steps it.

    ``epoch`` names this run of the step count; chunks for another run are refused. ``step`` is k,
    ``tick_count`` counts executed and held ticks, ``held_ticks`` those held in a row up to now,
    ``still_ticks`` those that were none of the run, ``came_still`` as of when ``waiting`` came.
    ``seen`` names the newest chunk that was looked at, used or not.
    """

    epoch: int
    action_dim: int
    step: int = 0
    tick_count: int = 0
    held_ticks: int = 0
    still_ticks: int = 0
    current: ActionChunk | None = None
    waiting: ActionChunk | None = None
    came_still: int = 0
    seen: tuple[int, int] | None = None
    last_swap: Swap | None = None
    swaps: int = 0

    def offer(self, chunk: ActionChunk) -> tuple[ChunkPlayer, Offer]:
        """Look at a chunk; where it is good it replaces the current one at the next tick."""
        if chunk.name == self.seen or (self.seen is not None and self._is_older(chunk)):
            return self, Offer.SAME
        refused = self._problem(chunk)
        if refused is not None:
            return changed(self, seen=chunk.name), refused
        came = {"waiting": chunk, "came_still": self.still_ticks}
        return changed(self, seen=chunk.name, **came), Offer.TAKEN

    def _is_older(self, chunk: ActionChunk) -> bool:
        assert self.seen is not None
        return chunk.epoch == self.seen[0] and chunk.seq < self.seen[1]

    def _problem(self, chunk: ActionChunk) -> Offer | None:
        if chunk.step_epoch != self.epoch:
            return Offer.OTHER_RUN
        if chunk.action_dim != self.action_dim:
            return Offer.WRONG_SHAPE
        if chunk.end_step <= self.step:
            return Offer.PAST
        if not np.isfinite(chunk.actions).all():
            return Offer.NOT_FINITE
        return None

    def tick(self, *, swaps: bool = True) -> tuple[ChunkPlayer, PlayedStep]:
        """Play one control period: swap if a chunk waits for this step, then execute or hold."""
        player, swap = self._swapped() if swaps else (self, None)
        step, tick, chunk = self.step, self.tick_count, player.current
        row = None if chunk is None else chunk.row_of(step)
        if row is None or chunk is None:
            held = changed(player, tick_count=tick + 1, held_ticks=self.held_ticks + 1)
            return held, PlayedStep(step, tick, NO_STEP, None, chunk, swap)
        player = changed(player, tick_count=tick + 1, held_ticks=0, step=step + 1)
        return player, PlayedStep(step, tick, row, chunk.actions[row], chunk, swap)

    def still(self) -> tuple[ChunkPlayer, PlayedStep]:
        """Let a tick pass that isn't one of the run: k and its ticks stand still."""
        played = PlayedStep(self.step, self.tick_count, NO_STEP, None, self.current)
        return changed(self, still_ticks=self.still_ticks + 1), played

    def _swapped(self) -> tuple[ChunkPlayer, Swap | None]:
        chunk, previous = self.waiting, self.current
        if chunk is None or chunk.origin_step > self.step:
            return self, None
        row = chunk.row_of(self.step)
        if row is None:
            return changed(self, waiting=None), None
        previous_row = None if previous is None else previous.row_of(self.step)
        swap = Swap(
            step=self.step,
            tick=self.tick_count,
            row=row,
            chunk=chunk,
            previous=previous,
            previous_row=NO_STEP if previous_row is None else previous_row,
            held_ticks=self.held_ticks,
            still_ticks=self.came_still,
        )
        return changed(
            self, waiting=None, current=chunk, last_swap=swap, swaps=self.swaps + 1
        ), swap
