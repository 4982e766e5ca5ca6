"""Reads serialized ROS 2 messages (CDR, little endian) many at a time, without message objects.

A recording of hours holds millions of messages that differ in their numbers only: what comes
before the numbers is compared, not parsed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LITTLE_ENDIAN = (b"\x00\x01",)
_U32 = struct.Struct("<I")
_STAMP = struct.Struct("<iI")
_START = 4
"""CDR's own header; alignment counts from its end."""


class CdrError(ValueError):
    """A message's bytes aren't what its type says."""


@dataclass(frozen=True, eq=False)
class JointStates:
    """n messages that say the same but for their numbers.

    ``index`` int[n] are their places among those that were given, ``stamp_ns`` int64[n] (0: no
    stamp), ``position`` [n, P] and ``velocity`` [n, V].
    """

    index: np.ndarray
    frame_id: str
    names: tuple[str, ...]
    stamp_ns: np.ndarray
    position: np.ndarray
    velocity: np.ndarray

    def times_ns(self, received_ns: np.ndarray) -> np.ndarray:
        """Return the stamps, or the receive times [ns] of those without; int64[n]."""
        return np.where(self.stamp_ns != 0, self.stamp_ns, received_ns[self.index])


@dataclass(frozen=True)
class Trajectory:
    """A JointTrajectory: its header, joints, and positions [rows, joints]."""

    stamp_ns: int
    frame_id: str
    names: tuple[str, ...]
    positions: np.ndarray


class Reader:
    """Walks one message."""

    def __init__(self, data: bytes) -> None:
        if data[:2] not in LITTLE_ENDIAN:
            raise CdrError("not little endian CDR")
        self.data = data
        self.at = _START

    def count(self) -> int:
        """Read an unsigned 32-bit number."""
        self.at += -(self.at - _START) % 4
        if self.at + 4 > len(self.data):
            raise CdrError("a message ends too early")
        (value,) = _U32.unpack_from(self.data, self.at)
        self.at += 4
        return int(value)

    def text(self) -> str:
        """Read a string."""
        size = self.count()
        end = self.at + size
        if end > len(self.data):
            raise CdrError("a message ends inside a string")
        text = self.data[self.at : max(self.at, end - 1)].decode("utf-8", "replace")
        self.at = end
        return text

    def texts(self) -> tuple[str, ...]:
        """Read a sequence of strings."""
        return tuple(self.text() for _ in range(self._length(4)))

    def stamp_ns(self) -> int:
        """Read a time [ns]."""
        self.count()
        self.count()
        seconds, nanoseconds = _STAMP.unpack_from(self.data, self.at - 8)
        return int(seconds) * 10**9 + int(nanoseconds)

    def doubles(self) -> tuple[int, int]:
        """Pass over a sequence of float64; return where it begins and how many they are."""
        size = self._length(8)
        if size:
            self.at += -(self.at - _START) % 8
        begin = self.at
        self.at += 8 * size
        if self.at > len(self.data):
            raise CdrError("a message ends inside its numbers")
        return begin, size

    def _length(self, item: int) -> int:
        size = self.count()
        if size * item > len(self.data):
            raise CdrError(f"a sequence of {size} in a message of {len(self.data)} bytes")
        return size


def joint_states(messages: Sequence[bytes]) -> Iterator[JointStates]:
    """Yield sensor_msgs/JointState messages in groups that differ in numbers only.

    Raises:
        CdrError: one of them is damaged.
    """
    by_size: dict[int, list[int]] = {}
    for place, data in enumerate(messages):
        by_size.setdefault(len(data), []).append(place)
    for places in by_size.values():
        raw = np.frombuffer(b"".join([messages[i] for i in places]), dtype=np.uint8)
        rows, index = raw.reshape(len(places), -1), np.array(places)
        while len(index):
            alike, group = _joint_states_like_first(rows, index)
            yield group
            rows, index = rows[~alike], index[~alike]


def _joint_states_like_first(
    rows: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, JointStates]:
    reader = Reader(rows[0].tobytes())
    reader.stamp_ns()
    text_begin = reader.at
    frame_id, names = reader.text(), reader.texts()
    position, velocity = reader.doubles(), reader.doubles()
    alike = np.ones(len(rows), dtype=bool)
    for begin, end in (
        (text_begin, position[0]),
        (position[0] + 8 * position[1], velocity[0]),
        (0, 2),
    ):
        alike &= (rows[:, begin:end] == rows[0, begin:end]).all(axis=1)
    chosen = rows if alike.all() else rows[alike]
    stamps = np.ascontiguousarray(chosen[:, _START : _START + 8])
    seconds = stamps.view("<i4")[:, 0].astype(np.int64)
    nanoseconds = stamps.view("<u4")[:, 1].astype(np.int64)

    def numbers(place: tuple[int, int]) -> np.ndarray:
        begin, size = place
        block = np.ascontiguousarray(chosen[:, begin : begin + 8 * size])
        return block.view("<f8") if size else np.zeros((len(chosen), 0))

    return alike, JointStates(
        index[alike],
        frame_id,
        names,
        seconds * 10**9 + nanoseconds,
        numbers(position),
        numbers(velocity),
    )


def stamp_ns(data: bytes) -> int:
    """Return the stamp [ns] of a message that begins with a header; 0: it has none.

    Raises:
        CdrError: it is damaged.
    """
    return Reader(data).stamp_ns()


def trajectory(data: bytes) -> Trajectory:
    """Read a trajectory_msgs/JointTrajectory.

    Raises:
        CdrError: it is damaged, or its points have unequal numbers of positions.
    """
    reader = Reader(data)
    stamp, frame_id, names = reader.stamp_ns(), reader.text(), reader.texts()
    count = reader.count()
    rows: list[np.ndarray] = []
    while len(rows) < count:
        if len(rows) == 1:
            block = _like_rows(reader, count - 1, len(rows[0]))
            if block is not None:
                rows.extend(block)
                break
        rows.append(_point(reader))
    if len({len(row) for row in rows}) > 1:
        raise CdrError("the points of a trajectory have unequal numbers of positions")
    return Trajectory(stamp, frame_id, names, np.array(rows, dtype=np.float64))


def _point(reader: Reader) -> np.ndarray:
    begin, size = reader.doubles()
    for _ in range(3):
        reader.doubles()
    reader.stamp_ns()
    return np.frombuffer(reader.data, dtype="<f8", count=size, offset=begin)


def _like_rows(reader: Reader, count: int, width: int) -> np.ndarray | None:
    """Return ``count`` further points with positions [width] only, None where they are others.

    From the second point on they are evenly spaced: a count, the positions, three empty
    sequences and a duration.
    """
    data, at, pitch = reader.data, reader.at, 8 * width + 24
    if (at - _START) % 8 != 4 or not width or at + count * pitch > len(data):
        return None
    for offset, expected in ((0, width), *((4 + 8 * width + 4 * i, 0) for i in range(3))):
        lengths: np.ndarray = np.ndarray((count,), "<u4", data, at + offset, (pitch,))
        if (lengths != expected).any():
            return None
    reader.at = at + count * pitch
    return np.ndarray((count, width), "<f8", data, at + 4, (pitch, 8))


def status_values(data: bytes) -> dict[str, str]:
    """Return the key-value pairs of a diagnostic_msgs/DiagnosticStatus.

    Raises:
        CdrError: it is damaged.
    """
    reader = Reader(data)
    reader.at += 1  # the level
    for _ in range(3):
        reader.text()
    return {reader.text(): reader.text() for _ in range(reader.count())}


def string(data: bytes) -> str:
    """Return what a std_msgs/String says.

    Raises:
        CdrError: it is damaged.
    """
    return Reader(data).text()
