"""The bytes of a segment: one header page, then equal slots.

    0      magic, layout version, kind, H, A, slots, slot and body bytes, Δt, epoch, writer,
           joint digest, length of the names        written once, before the file gets its name
    120    xxh3 digest of the bytes before it and of the names
    128    published: seq of the newest slot        a hint for readers, never trusted
    136    retired: the writer closed, or a successor is about to take the name
    256    joint names
    4096   slot 0: seq, epoch, payload ..., xxh3 digest; padded to a cache line
    ...    slot 1, ...

All numbers are little-endian. Slot ``seq % slots`` holds number ``seq``; numbers start at 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from rtc_ros.handoff.errors import CorruptError, VersionError
from rtc_ros.handoff.spec import NAMES_BYTES, HandoffSpec

MAGIC = b"rtc_ros\n"
LAYOUT_VERSION = 2
KINDS = {1: "ring", 2: "cursor"}
RING, CURSOR = 1, 2

HEADER_BYTES = 4096
NAMES_OFFSET = HEADER_BYTES - NAMES_BYTES
DIGEST_OFFSET = 120
PUBLISHED_OFFSET = 128
RETIRED_OFFSET = 136
MIN_SLOTS, MAX_SLOTS = 4, 1024
MAX_SEGMENT_BYTES = 1 << 30

WORD = struct.Struct("<Q")
HINTS = struct.Struct("<QQ")
SLOT_HEAD = struct.Struct("<qq")
_PREFIX = struct.Struct("<8sI")
_FIXED = struct.Struct("<8sIIIIIIIIQQQQI")
assert _FIXED.size <= DIGEST_OFFSET


@dataclass(frozen=True)
class Header:
    """A segment's constant part. ``body_bytes`` is a slot without its digest and padding."""

    kind: int
    spec: HandoffSpec
    slots: int
    body_bytes: int
    epoch: int
    pid: int

    @property
    def slot_bytes(self) -> int:
        """Distance from one slot to the next."""
        return (self.body_bytes + WORD.size + 63) // 64 * 64

    @property
    def file_bytes(self) -> int:
        """Size of the whole segment."""
        return HEADER_BYTES + self.slots * self.slot_bytes

    def pack(self) -> bytes:
        """Return the header page, with nothing published yet."""
        page = bytearray(HEADER_BYTES)
        names = self.spec.names_text()
        _FIXED.pack_into(
            page, 0, MAGIC, LAYOUT_VERSION, self.kind, self.spec.horizon, self.spec.action_dim,
            self.slots, self.slot_bytes, self.body_bytes, len(names), self.spec.period_ns,
            self.epoch, self.pid, self.spec.digest, HEADER_BYTES,
        )  # fmt: skip
        page[NAMES_OFFSET : NAMES_OFFSET + len(names)] = names
        WORD.pack_into(page, DIGEST_OFFSET, _digest(page))
        return bytes(page)


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
    magic, version = _PREFIX.unpack_from(page, 0)
    if magic != MAGIC:
        raise CorruptError(f"{path} begins with {magic!r}, not {MAGIC!r}: not a segment; {fix}")
    if version != LAYOUT_VERSION:
        raise VersionError(
            f"{path} has segment layout {version} and this process knows layout {LAYOUT_VERSION}: "
            "run the same version of rtc_ros on both sides"
        )
    if WORD.unpack_from(page, DIGEST_OFFSET)[0] != _digest(page):
        raise CorruptError(f"the header of {path} doesn't match its digest: {fix}")
    (_, _, kind, horizon, action_dim, slots, slot_bytes, body_bytes, names_bytes, period_ns,
     epoch, pid, joints_digest, header_bytes) = _FIXED.unpack_from(page, 0)  # fmt: skip
    try:
        text = page[NAMES_OFFSET : NAMES_OFFSET + min(names_bytes, NAMES_BYTES)].decode()
        spec = HandoffSpec(tuple(text.split("\n")), period_ns / 1e9, horizon)
    except ValueError as error:
        raise CorruptError(f"the header of {path} can't be: {error}; {fix}") from None
    header = Header(kind, spec, slots, body_bytes, epoch, pid)
    if (
        kind not in KINDS
        or not MIN_SLOTS <= slots <= MAX_SLOTS
        or body_bytes < SLOT_HEAD.size
        or (spec.action_dim, spec.period_ns) != (action_dim, period_ns)
        or (spec.digest, header.slot_bytes, HEADER_BYTES)
        != (joints_digest, slot_bytes, header_bytes)
        or header.file_bytes > MAX_SEGMENT_BYTES
    ):
        raise CorruptError(f"the header of {path} contradicts itself: {fix}")
    if file_bytes != header.file_bytes:
        raise CorruptError(
            f"{path} has {file_bytes} bytes and by its header {header.file_bytes}: it was cut "
            f"or extended; {fix}"
        )
    return header


def _digest(page: bytes | bytearray) -> int:
    return xxhash.xxh3_64_intdigest(bytes(page[:DIGEST_OFFSET]) + bytes(page[NAMES_OFFSET:]))
