"""Opens rosbag2 recordings without ROS: folders, single files, and what a crash left of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rtc_ros.tools.mcap_scan import McapScan, ScannedChannel
from rtc_ros.tools.message_types import standard_types


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
        """Yield topic, receive time [ns] and message of ``topics``, one message at a time."""
        for source in self._sources:
            if isinstance(source, McapScan):
                yield from self._scanned(source, set(topics))
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
