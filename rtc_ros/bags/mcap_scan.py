"""Reads an mcap file from the front, as far as it goes: no index and no end needed."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
LOOSE_BYTES = 1 << 20
"""Messages outside chunks are batched up to this size."""

_HEAD, _MESSAGE = struct.Struct("<BQ"), struct.Struct("<HIQQ")


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

    def batches(
        self, topics: Collection[str]
    ) -> Iterator[tuple[ScannedChannel, list[int], list[bytes]]]:
        """Yield, for each chunk of the file, channel, log times [ns] and data of ``topics``.

        In a batch the messages are in the order of the file; the batches of one chunk are not
        ordered among each other.
        """
        self.cut = None
        loose = bytearray()
        with self.path.open("rb") as stream:
            stream.seek(len(MAGIC))
            try:
                for code, body in self._records(stream):
                    if code == CHUNK:
                        yield from self._batch(_unpack_chunk(body), topics)
                    elif code == MESSAGE:
                        loose += _HEAD.pack(code, len(body)) + body
                        if len(loose) > LOOSE_BYTES:
                            yield from self._batch(bytes(loose), topics)
                            loose.clear()
                    elif code == DATA_END:
                        break
                    else:
                        self._learn(code, body)
            except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                self.cut = f"damaged before byte {stream.tell()} ({error})"
            if loose:
                yield from self._batch(bytes(loose), topics)

    def _batch(
        self, raw: bytes, topics: Collection[str]
    ) -> Iterator[tuple[ScannedChannel, list[int], list[bytes]]]:
        found: dict[int, tuple[list[int], list[bytes]] | None] = {}
        position, end = 0, len(raw)
        while position + _HEAD.size <= end:
            code, size = _HEAD.unpack_from(raw, position)
            begin, position = position + _HEAD.size, position + _HEAD.size + size
            if position > end:
                raise ValueError("a record is longer than its chunk")
            if code != MESSAGE:
                self._learn(code, raw[begin:position])
                continue
            number, _, log_time, _ = _MESSAGE.unpack_from(raw, begin)
            if number not in found:
                known = self._channels.get(number)
                found[number] = ([], []) if known and known.topic in topics else None
            group = found[number]
            if group is not None:
                group[0].append(log_time)
                group[1].append(raw[begin + _MESSAGE.size : position])
        for number, group in found.items():
            if group is not None:
                yield self._channels[number], *group

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        while head := stream.read(_HEAD.size):
            if len(head) == _HEAD.size:
                code, size = _HEAD.unpack(head)
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
            channel, _, log_time, _ = _MESSAGE.unpack_from(body)
            if channel in self._channels:
                yield self._channels[channel], log_time, body[_MESSAGE.size :]
        else:
            self._learn(code, body)

    def _learn(self, code: int, body: bytes) -> None:
        if code == SCHEMA:
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
