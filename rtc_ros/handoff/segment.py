"""The writing half of the slot protocol: one writer, any number of readers, nobody waits.

The writer makes a slot's bytes in memory of its own, copies them over the next slot, round robin,
stores their digest and last the published number, a hint for readers. It replaces a dead writer's
segment as a whole, by a rename.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

import xxhash

from rtc_ros.handoff import layout
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.files import (
    WriterLock,
    access_error,
    allocate,
    open_segment,
    remove_leftovers,
    segment_path,
)
from rtc_ros.handoff.layout import SLOT_HEAD, WORD, Header
from rtc_ros.handoff.segment_reader import BodyBytes, SegmentReader, Slot, slots_of
from rtc_ros.handoff.spec import HandoffSpec

_digest = xxhash.xxh3_64_intdigest


def next_epoch(previous: int = 0) -> int:
    """Return a number for a new run: above ``previous`` and above those of earlier runs.

    CLOCK_MONOTONIC milliseconds, since /dev/shm doesn't outlive a boot either; it stays exact in
    a float64 and needs no file to remember it.
    """
    return max(previous + 1, time.monotonic_ns() // 1_000_000)


class SegmentWriter:
    """The one writer of a segment. Not to be shared between threads.

    ``inherited`` is the newest whole slot that an earlier writer left under the same name and
    spec, or None.
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
        self._slots = slots_of(self._view, self.header)
        # Before the rename: if we die in between, readers merely look at the name more often.
        _retire(self.path)
        try:
            os.rename(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            raise

    def write(self, payload: bytes) -> int:
        """Put ``payload`` into the next slot and tell that it is there; returns its number."""
        if not self._open:
            raise HandoffError(f"{self.path} was closed by this process: create it again")
        seq = self.seq + 1
        body = SLOT_HEAD.pack(seq, self.header.epoch) + payload
        memory, seal = self._slots[seq % self.header.slots]
        memory[:] = body
        WORD.pack_into(seal, 0, _digest(body))
        WORD.pack_into(self._view, layout.PUBLISHED_OFFSET, seq)
        self.seq = seq
        return seq

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
        self._slots.clear()
        self._view = memoryview(b"")
        self._lock.release(remove=unlink)


def _inherit(
    kind: int, path: str, spec: HandoffSpec, body_bytes: BodyBytes
) -> tuple[Slot | None, int]:
    """Return the newest slot that a dead writer left, and its epoch (0 if unknown)."""
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
