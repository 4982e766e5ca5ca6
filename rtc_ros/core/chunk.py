"""The action chunk: what one inference hands to the controller."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

NO_STEP = -1
"""Marks a step or sequence number that does not exist (yet)."""


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """H rows of A joint targets; row i is for step ``origin_step + i``.

    ``actions`` is float64[H, A] in the robot's units, made read-only here, so a chunk never
    changes after it was made. Only the first ``rows`` rows may be executed (all H unless a
    strategy ends the chunk early, as ``synchronous`` does).

    ``epoch`` and ``seq`` name the chunk: the run of the inference process that wrote it and its
    number within that run (the ring assigns both). ``step_epoch`` names the run of the
    controller that ``origin_step`` counts in; a chunk for another run is never executed.
    Times are CLOCK_MONOTONIC nanoseconds.
    """

    actions: np.ndarray
    origin_step: int
    step_epoch: int = 0
    epoch: int = 0
    seq: int = 0
    rows: int = field(default=NO_STEP)
    delay: int = 0
    stride: int = 0
    guided: bool = False
    observation_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0

    def __post_init__(self) -> None:
        actions = np.array(self.actions, dtype=np.float64, order="C")
        if actions.ndim != 2 or 0 in actions.shape:
            raise ValueError(f"a chunk needs actions of shape [H, A], got {actions.shape}")
        actions.setflags(write=False)
        rows = len(actions) if self.rows == NO_STEP else self.rows
        if not 1 <= rows <= len(actions):
            raise ValueError(f"rows is {rows}, but the chunk has {len(actions)} rows")
        if self.origin_step < 0:
            raise ValueError(f"origin_step is {self.origin_step}; steps count from 0")
        object.__setattr__(self, "actions", actions)
        object.__setattr__(self, "rows", rows)

    @property
    def horizon(self) -> int:
        """H, the rows in the chunk."""
        return self.actions.shape[0]

    @property
    def action_dim(self) -> int:
        """A, the joints in a row."""
        return self.actions.shape[1]

    @property
    def end_step(self) -> int:
        """The first step for which the chunk has no executable row."""
        return self.origin_step + self.rows

    @property
    def name(self) -> tuple[int, int]:
        """``(epoch, seq)``: which chunk this is."""
        return (self.epoch, self.seq)

    def row_of(self, step: int) -> int | None:
        """Return the row for ``step``, or None where the chunk has none that may be executed."""
        row = step - self.origin_step
        return row if 0 <= row < self.rows else None

    def named(self, epoch: int, seq: int) -> ActionChunk:
        """Return the same chunk under the name ``(epoch, seq)``."""
        return replace(self, epoch=epoch, seq=seq)
