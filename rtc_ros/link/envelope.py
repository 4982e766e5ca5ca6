"""What crosses between two machines: who says it to whom, and at most one slot.

A message is the ``ENVELOPE``, the joint names, a slot's body (or nothing) and a 64-bit digest over
all of it. Little-endian, declared once as a numpy dtype; nothing is unpickled, and no length is
believed before the digest agrees.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import xxhash

from rtc_ros.handoff.records import KINDS, Record
from rtc_ros.handoff.spec import HandoffSpec

MAGIC = b"rtc_link"
NAME_BYTES = 64
_digest = xxhash.xxh3_64_intdigest

_FIELDS: list[tuple[str, str]] = [
    ("magic", "S8"),
    ("layout", "<u8"),  # of this declaration and of the segment's records
    ("robot", f"S{NAME_BYTES}"),
    ("sender", f"S{NAME_BYTES}"),  # host and process, for people
    ("boot", "<u8"),
    ("session", "<u8"),
    ("to", "<u8"),
    ("number", "<u8"),
    ("sent_ns", "<i8"),
    ("wall_ns", "<i8"),
    ("echo_sent_ns", "<i8"),
    ("echo_received_ns", "<i8"),
    ("ack_run", "<u8"),
    ("ack_seq", "<i8"),
    ("image_request", "<u8"),
    ("kind", "<u4"),
    ("horizon", "<u4"),
    ("period_ns", "<u8"),
    ("run", "<u8"),
    ("retired", "<u4"),
    ("names_bytes", "<u4"),
    ("body_bytes", "<u4"),
    ("hindrance_bytes", "<u4"),
    ("ready_ns", "<i8"),
]
ENVELOPE: np.dtype[np.void] = np.dtype(_FIELDS)
_LAYOUT = _digest(repr((_FIELDS, [(k, r.digest) for k, r in KINDS.items()])).encode())


class EnvelopeError(ValueError):
    """A message that isn't whole, or not one of this version's; the text says which."""


@dataclass(frozen=True)
class Envelope:
    """One message. Times are the sender's CLOCK_MONOTONIC [ns], but ``wall_ns``, its ROS time.

    ``session`` is the sender's process and ``to`` the one that it speaks to (0: to whoever is
    there); ``boot`` the sender's boot. ``number`` counts its messages. ``echo_*`` tell of the
    newest message that it had from there: when that was sent, by the receiver's clock, and when
    it came, by the sender's. ``ack_*`` name the newest slot that it has mirrored.
    ``image_request`` counts the images asked for. ``kind`` to ``names`` are of the segment that
    the sender mirrors (run 0: there is none yet), ``body`` one of its slots, or empty.
    """

    robot: str
    sender: str
    boot: int
    session: int
    to: int
    number: int
    sent_ns: int
    wall_ns: int
    kind: int
    echo_sent_ns: int = 0
    echo_received_ns: int = 0
    ack_run: int = 0
    ack_seq: int = 0
    image_request: int = 0
    horizon: int = 0
    period_ns: int = 0
    run: int = 0
    retired: bool = False
    ready_ns: int = 0
    hindrance: str = ""
    names: bytes = b""
    body: bytes = b""

    @property
    def record(self) -> Record:
        """What the segment's slots hold."""
        return KINDS[self.kind]

    def spec(self) -> HandoffSpec:
        """Return what the segment was made for; raises EnvelopeError where that can't be."""
        try:
            joints = tuple(self.names.decode().split("\n"))
            return HandoffSpec(joints, self.period_ns / 1e9, self.horizon)
        except ValueError as error:
            raise EnvelopeError(f"its segment can't be: {error}") from None

    def pack(self) -> bytes:
        """Return the message."""
        head = np.zeros((), ENVELOPE)
        for name in _PLAIN:
            head[name] = getattr(self, name)
        head["magic"], head["layout"] = MAGIC, _LAYOUT
        head["robot"], head["sender"] = self.robot.encode(), self.sender.encode()
        hindrance = self.hindrance.encode()
        head["names_bytes"], head["body_bytes"] = len(self.names), len(self.body)
        head["hindrance_bytes"] = len(hindrance)
        whole = head.tobytes() + self.names + hindrance + self.body
        return whole + _digest(whole).to_bytes(8, "little")


_PLAIN = tuple(
    f.name
    for f in fields(Envelope)
    if f.name not in ("robot", "sender", "hindrance", "names", "body")
)


def unpack(data: bytes) -> Envelope:
    """Return a message that came whole; raises EnvelopeError."""
    size = ENVELOPE.itemsize
    if len(data) < size + 8 or data[: len(MAGIC)] != MAGIC:
        raise EnvelopeError(f"{len(data)} bytes that are no message of an rtc_link")
    if _digest(data[:-8]) != int.from_bytes(data[-8:], "little"):
        raise EnvelopeError(f"a torn message: the digest of its {len(data)} bytes doesn't agree")
    head = np.frombuffer(data, ENVELOPE, 1)[0]
    if head["layout"] != _LAYOUT:
        raise EnvelopeError(
            f"a message of another version (layout {int(head['layout']):016x}, here "
            f"{_LAYOUT:016x}): run the same version of rtc_ros on both machines"
        )
    names, body = int(head["names_bytes"]), int(head["body_bytes"])
    size_of_all = size + names + int(head["hindrance_bytes"]) + body + 8
    if size_of_all != len(data) or int(head["kind"]) not in KINDS:
        raise EnvelopeError(f"a message of {len(data)} bytes that contradicts itself")
    try:
        robot, sender = head["robot"].decode(), head["sender"].decode()
    except UnicodeDecodeError:
        raise EnvelopeError("a message whose sender's name isn't text") from None
    values = {name: head[name].item() for name in _PLAIN}
    values["retired"] = bool(values["retired"])
    begin, end = size + names, len(data) - 8 - body
    return Envelope(
        robot=robot,
        sender=sender,
        hindrance=data[begin:end].decode("utf-8", "replace"),
        names=data[size:begin],
        body=data[end:-8],
        **values,
    )
