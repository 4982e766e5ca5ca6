"""Reads an mcap file from the front, as far as it goes: no index and no end needed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


@dataclass(frozen=True)
class ScannedChannel:
    """A topic with its type, and the type's definition with its encoding (``ros2msg``)."""

    topic: str
    msgtype: str
    encoding: str
    definition: str


class McapScan:
    """One pass over a file. ``cut`` says, after the pass, why it ended early; None: it didn't.

    Args:
        path: the .mcap file.

    Raises:
        ValueError: it isn't an mcap file at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut: str | None = None
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, ScannedChannel] = {}
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{path} is not an mcap file: it doesn't begin like one")

    def messages(self) -> Iterator[tuple[ScannedChannel, int, bytes]]:
        """Yield channel, log time [ns] and serialized data, in the order of the file."""
        self.cut = None
        with self.path.open("rb") as stream:
            stream.seek(len(MAGIC))
            try:
                for code, body in self._records(stream):
                    if code == DATA_END:
                        return
                    if code == CHUNK:
                        for record in list(self._records(BytesIO(_unpack_chunk(body)))):
                            yield from self._read(*record)
                    else:
                        yield from self._read(code, body)
            except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                self.cut = f"damaged before byte {stream.tell()} ({error})"

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        while head := stream.read(9):
            if len(head) == 9:
                code, size = struct.unpack("<BQ", head)
                begin = stream.tell()
                # A size from damaged bytes must not be believed before it is known to be there.
                end = stream.seek(0, 2)
                stream.seek(begin)
                if begin + size <= end:
                    yield code, stream.read(size)
                    continue
            self.cut = f"the file ends inside a record at byte {stream.tell()}"
            return
        if self.cut is None and not isinstance(stream, BytesIO):
            self.cut = f"the file ends at byte {stream.tell()} without the closing records"

    def _read(self, code: int, body: bytes) -> Iterator[tuple[ScannedChannel, int, bytes]]:
        if code == MESSAGE:
            channel, _, log_time, _ = struct.unpack_from("<HIQQ", body)
            if channel in self._channels:
                yield self._channels[channel], log_time, body[22:]
        elif code == SCHEMA:
            name, encoding, text = _strings(body, 2, 3)
            self._schemas[struct.unpack_from("<H", body)[0]] = (name, encoding, text)
        elif code == CHANNEL:
            channel, schema = struct.unpack_from("<HH", body)
            topic, _ = _strings(body, 4, 2)
            self._channels[channel] = ScannedChannel(
                topic, *self._schemas.get(schema, ("", "", ""))
            )


def _unpack_chunk(body: bytes) -> bytes:
    _, _, size, crc = struct.unpack_from("<QQQI", body)
    (compression,) = _strings(body, 28, 1)
    return decompress(body[28 + 4 + len(compression) + 8 :], compression, size, crc)


def _strings(body: bytes, offset: int, count: int) -> tuple[str, ...]:
    found = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", body, offset)
        found.append(body[offset + 4 : offset + 4 + size].decode())
        offset += 4 + size
    return tuple(found)
