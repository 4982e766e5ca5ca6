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
from typing import Any

import numpy as np
import xxhash

from rtc_ros.handoff import layout
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.files import (
    WriterLock,
    access_error,
    allocate,
    make_way,
    open_segment,
    segment_path,
)
from rtc_ros.handoff.layout import Header
from rtc_ros.handoff.records import HINDRANCE_BYTES, MAGIC, Record
from rtc_ros.handoff.segment_reader import SegmentMemory, SegmentReader, Slot, word
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.handoff.wake import wake

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
        record: Record,
        name: str,
        spec: HandoffSpec,
        slots: int,
        directory: str | None = None,
        run: int = 0,
    ) -> None:
        """Take the lock, build the segment and put it in place of an older one.

        With ``run``, the epoch of a segment of another machine, this is its copy: see ``mirror``.
        """
        self.path = segment_path(name, directory)
        if not layout.MIN_SLOTS <= slots <= layout.MAX_SLOTS:
            raise ValueError(
                f"slots is {slots}: it must be within {layout.MIN_SLOTS} and {layout.MAX_SLOTS}"
            )
        header = Header(record, spec, slots, 0, os.getpid())
        if header.file_bytes > layout.MAX_SEGMENT_BYTES:
            raise ValueError(
                f"{slots} slots of {header.slot.itemsize} bytes are more than the "
                f"{layout.MAX_SEGMENT_BYTES} bytes that a segment may have: use fewer slots"
            )
        self._lock = WriterLock(self.path)
        try:
            make_way(self.path)
            self.inherited, previous = _inherit(record, self.path, spec)
            self.header = replace(header, epoch=run or next_epoch(previous))
            self._place()
        except OSError as error:
            self._lock.release()
            raise access_error(error, self.path, "put a segment in place") from None
        except BaseException:
            self._lock.release()
            raise
        self.seq = 0
        self._hindrance = ""
        self._open = True

    def _place(self) -> None:
        temporary, mapping = allocate(self.path, self.header.file_bytes)
        view = memoryview(mapping)
        view[: layout.HEADER_BYTES] = self.header.pack()
        self._memory = SegmentMemory(view, self.header)
        # The next slot is made here, of what the caller gives, and copied from here.
        body = self.header.record.body(self.header.spec)
        self._body = bytearray(body.itemsize)
        fields: np.ndarray = np.ndarray((), body, self._body)
        fields["run"] = self.header.epoch
        self._number = word(memoryview(self._body), 0)
        self._payload = fields[list(self.header.record.names)]
        # Before the rename: if we die in between, readers merely look at the name more often.
        _retire(self.path)
        try:
            os.rename(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            raise

    def write(self, payload: tuple[Any, ...]) -> int:
        """Put the ``payload``'s fields into the next slot and tell that it is there.

        Returns the slot's number. Arrays must have the record's shapes: a scalar would be spread.
        """
        if not self._open:
            raise HandoffError(f"{self.path} was closed by this process: create it again")
        seq, body = self.seq + 1, self._body
        self._payload[()] = payload
        self._number[0] = seq
        memory, seal = self._memory.slots[seq % self.header.slots]
        memory[:] = body
        seal[0] = _digest(body)
        self._memory.published[0] = seq
        self.seq = seq
        return seq

    def mirror(self, body: bytes, seq: int) -> None:
        """Put another segment's slot into this copy of it: ``body`` whole, number ``seq`` in it.

        Numbers may be left out, but only rise: the caller sees to that.
        """
        if not self._open:
            raise HandoffError(f"{self.path} was closed by this process: create it again")
        memory, seal = self._memory.slots[seq % self.header.slots]
        memory[:] = body
        seal[0] = _digest(body)
        self._memory.published[0] = seq
        self.seq = seq

    def wake(self) -> None:
        """Wake the readers that wait for a slot (``SegmentReader.wait``): a system call."""
        if self._open:
            wake(self._memory.published)

    def retire(self) -> None:
        """Say that nothing more comes, and keep the right to write."""
        if self._open:
            self._memory.retired[0] = 1

    def say_ready(self, at_ns: int) -> None:
        """Say when something could last have been made (CLOCK_MONOTONIC): a hint for readers."""
        if self._open:
            self._memory.ready_ns[0] = at_ns

    def say_hindrance(self, text: str) -> None:
        """Say what keeps the writer from its work, "" for nothing: a hint for readers, cut short.

        A reader that comes between gets nothing: the text has a digest of its own.
        """
        if not self._open or text == self._hindrance:
            return
        self._hindrance = text
        # No half of a letter.
        whole = text.encode()[:HINDRANCE_BYTES].decode("utf-8", "ignore").encode()
        self._memory.hindrance[:] = padded = whole.ljust(HINDRANCE_BYTES, b"\0")
        self._memory.hindrance_digest[0] = _digest(padded)

    def close(self, *, unlink: bool = False) -> None:
        """Mark the segment retired and release the lock; ``unlink`` removes the file too.

        The memory is unmapped with the last view of it.
        """
        if not self._open:
            return
        self._open = False
        self._memory.retired[0] = 1
        if unlink:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        del self._memory
        self._lock.release(remove=unlink)


def _inherit(record: Record, path: str, spec: HandoffSpec) -> tuple[Slot | None, int]:
    """Return the newest slot that a dead writer left, and its epoch (0 if unknown)."""
    try:
        reader = SegmentReader(record, path, spec)
    except HandoffError:
        return None, 0
    whole = reader.all()
    return (whole[-1] if whole else None), reader.header.epoch


def _retire(path: str) -> None:
    """Tell the readers of an older segment under this name to look at the name again."""
    try:
        mapping, _, size = open_segment(path, write=True)
    except HandoffError:
        return
    if size >= layout.HEADER_BYTES and mapping[: len(MAGIC)] == MAGIC:
        at = layout.place("retired")
        mapping[at : at + 8] = (1).to_bytes(8, "little")
    mapping.close()
