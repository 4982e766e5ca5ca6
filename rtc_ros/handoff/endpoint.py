"""What the two sides of a ring and of a cursor have in common."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from types import TracebackType
from typing import ClassVar, Generic, TypeVar

from rtc_ros.handoff.errors import AbsentError, CorruptError, HandoffError
from rtc_ros.handoff.files import segment_path
from rtc_ros.handoff.layout import Header
from rtc_ros.handoff.records import Record
from rtc_ros.handoff.segment import SegmentWriter
from rtc_ros.handoff.segment_reader import SegmentReader, Slot
from rtc_ros.handoff.spec import HandoffSpec

T = TypeVar("T")
Self = TypeVar("Self", bound="Endpoint")  # typing.Self is of Python 3.11


class Endpoint(Generic[T]):
    """One side of a segment whose slots hold a ``T``; made by ``create`` or ``attach``.

    One writer and any number of readers, none of which ever waits for another. An object belongs
    to one thread. ``inherited`` is the newest ``T`` that an earlier writer left under the same
    name and spec, for a restarted process to continue from; None on a reader.
    """

    _record: ClassVar[Record]

    def __init__(
        self, *, writer: SegmentWriter | None = None, reader: SegmentReader | None = None
    ) -> None:
        self._writer_side = writer
        self._reader_side = reader
        self._last: T | None = None
        self._seq = 0
        self.inherited: T | None = None
        side = writer or reader
        assert side is not None
        self.path = side.path
        if writer is not None and writer.inherited is not None:
            with contextlib.suppress(ValueError):
                self.inherited = self._decode(writer.inherited, writer.header.spec)

    @staticmethod
    @abstractmethod
    def _decode(slot: Slot, spec: HandoffSpec) -> T:
        """Return what a whole slot holds; ValueError where it can't be."""

    @classmethod
    def attach(
        cls: type[Self],
        name: str,
        spec: HandoffSpec,
        *,
        directory: str | None = None,
        check_every: int = 64,
    ) -> Self:
        """Become a reader of segment ``name``; ``spec.horizon`` 0 takes the writer's H.

        Raises AbsentError while there is no segment yet (see ``attach_or_none``), MismatchError,
        VersionError, CorruptError, AccessError. ``check_every``: look the file's name up every so
        many fruitless polls, to notice a replacement that the old segment doesn't tell of.
        """
        path = segment_path(name, directory)
        reader = SegmentReader(cls._record, path, spec, check_every=check_every)
        return cls(reader=reader)

    @classmethod
    def attach_or_none(
        cls: type[Self],
        name: str,
        spec: HandoffSpec,
        *,
        directory: str | None = None,
        check_every: int = 64,
    ) -> Self | None:
        """Like ``attach``, but None while the segment is absent: for whoever polls for it."""
        try:
            return cls.attach(name, spec, directory=directory, check_every=check_every)
        except AbsentError:
            return None

    @property
    def spec(self) -> HandoffSpec:
        """The writer's spec, with its H."""
        return self._header().spec

    @property
    def epoch(self) -> int:
        """The run of the writer whose segment is mapped."""
        return self._header().epoch

    @property
    def writer_pid(self) -> int:
        """The process id of that writer, alive or not."""
        return self._header().pid

    def poll(self) -> bool:
        """Tell whether there is something newer than the last read returned.

        Cheap enough for every control tick (below 1 µs, no system call but every ``check_every``
        polls or while no writer is there). A True is a hint: the read may still find nothing
        whole. Raises a HandoffError if a new writer's segment can't be used.
        """
        reader = self._reader()
        header = reader.header
        changed = reader.changed(self._seq)
        if reader.header is not header:
            self._seq = 0
        return changed

    def _read(self) -> T | None:
        reader = self._reader()
        slot = reader.newest(self._seq)
        if slot is None and reader.look():
            self._seq = 0
            slot = reader.newest(0)
        if slot is not None:
            self._last = self._decoded(slot, reader.header.spec)
            self._seq = slot[0]
        return self._last

    def _decoded(self, slot: Slot, spec: HandoffSpec) -> T:
        try:
            return self._decode(slot, spec)
        except ValueError as error:
            raise CorruptError(
                f"{self.path} holds a whole slot with impossible content ({error}): run the same "
                "version of rtc_ros on both sides"
            ) from None

    def close(self) -> None:
        """End this side. The file stays, for readers and for the next writer's ``inherited``."""
        if self._writer_side is not None:
            self._writer_side.close()
        # A reader's mapping goes with it: another thread may still look at it.
        self._writer_side = self._reader_side = None

    def unlink(self) -> None:
        """End the writer's side and remove the segment and its lock file."""
        self._writer().close(unlink=True)
        self.close()

    def _header(self) -> Header:
        side = self._writer_side or self._reader_side
        if side is None:
            raise HandoffError(f"{self.path} was closed by this process: create or attach again")
        return side.header

    def _writer(self) -> SegmentWriter:
        side = self._writer_side
        if side is None:
            raise HandoffError(f"this process doesn't write {self.path} (now): create it first")
        return side

    def _reader(self) -> SegmentReader:
        side = self._reader_side  # another thread may close it
        if side is None:
            raise HandoffError(f"this object doesn't read {self.path} (now): attach one first")
        return side

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
