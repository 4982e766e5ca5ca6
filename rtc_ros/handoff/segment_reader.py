"""The reading half of the slot protocol: copies, checks the copies, follows the name.

It never relies on the order in which the writer's stores become visible: the digest over a copy
decides whether it is whole. The published number only tells when to look.
"""

from __future__ import annotations

import os
from operator import itemgetter
from typing import Any

import numpy as np
import xxhash

from rtc_ros.handoff import layout
from rtc_ros.handoff.errors import AbsentError, MismatchError
from rtc_ros.handoff.files import inode, open_segment
from rtc_ros.handoff.layout import Header
from rtc_ros.handoff.records import HINDRANCE_BYTES, Record
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.handoff.wake import wait

_digest = xxhash.xxh3_64_intdigest

Slot = tuple[Any, ...]
"""What a slot held that was whole: its number, its writer's epoch, then the record's fields in
order, arrays over bytes of their own"""


class SegmentReader:
    """A reader of a segment; it follows the name to the segments of later writers.

    The mapping goes with the last reference to it. The file stays: it is the writer's.
    """

    def __init__(
        self,
        record: Record,
        path: str,
        spec: HandoffSpec,
        *,
        check_every: int = 64,
    ) -> None:
        """Map the segment; raises a HandoffError where it is absent or isn't what was asked.

        Every ``check_every`` polls the file's name is looked up (a system call), to notice that
        somebody else than a writer replaced the file.
        """
        self.path = path
        self._record = record
        self._spec = spec
        self._check_every = max(1, check_every)
        self._polls = 0
        self._map_segment()

    def _map_segment(self) -> None:
        mapping, number, size = open_segment(self.path)
        page = mapping[: min(size, layout.HEADER_BYTES)]
        header = layout.parse_header(page, size, self.path)
        _check(self._record, self._spec, header, self.path)
        self.header = header
        self._inode = number
        # The old mapping goes with the last view of it.
        self._memory = SegmentMemory(memoryview(mapping), header)
        self._body = header.record.body(header.spec)

    def changed(self, seq: int) -> bool:
        """Tell whether something newer than ``seq`` seems to be there, or another writer is.

        Some 0.2 µs. Raises a HandoffError if a new writer's segment can't be used; the old one
        stays mapped, so that the caller can go on with what it has.
        """
        return self._memory.published[0] > seq or self.look()

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

    def newest(self, after: int) -> Slot | None:
        """Return the newest whole slot published above ``after``, None if there is none."""
        published = self._memory.published[0]
        if published <= after:
            return None
        slot = self._verified(published % self.header.slots)
        if slot is not None and slot[0] == published:
            return slot
        numbers = self._memory.numbers()
        for index in np.argsort(numbers)[::-1].tolist():
            if numbers[index] <= after:
                return None
            slot = self._verified(index)
            if slot is not None and slot[0] > after:
                return slot
        return None

    def all(self) -> list[Slot]:
        """Return every whole slot that the segment holds, oldest first."""
        slots = [self._verified(index) for index in range(self.header.slots)]
        return sorted((slot for slot in slots if slot is not None), key=itemgetter(0))

    def _verified(self, index: int) -> Slot | None:
        memory, seal = self._memory.slots[index]
        # The digest may be read after the body was copied: if they agree, whatever the writer did
        # in between, the copy is what the writer sealed.
        body = bytes(memory)
        if _digest(body) != seal[0]:
            return None
        fields: np.ndarray = np.ndarray((), self._body, body)
        slot: Slot = fields.item()
        seq = slot[0]
        if slot[1] != self.header.epoch or seq <= 0 or seq % self.header.slots != index:
            return None
        return slot

    @property
    def published(self) -> int:
        """The number that the writer published last; a hint, as cheap as can be."""
        return int(self._memory.published[0])

    def wait(self, published: int, limit_s: float) -> None:
        """Wait until another number than ``published`` is, for ``limit_s`` at most.

        A cursor's writer wakes nobody: it makes no system call.
        """
        wait(self._memory.published, published, limit_s)

    @property
    def retired(self) -> bool:
        """Whether the writer closed the segment, or a successor is taking over."""
        return bool(self._memory.retired[0])

    @property
    def ready_ns(self) -> int:
        """When the writer last said that it could make something (CLOCK_MONOTONIC); 0: never."""
        return int(self._memory.ready_ns[0])

    @property
    def hindrance(self) -> str:
        """What the writer last said that it lacks; "" for nothing, or one that isn't whole."""
        text = bytes(self._memory.hindrance)
        if _digest(text) != self._memory.hindrance_digest[0]:
            return ""
        return text.rstrip(b"\0").decode("utf-8", "replace")


class SegmentMemory:
    """The places of a mapped segment that are read and written, each a view that costs no call.

    ``published`` to ``hindrance_digest`` are the header's hints, ``slots`` each slot's body and
    digest.
    """

    def __init__(self, view: memoryview, header: Header) -> None:
        self.published = word(view, layout.place("published"))
        self.retired = word(view, layout.place("retired"))
        self.ready_ns = word(view, layout.place("ready_ns"))
        at = layout.place("hindrance")
        self.hindrance = view[at : at + HINDRANCE_BYTES]
        self.hindrance_digest = word(view, layout.place("hindrance_digest"))
        slot = header.slot
        size, seal = slot.itemsize, slot.fields["digest"][1]  # type: ignore[index]
        starts = range(layout.HEADER_BYTES, header.file_bytes, size)
        self.slots = [(view[at : at + seal], word(view, at + seal)) for at in starts]
        records: np.ndarray = np.ndarray(header.slots, slot, view, layout.HEADER_BYTES)
        self._numbers = records["body"]["seq"]

    def numbers(self) -> np.ndarray:
        """Return the number that each slot claims to hold, int64[slots]."""
        return self._numbers.copy()


def word(view: memoryview, at: int) -> memoryview:
    """Return the 8 bytes at ``at`` as a number that is stored and loaded at once."""
    return view[at : at + 8].cast("Q")


def _check(record: Record, spec: HandoffSpec, header: Header, path: str) -> None:
    found = []
    if record is not header.record:
        found.append(f"it is a {header.record.name} and a {record.name} is wanted")
    found += spec.differences(header.spec)
    if found:
        raise MismatchError(
            f"{path}, written by process {header.pid}, doesn't fit this process "
            f"({os.getpid()}): {'; '.join(found)}. Give both nodes the same joints, control "
            "period and policy"
        )
