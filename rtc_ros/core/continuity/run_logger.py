"""Writes a RunLog while a controller runs in this process; a bag holds the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.chunk_player import Swap
from rtc_ros.core.command import Command
from rtc_ros.core.continuity.run_log import CommandLog, Provenance, RunLog, SwapEvent


class RunLogger:
    """Collects commands, seams and chunks of one controller with these ``joints``."""

    def __init__(self, joints: Sequence[str]) -> None:
        self._joints = tuple(joints)
        self._stamps: list[int] = []
        self._rows: list[np.ndarray] = []
        self._wanted: list[np.ndarray] = []
        self._columns: list[list[float]] = []
        self._reasons: dict[str, int] = {}
        self._reason: list[int] = []
        self._swaps: list[SwapEvent] = []
        self._chunks: list[ActionChunk] = []

    def add(self, command: Command, step_epoch: int, stamp_ns: int) -> None:
        """Log what one tick commanded."""
        played, chunk = command.played, command.played.chunk
        nothing = np.full(len(self._joints), np.nan)
        row = nothing if command.row is None else command.row
        self._stamps.append(stamp_ns)
        self._rows.append(row)
        self._wanted.append(row if command.wanted is None else command.wanted)
        self._reason.append(self._reasons.setdefault(command.reason, len(self._reasons)))
        values = {
            "step": played.step,
            "tick": played.tick,
            "row": played.row,
            "origin_step": NO_STEP if chunk is None else chunk.origin_step,
            "chunk_epoch": NO_STEP if chunk is None else chunk.epoch,
            "chunk_seq": NO_STEP if chunk is None else chunk.seq,
            "step_epoch": step_epoch,
            "limited": command.limited,
            "lateness_us": 0.0,
            "mode": int(command.mode),
        }
        self._columns.append([float(values[name]) for name in Provenance.names()])
        if played.swap is not None:
            self._swaps.append(swap_event(played.swap))

    def add_chunk(self, chunk: ActionChunk) -> None:
        """Log a chunk that was offered to the controller."""
        self._chunks.append(chunk)

    def log(self) -> RunLog:
        """Return everything so far."""
        columns = np.array(self._columns).reshape(-1, len(Provenance.names()))
        shape = (len(self._stamps), len(self._joints))
        commands = CommandLog(
            self._joints,
            np.array(self._stamps, dtype=np.int64),
            np.array(self._rows).reshape(shape),
            np.array(self._wanted).reshape(shape),
            np.array(self._reason, dtype=np.int64),
            tuple(self._reasons),
            Provenance.from_columns(columns),
        )
        return RunLog(commands, tuple(self._swaps), tuple(self._chunks))


def swap_event(swap: Swap) -> SwapEvent:
    """Return the player's seam as the log has it."""
    chunk, previous = swap.chunk, swap.previous
    return SwapEvent(
        step=swap.step,
        row=swap.row,
        origin_step=chunk.origin_step,
        chunk_epoch=chunk.epoch,
        chunk_seq=chunk.seq,
        previous_epoch=NO_STEP if previous is None else previous.epoch,
        previous_seq=NO_STEP if previous is None else previous.seq,
        previous_row=swap.previous_row,
        delay_forecast=chunk.delay,
        delay_observed=swap.delay,
        stride=chunk.stride,
        guided=chunk.guided,
        step_epoch=chunk.step_epoch,
        held_ticks=swap.held_ticks,
    )
