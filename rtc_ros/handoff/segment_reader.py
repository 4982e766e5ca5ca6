"""The reading half of the slot protocol: copies, checks the copies, follows the name.

It never relies on the order in which the writer's stores become visible: the digest over a copy
decides whether it is whole. The published number only tells when to look.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import xxhash

from rtc_ros.handoff import layout
from rtc_ros.handoff.errors import AbsentError, CorruptError, MismatchError
from rtc_ros.handoff.files import inode, open_segment
from rtc_ros.handoff.layout import HINTS, SLOT_HEAD, WORD, Header
from rtc_ros.handoff.spec import HandoffSpec

_digest = xxhash.xxh3_64_intdigest

BodyBytes = Callable[[HandoffSpec], int]
"""How many bytes a slot of a kind has before its digest, for a spec with its H."""

Slot = tuple[int, int, bytes]
"""The copy of a slot that was whole: its number, its writer's run, all its bytes but the digest"""


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
        self._slots = slots_of(self._view, header)

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

    def newest(self, after: int) -> Slot | None:
        """Return the newest whole slot published above ``after``, None if there is none."""
        published, _ = HINTS.unpack_from(self._view, layout.PUBLISHED_OFFSET)
        if published <= after:
            return None
        slot = self._verified(published % self.header.slots)
        if slot is not None and slot[0] == published:
            return slot
        heads = [SLOT_HEAD.unpack_from(body)[0] for body, _ in self._slots]
        for index in sorted(range(len(heads)), key=heads.__getitem__, reverse=True):
            if heads[index] <= after:
                return None
            slot = self._verified(index)
            if slot is not None and slot[0] > after:
                return slot
        return None

    def all(self) -> list[Slot]:
        """Return every whole slot that the segment holds, oldest first."""
        slots = [self._verified(index) for index in range(self.header.slots)]
        return sorted(slot for slot in slots if slot is not None)

    def _verified(self, index: int) -> Slot | None:
        memory, seal = self._slots[index]
        # The digest may be read after the body was copied: if they agree, whatever the writer did
        # in between, the copy is what the writer sealed.
        body = bytes(memory)
        (digest,) = WORD.unpack_from(seal)
        seq, epoch = SLOT_HEAD.unpack_from(body)
        if _digest(body) != digest or epoch != self.header.epoch:
            return None
        return (seq, epoch, body) if seq > 0 and seq % self.header.slots == index else None

    @property
    def retired(self) -> bool:
        """Whether the writer closed the segment, or a successor is taking over."""
        return bool(HINTS.unpack_from(self._view, layout.PUBLISHED_OFFSET)[1])

    def release(self) -> None:
        """Unmap. The file stays: it is the writer's."""
        self._slots.clear()
        self._view = memoryview(b"")


def slots_of(view: memoryview, header: Header) -> list[tuple[memoryview, memoryview]]:
    """Return each slot's memory: its body, head and payload, and its digest."""
    starts = [layout.HEADER_BYTES + i * header.slot_bytes for i in range(header.slots)]
    ends = [start + header.body_bytes for start in starts]
    return [(view[a:b], view[b : b + WORD.size]) for a, b in zip(starts, ends, strict=True)]


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
