"""The slot protocol over a mapped file: one writer, any number of readers, nobody waits.

The writer fills the next slot round robin, stores the slot's digest last and then the published
number. A reader copies a slot and checks digest, epoch and number on the copy; it never relies
on the order in which stores become visible. The published number only tells it when to look.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace

import xxhash

from rtc_ros.handoff import layout
from rtc_ros.handoff.errors import AbsentError, CorruptError, HandoffError, MismatchError
from rtc_ros.handoff.files import (
    WriterLock,
    access_error,
    allocate,
    inode,
    open_segment,
    remove_leftovers,
    segment_path,
)
from rtc_ros.handoff.layout import HINTS, SLOT_HEAD, WORD, Header
from rtc_ros.handoff.spec import HandoffSpec

_digest = xxhash.xxh3_64_intdigest

BodyBytes = Callable[[HandoffSpec], int]
"""How many bytes a slot of a kind has before its digest, for a spec with its H."""


def next_epoch(previous: int = 0) -> int:
    """Return a number for a new run: above ``previous`` and above those of earlier runs.

    CLOCK_MONOTONIC milliseconds, since /dev/shm doesn't outlive a boot either; it stays exact in
    a float64 and needs no file to remember it.
    """
    return max(previous + 1, time.monotonic_ns() // 1_000_000)


class SegmentWriter:
    """The one writer of a segment. Not to be shared between threads.

    ``inherited`` is the newest whole body that an earlier writer left under the same name and
    spec, or None; ``body(slot)`` is where the next payload goes, between ``begin`` and ``commit``.
    """

    def __init__(
        self,
        kind: int,
        name: str,
        spec: HandoffSpec,
        body_bytes: BodyBytes,
        slots: int,
        directory: str | None = None,
    ) -> None:
        """Take the lock, build the segment and put it in place of an older one."""
        self.path = segment_path(name, directory)
        if not layout.MIN_SLOTS <= slots <= layout.MAX_SLOTS:
            raise ValueError(
                f"slots is {slots}: it must be within {layout.MIN_SLOTS} and {layout.MAX_SLOTS}"
            )
        body = body_bytes(spec)
        header = Header(kind, spec, slots, body, 0, os.getpid())
        if header.file_bytes > layout.MAX_SEGMENT_BYTES:
            raise ValueError(
                f"{slots} slots of {body} bytes are more than the "
                f"{layout.MAX_SEGMENT_BYTES} bytes that a segment may have: use fewer slots"
            )
        self._lock = WriterLock(self.path)
        try:
            remove_leftovers(self.path)
            self.inherited, previous = _inherit(kind, self.path, spec, body_bytes)
            self.header = replace(header, epoch=next_epoch(previous))
            self._place()
        except OSError as error:
            self._lock.release()
            raise access_error(error, self.path, "put a segment in place") from None
        except BaseException:
            self._lock.release()
            raise
        self.seq = 0
        self._open = True

    def _place(self) -> None:
        temporary, mapping = allocate(self.path, self.header.file_bytes)
        self._view = memoryview(mapping)
        self._view[: layout.HEADER_BYTES] = self.header.pack()
        self._bodies, self._digests = _slots(self._view, self.header)
        # Before the rename: if we die in between, readers merely look at the name more often.
        _retire(self.path)
        try:
            os.rename(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            raise

    def body(self, slot: int) -> memoryview:
        """Return the writable bytes of a slot from its head to before its digest."""
        return self._bodies[slot]

    def begin(self) -> tuple[int, int]:
        """Open the next slot, which no reader takes until ``commit``; returns ``(seq, slot)``."""
        if not self._open:
            raise HandoffError(f"{self.path} was closed by this process: create it again")
        seq = self.seq + 1
        slot = seq % self.header.slots
        SLOT_HEAD.pack_into(self._bodies[slot], 0, seq, self.header.epoch)
        return seq, slot

    def commit(self, seq: int, slot: int) -> None:
        """Seal the slot and tell that it is there."""
        WORD.pack_into(self._view, self._digests[slot], _digest(self._bodies[slot]))
        WORD.pack_into(self._view, layout.PUBLISHED_OFFSET, seq)
        self.seq = seq

    def close(self, *, unlink: bool = False) -> None:
        """Mark the segment retired and release the lock; ``unlink`` removes the file too.

        The memory is unmapped with the last view of it.
        """
        if not self._open:
            return
        self._open = False
        WORD.pack_into(self._view, layout.RETIRED_OFFSET, 1)
        if unlink:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        self._bodies.clear()
        self._view = memoryview(b"")
        self._lock.release(remove=unlink)


class SegmentReader:
    """A reader of a segment; it follows the name to the segments of later writers."""

    def __init__(
        self,
        kind: int,
        path: str,
        spec: HandoffSpec,
        body_bytes: BodyBytes,
        *,
        check_every: int = 64,
    ) -> None:
        """Map the segment; raises a HandoffError where it is absent or isn't what was asked.

        Every ``check_every`` polls the file's name is looked up (a system call), to notice that
        somebody else than a writer replaced the file.
        """
        self.path = path
        self._kind = kind
        self._spec = spec
        self._body_bytes = body_bytes
        self._check_every = max(1, check_every)
        self._polls = 0
        self._map_segment()

    def _map_segment(self) -> None:
        mapping, number, size = open_segment(self.path)
        page = mapping[: min(size, layout.HEADER_BYTES)]
        header = layout.parse_header(page, size, self.path)
        _check(self._kind, self._spec, header, self.path)
        if header.body_bytes != self._body_bytes(header.spec):
            raise CorruptError(
                f"{self.path} has slots of {header.body_bytes} bytes, and its H and A need "
                f"{self._body_bytes(header.spec)}: remove the file and start its writer again"
            )
        self.header = header
        self._inode = number
        self._view = memoryview(mapping)  # the old mapping goes with its last view
        self._bodies, self._digests = _slots(self._view, header)

    def changed(self, seq: int) -> bool:
        """Tell whether something newer than ``seq`` seems to be there, or another writer is.

        Some 0.2 µs. Raises a HandoffError if a new writer's segment can't be used; the old one
        stays mapped, so that the caller can go on with what it has.
        """
        published, _ = HINTS.unpack_from(self._view, layout.PUBLISHED_OFFSET)
        return published > seq or self.look()

    def look(self) -> bool:
        """Follow the name where the writer has retired, else every so many calls."""
        self._polls += 1
        if self._polls < self._check_every and not self.retired:
            return False
        self._polls = 0
        return self.follow()

    def follow(self) -> bool:
        """Map anew if the name has gone to another file; returns whether it has."""
        number = inode(self.path)
        if number in (0, self._inode):
            return False
        try:
            self._map_segment()
        except AbsentError:
            return False
        return True

    def newest(self, after: int) -> bytes | None:
        """Return the newest whole body published above ``after``, None if there is none."""
        published, _ = HINTS.unpack_from(self._view, layout.PUBLISHED_OFFSET)
        if published <= after:
            return None
        body = self._verified(published % self.header.slots)
        if body is not None and SLOT_HEAD.unpack_from(body)[0] == published:
            return body
        heads = [SLOT_HEAD.unpack_from(slot)[0] for slot in self._bodies]
        for index in sorted(range(len(heads)), key=heads.__getitem__, reverse=True):
            if heads[index] <= after:
                return None
            body = self._verified(index)
            if body is not None and SLOT_HEAD.unpack_from(body)[0] > after:
                return body
        return None

    def all(self) -> list[bytes]:
        """Return every whole body that the segment holds, oldest first."""
        bodies = [self._verified(index) for index in range(self.header.slots)]
        return sorted((b for b in bodies if b is not None), key=SLOT_HEAD.unpack_from)

    def _verified(self, index: int) -> bytes | None:
        # The digest's word may be read after the body was copied: if they agree, whatever the
        # writer did in between, the copy is what the writer sealed.
        body = bytes(self._bodies[index])
        (digest,) = WORD.unpack_from(self._view, self._digests[index])
        seq, epoch = SLOT_HEAD.unpack_from(body)
        if _digest(body) != digest or epoch != self.header.epoch:
            return None
        return body if seq > 0 and seq % self.header.slots == index else None

    @property
    def retired(self) -> bool:
        """Whether the writer closed the segment, or a successor is taking over."""
        return bool(HINTS.unpack_from(self._view, layout.PUBLISHED_OFFSET)[1])

    def release(self) -> None:
        """Unmap. The file stays: it is the writer's."""
        self._bodies.clear()
        self._view = memoryview(b"")


def _slots(view: memoryview, header: Header) -> tuple[list[memoryview], list[int]]:
    """Return each slot's body and the offset of its digest."""
    starts = [layout.HEADER_BYTES + i * header.slot_bytes for i in range(header.slots)]
    bodies = [view[start : start + header.body_bytes] for start in starts]
    return bodies, [start + header.body_bytes for start in starts]


def _check(kind: int, spec: HandoffSpec, header: Header, path: str) -> None:
    found = []
    if kind != header.kind:
        found.append(f"it is a {layout.KINDS[header.kind]} and a {layout.KINDS[kind]} is wanted")
    found += spec.differences(header.spec)
    if found:
        raise MismatchError(
            f"{path}, written by process {header.pid}, doesn't fit this process "
            f"({os.getpid()}): {'; '.join(found)}. Give both nodes the same joints, control "
            "period and policy"
        )


def _inherit(
    kind: int, path: str, spec: HandoffSpec, body_bytes: BodyBytes
) -> tuple[bytes | None, int]:
    """Return the newest body that a dead writer left, and its epoch (0 if unknown)."""
    try:
        reader = SegmentReader(kind, path, spec, body_bytes)
    except HandoffError:
        return None, 0
    try:
        whole = reader.all() if reader.header.spec == spec else []
        return (whole[-1] if whole else None), reader.header.epoch
    finally:
        reader.release()


def _retire(path: str) -> None:
    """Tell the readers of an older segment under this name to look at the name again."""
    try:
        mapping, _, size = open_segment(path, write=True)
    except HandoffError:
        return
    if size >= layout.HEADER_BYTES and mapping[: len(layout.MAGIC)] == layout.MAGIC:
        WORD.pack_into(mapping, layout.RETIRED_OFFSET, 1)
    mapping.close()
