"""The step cursor: what the controller tells the inference process after every tick."""

from __future__ import annotations

import struct
from types import TracebackType

import numpy as np

from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.handoff.errors import AbsentError, HandoffError
from rtc_ros.handoff.files import segment_path
from rtc_ros.handoff.layout import CURSOR, SLOT_HEAD
from rtc_ros.handoff.segment import SegmentReader, SegmentWriter
from rtc_ros.handoff.spec import HandoffSpec

_META = struct.Struct("<14qd")
"""epoch, step, tick, tick_ns, mode, chunk_epoch, chunk_seq, chunk_origin_step, seen_epoch,
seen_seq, swap_step, swap_tick, swaps, 0, velocity_scale"""

_ROWS = SLOT_HEAD.size + _META.size
_VECTORS = 4
"""command, lower, upper, max_step: [A] each, before the history"""

SLOTS = 8


def _body_bytes(spec: HandoffSpec) -> int:
    return _ROWS + 8 * (_VECTORS + HISTORY_ROWS) * spec.action_dim


class StepCursor:
    """One side of a cursor; ``create`` makes the controller's, ``attach`` a reader's.

    The same slot protocol as the ring's: the controller never waits and a reader never sees half
    a state. An object belongs to one thread. ``inherited`` is the last state that an earlier
    controller left under the same name and joints, None on a reader.
    """

    def __init__(self, side: SegmentWriter | SegmentReader) -> None:
        """Wrap one side; use ``create`` or ``attach``."""
        self._side = side
        self._last: CursorState | None = None
        self._seq = 0
        self._rows: list[np.ndarray] = []
        self.inherited: CursorState | None = None
        if isinstance(side, SegmentWriter):
            dim = side.header.spec.action_dim
            self._shapes = ((dim,),) * _VECTORS + ((HISTORY_ROWS, dim),)
            for slot in range(side.header.slots):
                flat = np.frombuffer(side.body(slot), np.float64, offset=_ROWS)
                self._rows.append(flat.reshape(_VECTORS + HISTORY_ROWS, dim))
            if side.inherited is not None:
                self.inherited = _decode(side.inherited, side.header.spec)

    @classmethod
    def create(
        cls, name: str, spec: HandoffSpec, *, slots: int = SLOTS, directory: str | None = None
    ) -> StepCursor:
        """Become the writer of cursor ``name``; ``spec.horizon`` may be 0.

        Raises WriterPresentError where another process writes it, FullError, AccessError.
        """
        return cls(SegmentWriter(CURSOR, name, spec, _body_bytes, slots, directory))

    @classmethod
    def attach(
        cls, name: str, spec: HandoffSpec, *, directory: str | None = None, check_every: int = 64
    ) -> StepCursor:
        """Become a reader of cursor ``name``; arguments and errors as ``ChunkRing.attach``."""
        path = segment_path(name, directory)
        return cls(SegmentReader(CURSOR, path, spec, _body_bytes, check_every=check_every))

    @classmethod
    def attach_or_none(
        cls, name: str, spec: HandoffSpec, *, directory: str | None = None, check_every: int = 64
    ) -> StepCursor | None:
        """Like ``attach``, but None while the cursor is absent."""
        try:
            return cls.attach(name, spec, directory=directory, check_every=check_every)
        except AbsentError:
            return None

    @property
    def spec(self) -> HandoffSpec:
        """The controller's spec."""
        return self._side.header.spec

    @property
    def epoch(self) -> int:
        """The run of the process whose segment is mapped: a controller's first step epoch.

        A controller that starts its count anew within one run takes
        ``segment.next_epoch(previous)``.
        """
        return self._side.header.epoch

    @property
    def writer_pid(self) -> int:
        """The process id of that writer, alive or not."""
        return self._side.header.pid

    @property
    def path(self) -> str:
        """The segment's file."""
        return self._side.path

    def write(self, state: CursorState) -> None:
        """Publish ``state``; made for every control tick (a few µs, no system call).

        Raises HandoffError where an array's shape isn't that of the joints.
        """
        writer = self._writer()
        arrays = (state.command, state.lower, state.upper, state.max_step, state.history)
        command, lower, upper, max_step, history = arrays
        if (command.shape, lower.shape, upper.shape, max_step.shape, history.shape) != self._shapes:
            raise HandoffError(
                "command, lower, upper, max_step and history have the shapes "
                f"{[list(array.shape) for array in arrays]}, and the cursor {writer.path} is "
                f"made for {[list(shape) for shape in self._shapes]}"
            )
        seq, slot = writer.begin()
        _META.pack_into(
            writer.body(slot), SLOT_HEAD.size, state.epoch, state.step, state.tick,
            state.tick_ns, state.mode, state.chunk_epoch, state.chunk_seq,
            state.chunk_origin_step, state.seen_epoch, state.seen_seq, state.swap_step,
            state.swap_tick, state.swaps, 0, state.velocity_scale,
        )  # fmt: skip
        rows = self._rows[slot]
        rows[0] = command
        rows[1] = lower
        rows[2] = upper
        rows[3] = max_step
        rows[_VECTORS:] = history
        writer.commit(seq, slot)

    def poll(self) -> bool:
        """Tell whether there is something newer than ``read`` last returned; see the ring's."""
        reader = self._reader()
        header = reader.header
        changed = reader.changed(self._seq)
        if reader.header is not header:
            self._seq = 0
        return changed

    def read(self) -> CursorState | None:
        """Return the newest whole state, the same one again if none is newer, None before any.

        Its arrays are read-only. Follows a controller that came back; until that one's first
        tick the old state is returned. Raises a HandoffError if its segment can't be used.
        """
        if self.poll():
            reader = self._reader()
            body = reader.newest(self._seq)
            if body is not None:
                self._last = _decode(body, reader.header.spec)
                self._seq = SLOT_HEAD.unpack_from(body)[0]
        return self._last

    def close(self) -> None:
        """End this side. The file stays, for readers and for the next controller."""
        self._rows.clear()
        if isinstance(self._side, SegmentWriter):
            self._side.close()
        else:
            self._side.release()

    def unlink(self) -> None:
        """End the writer's side and remove the segment and its lock file."""
        writer = self._writer()
        self._rows.clear()
        writer.close(unlink=True)

    def _writer(self) -> SegmentWriter:
        if not isinstance(self._side, SegmentWriter):
            raise HandoffError(f"this process reads {self._side.path}: only its writer may do that")
        return self._side

    def _reader(self) -> SegmentReader:
        if not isinstance(self._side, SegmentReader):
            raise HandoffError(f"this process writes {self._side.path}: attach it to read")
        return self._side

    def __enter__(self) -> StepCursor:
        """Return the cursor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close this side."""
        self.close()


def _decode(body: bytes, spec: HandoffSpec) -> CursorState:
    (epoch, step, tick, tick_ns, mode, chunk_epoch, chunk_seq, chunk_origin_step, seen_epoch,
     seen_seq, swap_step, swap_tick, swaps, _, velocity_scale) = _META.unpack_from(
        body, SLOT_HEAD.size
    )  # fmt: skip
    rows = np.frombuffer(body, np.float64, offset=_ROWS).reshape(-1, spec.action_dim)
    return CursorState(
        epoch=epoch, step=step, tick=tick, tick_ns=tick_ns, mode=Mode(mode), command=rows[0],
        history=rows[_VECTORS:], lower=rows[1], upper=rows[2], max_step=rows[3],
        velocity_scale=velocity_scale, chunk_epoch=chunk_epoch, chunk_seq=chunk_seq,
        chunk_origin_step=chunk_origin_step, seen_epoch=seen_epoch, seen_seq=seen_seq,
        swap_step=swap_step, swap_tick=swap_tick, swaps=swaps,
    )  # fmt: skip
