"""Opens rosbag2 recordings without ROS: folders, single files, and what a crash left of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rtc_ros.bags.mcap_scan import McapScan, ScannedChannel
from rtc_ros.bags.message_types import standard_types

BATCH = 2000
"""Messages read at a time where the storage doesn't say."""


class BagError(Exception):
    """A recording can't be used; the text is a sentence for the user."""


class Bag:
    """A recording, opened for reading with ``with``.

    ``topics`` maps topic names to message types. ``notes`` are sentences about the recording
    that a report has to pass on, complete once the messages were read.

    Args:
        path: a rosbag2 folder (mcap or sqlite3, compressed or not), or one .mcap or .db3 file.
            An unfinished mcap is read up to where it was cut off.

    Raises:
        BagError: there is no such recording, or it holds nothing readable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.topics: dict[str, str] = {}
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._sources: list[AnyReader | McapScan] = []

    def __enter__(self) -> Bag:
        for part in self._parts():
            try:
                reader = AnyReader([part], default_typestore=standard_types())
                self._stack.enter_context(reader)
                self._sources.append(reader)
                self._learn((c.topic, c.msgtype) for c in reader.connections)
            except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                self._salvage(part, error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, receive time [ns] and message of ``topics``, one message at a time.

        Those of one topic come in their order.
        """
        for source in self._sources:
            scans = [source] if isinstance(source, McapScan) else _mcap_files(source)
            # rosbags goes by the index, which not every profile of `ros2 bag` writes.
            for scan in scans:
                yield from self._scanned(scan, set(topics))
                self._note_cut(scan)
            if scans or isinstance(source, McapScan):
                continue
            connections = [c for c in source.connections if c.topic in topics]
            if not connections:
                continue
            try:
                for connection, time_ns, data in source.messages(connections=connections):
                    yield connection.topic, time_ns, source.deserialize(data, connection.msgtype)
            except GeneratorExit:
                raise
            except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                self._note(f"reading {self.path} ended early: {error}")

    def batches(self, *topics: str) -> Iterator[tuple[str, list[int], list[bytes]]]:
        """Yield topic, receive times [ns] and serialized messages of ``topics``, many at a time.

        Messages of one topic come in their order; topics are together to about a chunk of the
        file. All are little endian CDR of the standard definition.

        Raises:
            BagError: a topic's type is defined otherwise than in ROS.
        """
        for source in self._sources:
            scans = [source] if isinstance(source, McapScan) else _mcap_files(source)
            for scan in scans:
                for channel, times, data in scan.batches(topics):
                    self._check_definition(channel)
                    yield channel.topic, times, [_little(d, channel.msgtype) for d in data]
                self._note_cut(scan)
            if not scans and isinstance(source, AnyReader):
                yield from self._stored(source, topics)

    def _stored(
        self, source: AnyReader, topics: Sequence[str]
    ) -> Iterator[tuple[str, list[int], list[bytes]]]:
        connections = [c for c in source.connections if c.topic in topics]
        if not connections:
            return
        waiting: dict[str, tuple[list[int], list[bytes]]] = {}
        count = 0
        try:
            for connection, time_ns, data in source.messages(connections=connections):
                times, messages = waiting.setdefault(connection.topic, ([], []))
                times.append(time_ns)
                messages.append(_little(bytes(data), connection.msgtype))
                count += 1
                if count == BATCH:
                    yield from ((topic, *group) for topic, group in waiting.items())
                    waiting, count = {}, 0
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
            self._note(f"reading {self.path} ended early: {error}")
        yield from ((topic, *group) for topic, group in waiting.items())

    def _note_cut(self, scan: McapScan) -> None:
        if scan.cut is not None and "closing records" not in scan.cut:
            self._note(f"{scan.path.name} was read up to the cut: {scan.cut}")

    def _check_definition(self, channel: ScannedChannel) -> None:
        try:
            same = _is_standard(channel)
        except Exception as error:  # noqa: BLE001 - whatever broken text leads to
            raise BagError(
                f"{self.path}: the definition of {channel.topic} can't be read: {error}"
            ) from error
        if not same:
            raise BagError(
                f"{self.path}: {channel.topic} has another definition of {channel.msgtype} than "
                "ROS 2 has"
            )

    def _parts(self) -> list[Path]:
        path = self.path
        if not path.exists():
            raise BagError(f"there is no {path}")
        if path.is_file():
            if path.suffix not in (".mcap", ".db3"):
                raise BagError(f"{path} is not a rosbag2 recording: name a folder, .mcap or .db3")
            return [path]
        if (path / "metadata.yaml").is_file():
            return [path]
        files = sorted([*path.glob("*.mcap"), *path.glob("*.db3")])
        if not files:
            raise BagError(f"{path} holds neither metadata.yaml nor an .mcap or .db3 file")
        self._note(f"{path} has no metadata.yaml: the recording was not finished")
        return files

    def _salvage(self, part: Path, error: Exception) -> None:
        files = sorted(part.glob("*.mcap")) if part.is_dir() else [part]
        readable = 0
        for file in files:
            if file.suffix != ".mcap":
                continue
            try:
                scan = McapScan(file)
                found = {(c.topic, c.msgtype) for c, _, _ in scan.messages()}
            except (ValueError, OSError):
                continue
            if found:
                readable += 1
                self._sources.append(scan)
                self._learn(iter(found))
            if scan.cut is not None:
                self._note(f"{file.name} is not complete, read up to the cut: {scan.cut}")
        if not readable:
            why = " ".join(str(error).split()) or type(error).__name__
            raise BagError(f"{part} can't be read: {why}") from error

    def _scanned(self, scan: McapScan, topics: set[str]) -> Iterator[tuple[str, int, Any]]:
        for channel, time_ns, data in scan.messages():
            if channel.topic not in topics:
                continue
            try:
                message = _store(channel).deserialize_cdr(data, channel.msgtype)
            except Exception as error:  # noqa: BLE001 - whatever broken bytes lead to
                self._note(f"reading {scan.path.name} ended early: {error}")
                return
            yield channel.topic, time_ns, message

    def _learn(self, pairs: Iterator[tuple[str, str]]) -> None:
        for topic, msgtype in pairs:
            known = self.topics.setdefault(topic, msgtype)
            if known != msgtype:
                raise BagError(f"{self.path}: {topic} has two types, {known} and {msgtype}")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _mcap_files(reader: AnyReader) -> list[McapScan]:
    """Return the files that can be read without rosbags: mcap, messages not compressed singly."""
    scans = []
    for part in reader.readers:
        if getattr(part, "compression_mode", None) == "message":
            return []
        storage = getattr(part, "storage", None)
        for file in getattr(storage, "storages", [storage]):
            if not isinstance(file, McapReader):
                return []
            try:
                scans.append(McapScan(Path(str(file.path))))
            except (ValueError, OSError):
                return []
    return scans


def _little(data: bytes, msgtype: str) -> bytes:
    """Return the message as little endian CDR."""
    if data[:2] == b"\x00\x01":
        return data
    store = standard_types()
    try:
        return bytes(store.serialize_cdr(store.deserialize_cdr(data, msgtype), msgtype))
    except Exception:  # noqa: BLE001 - damaged: whoever reads it says so
        return data


@functools.lru_cache(maxsize=64)
def _is_standard(channel: ScannedChannel) -> bool:
    store = standard_types()
    if not channel.definition or channel.msgtype not in store.fielddefs:
        return True
    return bool(_store(channel).hash_rihs01(channel.msgtype) == store.hash_rihs01(channel.msgtype))


@functools.lru_cache(maxsize=64)
def _store(channel: ScannedChannel) -> Typestore:
    """Return the types for one channel, from the definition that the file carries."""
    if not channel.definition:
        return standard_types()
    store = get_typestore(Stores.EMPTY)
    parse = (
        get_types_from_msg(channel.definition, channel.msgtype)
        if channel.encoding == "ros2msg"
        else get_types_from_idl(channel.definition)
    )
    store.register(parse)
    return store
