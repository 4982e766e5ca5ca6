"""The chunk ring: action chunks from the inference process to the controller."""

from __future__ import annotations

import struct
from types import TracebackType

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.handoff.errors import AbsentError, HandoffError
from rtc_ros.handoff.files import segment_path
from rtc_ros.handoff.layout import RING, SLOT_HEAD
from rtc_ros.handoff.segment import SegmentReader, SegmentWriter
from rtc_ros.handoff.spec import HandoffSpec

_META = struct.Struct("<9q")
"""origin_step, step_epoch, rows, delay, stride, guided, observation_ns, start_ns, end_ns"""

_ACTIONS = SLOT_HEAD.size + _META.size


def _body_bytes(spec: HandoffSpec) -> int:
    return _ACTIONS + 8 * spec.horizon * spec.action_dim


class ChunkRing:
    """One side of a ring; ``create`` makes the writer's, ``attach`` a reader's.

    One writer and any number of readers, none of which ever waits for another. An object belongs
    to one thread. ``inherited`` is the newest chunk that an earlier writer left under the same
    name and spec, for a restarted inference to continue from; None on a reader.
    """

    def __init__(self, side: SegmentWriter | SegmentReader) -> None:
        """Wrap one side; use ``create`` or ``attach``."""
        self._side = side
        self._last: ActionChunk | None = None
        self._seq = 0
        self.inherited: ActionChunk | None = None
        self._rows: list[np.ndarray] = []
        if isinstance(side, SegmentWriter):
            spec = side.header.spec
            shape = (spec.horizon, spec.action_dim)
            for slot in range(side.header.slots):
                flat = np.frombuffer(side.body(slot), np.float64, offset=_ACTIONS)
                self._rows.append(flat.reshape(shape))
            if side.inherited is not None:
                self.inherited = _decode(side.inherited, spec)

    @classmethod
    def create(
        cls, name: str, spec: HandoffSpec, *, slots: int = 8, directory: str | None = None
    ) -> ChunkRing:
        """Become the writer of ring ``name``; ``spec.horizon`` must be given.

        Raises WriterPresentError where another process writes it, FullError, AccessError.
        """
        if spec.horizon < 1:
            raise ValueError("a ring's writer must give H: horizon is 0 in its spec")
        return cls(SegmentWriter(RING, name, spec, _body_bytes, slots, directory))

    @classmethod
    def attach(
        cls, name: str, spec: HandoffSpec, *, directory: str | None = None, check_every: int = 64
    ) -> ChunkRing:
        """Become a reader of ring ``name``; ``spec.horizon`` 0 takes the writer's H.

        Raises AbsentError while there is no writer's segment yet (see ``attach_or_none``),
        MismatchError, VersionError, CorruptError, AccessError. ``check_every``: look the file's
        name up every so many fruitless polls, to notice a replacement that the old segment
        doesn't tell of.
        """
        path = segment_path(name, directory)
        return cls(SegmentReader(RING, path, spec, _body_bytes, check_every=check_every))

    @classmethod
    def attach_or_none(
        cls, name: str, spec: HandoffSpec, *, directory: str | None = None, check_every: int = 64
    ) -> ChunkRing | None:
        """Like ``attach``, but None while the ring is absent: for a caller that polls for it."""
        try:
            return cls.attach(name, spec, directory=directory, check_every=check_every)
        except AbsentError:
            return None

    @property
    def spec(self) -> HandoffSpec:
        """The writer's spec, with its H."""
        return self._side.header.spec

    @property
    def epoch(self) -> int:
        """The run of the writer whose segment is mapped."""
        return self._side.header.epoch

    @property
    def writer_pid(self) -> int:
        """The process id of that writer, alive or not."""
        return self._side.header.pid

    @property
    def path(self) -> str:
        """The segment's file."""
        return self._side.path

    def write(self, chunk: ActionChunk) -> ActionChunk:
        """Hand ``chunk`` over; returns it under its name, the ring's epoch and the next seq.

        Raises HandoffError where its shape isn't [H, A] or an action isn't finite.
        """
        writer = self._writer()
        spec = writer.header.spec
        actions = chunk.actions
        if actions.shape != (spec.horizon, spec.action_dim):
            raise HandoffError(
                f"a chunk of shape {list(actions.shape)} doesn't fit the ring {writer.path}, "
                f"made for [H, A] = [{spec.horizon}, {spec.action_dim}]: create the ring with "
                "the policy's horizon and joints"
            )
        if not np.isfinite(actions).all():
            row, joint = np.argwhere(~np.isfinite(actions))[0]
            raise HandoffError(
                f"the chunk's row {row} is {actions[row, joint]} for joint "
                f"{spec.joint_names[joint]}: a chunk with non-finite actions is never handed over"
            )
        seq, slot = writer.begin()
        _META.pack_into(
            writer.body(slot), SLOT_HEAD.size, chunk.origin_step, chunk.step_epoch, chunk.rows,
            chunk.delay, chunk.stride, chunk.guided, chunk.observation_ns, chunk.start_ns,
            chunk.end_ns,
        )  # fmt: skip
        self._rows[slot][...] = actions
        writer.commit(seq, slot)
        return chunk.named(writer.header.epoch, seq)

    def poll(self) -> bool:
        """Tell whether there is something newer than ``read_newest`` last returned.

        Cheap enough for every control tick (well below 1 µs). A True is a hint: the read may
        still find nothing whole. Raises a HandoffError if a new writer's segment can't be used.
        """
        reader = self._reader()
        header = reader.header
        changed = reader.changed(self._seq)
        if reader.header is not header:
            self._seq = 0
        return changed

    def read_newest(self) -> ActionChunk | None:
        """Return the newest whole chunk, the same one again if none is newer, None before any.

        Follows a writer that came back; until that one's first chunk the old chunk is returned.
        Raises a HandoffError if a new writer's segment can't be used.
        """
        if self.poll():
            reader = self._reader()
            body = reader.newest(self._seq)
            if body is not None:
                self._last = _decode(body, reader.header.spec)
                self._seq = self._last.seq
        return self._last

    def recent(self) -> list[ActionChunk]:
        """Return all whole chunks that the ring of the present writer holds, oldest first."""
        self.poll()
        reader = self._reader()
        return [_decode(body, reader.header.spec) for body in reader.all()]

    def close(self) -> None:
        """End this side. The file stays, for readers and for the next writer's ``inherited``."""
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

    def __enter__(self) -> ChunkRing:
        """Return the ring."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close this side."""
        self.close()


def _decode(body: bytes, spec: HandoffSpec) -> ActionChunk:
    seq, epoch = SLOT_HEAD.unpack_from(body)
    (origin, step_epoch, rows, delay, stride, guided, observation_ns, start_ns,
     end_ns) = _META.unpack_from(body, SLOT_HEAD.size)  # fmt: skip
    actions = np.frombuffer(body, np.float64, offset=_ACTIONS)
    return ActionChunk(
        actions.reshape(spec.horizon, spec.action_dim), origin, step_epoch, epoch, seq, rows,
        delay, stride, bool(guided), observation_ns, start_ns, end_ns,
    )  # fmt: skip
