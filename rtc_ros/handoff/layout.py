"""The header page of a segment: what a file says of itself, and whether that can be.

The records themselves are in ``records``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash

from rtc_ros.handoff.errors import CorruptError, VersionError
from rtc_ros.handoff.records import HEADER, KINDS, LAYOUT_VERSION, MAGIC, Record
from rtc_ros.handoff.spec import NAMES_BYTES, HandoffSpec

HEADER_BYTES = HEADER.itemsize
MIN_SLOTS, MAX_SLOTS = 4, 1024
MAX_SEGMENT_BYTES = 1 << 30
MAX_EPOCH = 1 << 53
"""Runs are exact in a float64, and the next one is always a number that a slot can hold."""


def place(field: str) -> int:
    """Return the offset of one of the header's fields."""
    return HEADER.fields[field][1]  # type: ignore[index]


@dataclass(frozen=True)
class Header:
    """A segment's constant part: its kind, what both sides agree on, its size and its writer."""

    record: Record
    spec: HandoffSpec
    slots: int
    epoch: int
    pid: int

    @property
    def slot(self) -> np.dtype[np.void]:
        """One slot, padding included."""
        return self.record.slot(self.spec)

    @property
    def file_bytes(self) -> int:
        """Size of the whole segment."""
        return HEADER_BYTES + self.slots * self.slot.itemsize

    def pack(self) -> bytes:
        """Return the header page, with nothing published yet."""
        spec, names = self.spec, self.spec.names_text()
        page = np.zeros((), HEADER)
        for field, value in (
            ("magic", MAGIC),
            ("layout_version", LAYOUT_VERSION),
            ("kind", self.record.kind),
            ("horizon", spec.horizon),
            ("action_dim", spec.action_dim),
            ("slots", self.slots),
            ("slot_bytes", self.slot.itemsize),
            ("names_bytes", len(names)),
            ("period_ns", spec.period_ns),
            ("epoch", self.epoch),
            ("pid", self.pid),
            ("joints_digest", spec.digest),
            ("record_digest", self.record.digest),
            ("joint_names", names),
        ):
            page[field] = value
        page["digest"] = page_digest(page.tobytes())
        return page.tobytes()


def parse_header(page: bytes, file_bytes: int, path: str) -> Header:
    """Return the checked header of a file of ``file_bytes`` bytes that begins with ``page``.

    Nothing is believed before the digest agrees, and no size afterwards that the file doesn't
    have. Raises CorruptError or VersionError.
    """
    fix = "stop the node that writes it, remove the file and start the node again"
    if len(page) < HEADER_BYTES:
        raise CorruptError(
            f"{path} has {file_bytes} bytes, less than a segment's header of {HEADER_BYTES}: {fix}"
        )
    found = np.frombuffer(page, HEADER, 1)[0]
    if found["magic"] != MAGIC:
        begin = page[: len(MAGIC)]
        raise CorruptError(f"{path} begins with {begin!r}, not {MAGIC!r}: not a segment; {fix}")
    if found["layout_version"] != LAYOUT_VERSION:
        raise VersionError(
            f"{path} has segment layout {found['layout_version']} and this process knows layout "
            f"{LAYOUT_VERSION}: run the same version of rtc_ros on both sides"
        )
    if found["digest"] != page_digest(page):
        raise CorruptError(f"the header of {path} doesn't match its digest: {fix}")
    record = KINDS.get(int(found["kind"]))
    if record is None:
        raise CorruptError(f"the header of {path} contradicts itself: {fix}")
    if found["record_digest"] != record.digest:
        raise VersionError(
            f"{path} is a {record.name} of segment layout {LAYOUT_VERSION} with other fields "
            f"(digest {found['record_digest']:016x}) than this process's ({record.digest:016x}): "
            "run the same version of rtc_ros on both sides"
        )
    try:
        names = page[place("joint_names") :][: min(int(found["names_bytes"]), NAMES_BYTES)]
        period_s = int(found["period_ns"]) / 1e9
        spec = HandoffSpec(tuple(names.decode().split("\n")), period_s, int(found["horizon"]))
    except ValueError as error:
        raise CorruptError(f"the header of {path} can't be: {error}; {fix}") from None
    header = Header(record, spec, *(int(found[name]) for name in ("slots", "epoch", "pid")))
    if (
        not MIN_SLOTS <= header.slots <= MAX_SLOTS
        or not 0 < header.epoch < MAX_EPOCH
        or header.file_bytes > MAX_SEGMENT_BYTES
        or page_digest(header.pack()) != found["digest"]
    ):
        raise CorruptError(f"the header of {path} contradicts itself: {fix}")
    if file_bytes != header.file_bytes:
        raise CorruptError(
            f"{path} has {file_bytes} bytes and by its header {header.file_bytes}: it was cut "
            f"or extended; {fix}"
        )
    return header


def page_digest(page: bytes | bytearray) -> int:
    """Return the digest of a header page: of all but itself and the hints."""
    constant = bytes(page[: place("digest")]) + bytes(page[place("joint_names") : HEADER_BYTES])
    return xxhash.xxh3_64_intdigest(constant)
