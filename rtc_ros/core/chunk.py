"""The action chunk: what one inference hands to the controller."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

NO_STEP = -1
"""Marks a step or sequence number that does not exist (yet)."""


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """H rows of A joint targets; row i is for step ``origin_step + i``.

    ``actions`` is float64[H, A] in the robot's units over bytes of its own, so a chunk never
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
        copy = np.asarray(self.actions, np.float64)
        actions: np.ndarray = np.ndarray(copy.shape, np.float64, copy.tobytes())
        if actions.ndim != 2 or 0 in actions.shape:
            raise ValueError(f"a chunk needs actions of shape [H, A], got {actions.shape}")
        rows = len(actions) if self.rows == NO_STEP else self.rows
        check_counts(rows, len(actions), self.origin_step)
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
        """Return the same chunk under the name ``(epoch, seq)``; the two share their actions."""
        return ActionChunk.of(dict(vars(self), epoch=epoch, seq=seq))

    @classmethod
    def of(cls, fields: dict[str, object]) -> ActionChunk:
        """Return a chunk of all ``fields`` as they are, in a quarter of the constructor's time.

        For fields that were a chunk's before and ``actions`` over bytes: nothing is checked,
        nothing copied, and the dict is the chunk's from now on.
        """
        chunk = object.__new__(cls)
        object.__setattr__(chunk, "__dict__", fields)
        return chunk


def check_counts(rows: int, horizon: int, origin_step: int) -> None:
    """Raise ValueError where a chunk of ``horizon`` rows can't have these counts."""
    if not 1 <= rows <= horizon:
        raise ValueError(f"rows is {rows}, but the chunk has {horizon} rows")
    if origin_step < 0:
        raise ValueError(f"origin_step is {origin_step}; steps count from 0")
