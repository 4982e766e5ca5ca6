"""Reads an mcap file from the front, as far as it goes: no index and no end needed."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2.storage_mcap import McapReader, decompress

from rtc_ros.bags.bag_part import BLOCK_BYTES, SET_BACK_NS, BagPart, Batch, Channel, batched

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
PRIVATE = 0x80
"""From here on records may be of anybody's; below, up to DATA_END, all are known."""

_HEAD, _MESSAGE, _TIMES = struct.Struct("<BQ"), struct.Struct("<HIQQ"), struct.Struct("<QQ")


class McapScan(BagPart):
    """One mcap file.

    Raises:
        ValueError: it isn't an mcap file at all.
    """

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self._schemas: dict[int, tuple[str, str, str]] = {}
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise ValueError("it doesn't begin like an mcap file")
        if not self._read_index():
            for _ in self.blocks(()):
                pass
            self.types = {(c.topic, c.msgtype) for c in self._channels.values()}

    def blocks(self, topics: Collection[str]) -> Iterator[list[Batch]]:
        """Yield the messages of ``topics``, for each chunk of the file a batch of each topic.

        They are in the order in which they were written: where the clock was set back that is
        the truth. Only a file that was written topic by topic is read in the order of time. A
        part that is damaged is passed over.
        """
        if not self._in_order:
            yield from self._by_index(topics)
            return
        lost: list[str] = []
        loose = bytearray()
        with self.path.open("rb") as stream:
            size, at = os.fstat(stream.fileno()).st_size, stream.seek(len(MAGIC))
            while True:
                head = stream.read(_HEAD.size)
                code, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
                # A length from damaged bytes isn't believed before it is known to be there.
                if not code or at + _HEAD.size + length > size:
                    self._say(
                        f"{self.name} was read up to the cut: it ends inside a record at byte {at}"
                        if head
                        else f"{self.name} ends at byte {at} without its closing records: it was "
                        "not closed, or its end is missing"
                    )
                    break
                body = stream.read(length)
                if code == DATA_END and length == 4:
                    break
                block: list[Batch] = []
                try:
                    if code == CHUNK:
                        block = self._block(_unpacked(body), topics)
                        self._see(*_TIMES.unpack_from(body))
                    elif code == MESSAGE:
                        loose += head + body
                    elif DATA_END <= code < PRIVATE:
                        raise ValueError(f"unknown record {code}")
                    else:
                        self._learn(code, body)
                    if len(loose) > BLOCK_BYTES or (loose and code == CHUNK):
                        block = [*self._block(bytes(loose), topics, loose=True), *block]
                        loose.clear()
                except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                    lost.append(f"at byte {at}: {error}")
                if block:
                    yield block
                at += _HEAD.size + length
        if loose:
            yield self._block(bytes(loose), topics, loose=True)
        if lost:
            parts = "1 damaged part" if len(lost) == 1 else f"{len(lost)} damaged parts"
            self._say(f"{parts} of {self.name} left out, {lost[0]}")

    def _block(self, raw: bytes, topics: Collection[str], loose: bool = False) -> list[Batch]:
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
            if loose:
                self._see(log_time, log_time)
            if number not in found:
                known = self._channels.get(number)
                found[number] = ([], []) if known and known.topic in topics else None
            group = found[number]
            if group is not None:
                group[0].append(log_time)
                group[1].append(raw[begin + _MESSAGE.size : position])
        return [(self._channels[n], *group) for n, group in found.items() if group is not None]

    def _read_index(self) -> bool:
        """Take what the file's index says; return whether there is a whole one."""
        reader = McapReader(self.path)
        try:
            reader.open()
        except Exception:  # noqa: BLE001 - whatever broken bytes lead to
            return False
        about, starts = reader.metadata, [c.message_start_time for c in reader.chunks]
        self.types = {(c.topic, c.msgtype) for c in reader.connections}
        for c in reader.connections:
            self.counts[c.topic] = self.counts.get(c.topic, 0) + c.msgcount
        if about.message_count:
            self.first_ns, self.last_ns = about.start_time, about.end_time - 1
        reader.close()
        if any(b < a - SET_BACK_NS for a, b in pairwise(starts)):
            self._in_order = self._set_back()
        return True

    def _set_back(self) -> bool:
        """Return whether a topic's own times go back: then the clock did."""
        last: dict[str, int] = {}
        for block in self.blocks({topic for topic, _ in self.types}):
            for channel, times, _ in block:
                for time_ns in times:
                    if time_ns < last.get(channel.topic, time_ns) - SET_BACK_NS:
                        return True
                    last[channel.topic] = time_ns
        return False

    def _by_index(self, topics: Collection[str]) -> Iterator[list[Batch]]:
        """Read in the order of time by the index: the file's own order is another."""
        reader = McapReader(self.path)
        try:
            reader.open()
            wanted = [c for c in reader.connections if c.topic in topics]
            channels = {c.id: _channel_of(c) for c in wanted}
            messages = ((channels[c.id], t, data) for c, t, data in reader.messages(wanted))
            yield from batched(messages, BLOCK_BYTES)
        except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
            self._say(f"{self.name} was read up to a damaged part ({error})")
        finally:
            if reader.bio is not None:
                reader.close()

    def _learn(self, code: int, body: bytes) -> None:
        if code == SCHEMA:
            name, encoding, text = _strings(body, 2, 3)
            self._schemas[struct.unpack_from("<H", body)[0]] = (name, encoding, text)
        elif code == CHANNEL:
            channel, schema = struct.unpack_from("<HH", body)
            topic, _ = _strings(body, 4, 2)
            self._channels[channel] = Channel(topic, *self._schemas.get(schema, ("", "", "")))


def _channel_of(connection: object) -> Channel:
    definition = connection.msgdef  # type: ignore[attr-defined]
    encoding = "ros2msg" if definition.format == MessageDefinitionFormat.MSG else "ros2idl"
    topic, msgtype = connection.topic, connection.msgtype  # type: ignore[attr-defined]
    return Channel(topic, msgtype, encoding, definition.data)


def _unpacked(body: bytes) -> bytes:
    _, _, size, crc = struct.unpack_from("<QQQI", body)
    (compression,) = _strings(body, 28, 1)
    return bytes(decompress(body[28 + 4 + len(compression) + 8 :], compression, size, crc))


def _strings(body: bytes, offset: int, count: int) -> tuple[str, ...]:
    found = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", body, offset)
        if offset + 4 + size > len(body):
            raise ValueError("a record ends inside a text")
        found.append(body[offset + 4 : offset + 4 + size].decode())
        offset += 4 + size
    return tuple(found)
