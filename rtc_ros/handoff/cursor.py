"""The step cursor: what the controller tells the inference process after every tick."""

from __future__ import annotations

import struct

import numpy as np

from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.handoff.endpoint import Endpoint
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.layout import CURSOR, SLOT_HEAD
from rtc_ros.handoff.segment import SegmentWriter
from rtc_ros.handoff.segment_reader import Slot
from rtc_ros.handoff.spec import HandoffSpec

_META = struct.Struct("<15q")
"""epoch, step, tick, tick_ns, mode, chunk_epoch, chunk_seq, chunk_origin_step, seen_epoch,
seen_seq, swap_step, swap_tick, swaps, soft_start_ticks, coherent"""

_ROWS = SLOT_HEAD.size + _META.size
_VECTORS = 7
"""command, last_step, lower, upper, max_step, max_bend, turn: [A] each, before the history"""


class StepCursor(Endpoint[CursorState]):
    """One side of a cursor: the controller creates it, the inference attaches.

    ``epoch`` is the run of the controller's process and good for its first step epoch; one that
    starts its count anew within a run takes ``segment.next_epoch(previous)``.
    """

    _kind = CURSOR

    @classmethod
    def create(
        cls, name: str, spec: HandoffSpec, *, slots: int = 8, directory: str | None = None
    ) -> StepCursor:
        """Become the writer of cursor ``name``; ``spec.horizon`` may be 0.

        Raises WriterPresentError where another process writes it, FullError, AccessError.
        """
        writer = SegmentWriter(CURSOR, name, spec, cls._body_bytes, slots, directory)
        cursor = cls(writer=writer)
        dim = spec.action_dim
        cursor._shapes = ((dim,),) * _VECTORS + ((HISTORY_ROWS, dim),)
        cursor._rows = np.empty((_VECTORS + HISTORY_ROWS, dim))
        return cursor

    _shapes: tuple[tuple[int, ...], ...]
    _rows: np.ndarray

    def write(self, state: CursorState) -> None:
        """Publish ``state``; made for every control tick (a few µs, no system call).

        Raises HandoffError where an array's shape isn't that of the joints: a scalar or a row of
        one would otherwise be spread over all of them.
        """
        writer = self._writer()
        vectors = (state.command, state.last_step, state.lower, state.upper, state.max_step,
                   state.max_bend, state.turn)  # fmt: skip
        arrays = (*vectors, state.history)
        shapes = tuple([array.shape for array in arrays])
        if shapes != self._shapes:
            raise HandoffError(
                "command, last_step, lower, upper, max_step, max_bend, turn and history have the "
                f"shapes {shapes}, and the cursor {writer.path} is made for {self._shapes}"
            )
        meta = _META.pack(
            state.epoch, state.step, state.tick, state.tick_ns, state.mode, state.chunk_epoch,
            state.chunk_seq, state.chunk_origin_step, state.seen_epoch, state.seen_seq,
            state.swap_step, state.swap_tick, state.swaps, state.soft_start_ticks, state.coherent,
        )  # fmt: skip
        rows = self._rows
        for i, vector in enumerate(vectors):
            rows[i] = vector
        rows[_VECTORS:] = state.history
        writer.write(meta + rows.tobytes())

    def read(self) -> CursorState | None:
        """Return the newest whole state, the same one again if none is newer, None before any.

        Its arrays are read-only. Follows a controller that came back; until that one's first
        tick the old state is returned. Raises a HandoffError if its segment can't be used.
        """
        return self._read()

    @staticmethod
    def _body_bytes(spec: HandoffSpec) -> int:
        return _ROWS + 8 * (_VECTORS + HISTORY_ROWS) * spec.action_dim

    @staticmethod
    def _decode(slot: Slot, spec: HandoffSpec) -> CursorState:
        _, _, body = slot
        (epoch, step, tick, tick_ns, mode, chunk_epoch, chunk_seq, chunk_origin_step, seen_epoch,
         seen_seq, swap_step, swap_tick, swaps, soft_start_ticks, coherent) = _META.unpack_from(
            body, SLOT_HEAD.size
        )  # fmt: skip
        shape = (_VECTORS + HISTORY_ROWS, spec.action_dim)
        rows: np.ndarray = np.ndarray(shape, np.float64, body, _ROWS)
        return CursorState(
            epoch=epoch, step=step, tick=tick, tick_ns=tick_ns, mode=Mode(mode), command=rows[0],
            last_step=rows[1], lower=rows[2], upper=rows[3], max_step=rows[4], max_bend=rows[5],
            turn=rows[6], history=rows[_VECTORS:], chunk_epoch=chunk_epoch, chunk_seq=chunk_seq,
            chunk_origin_step=chunk_origin_step, seen_epoch=seen_epoch, seen_seq=seen_seq,
            swap_step=swap_step, swap_tick=swap_tick, swaps=swaps,
            soft_start_ticks=soft_start_ticks, coherent=bool(coherent),
        )  # fmt: skip
