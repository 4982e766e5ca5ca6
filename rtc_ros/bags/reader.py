"""Opens rosbag2 recordings without ROS: folders, single files, and what a crash left of them."""

from __future__ import annotations

import functools
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rtc_ros.bags import bag_files
from rtc_ros.bags.bag_files import BagFile, Contents, zstd
from rtc_ros.bags.bag_part import BLOCK_BYTES, Batch, Channel
from rtc_ros.bags.message_types import standard_types

_ZSTD = b"\x28\xb5\x2f\xfd"
"""Begins a message that was compressed by itself; CDR begins otherwise."""


class BagError(Exception):
    """A recording can't be used; the text is a sentence for the user."""


class Bag:
    """A recording, opened for reading with ``with``. Nothing in it is changed.

    ``topics`` maps topic names to message types; a topic that has several isn't among them but
    in ``mixed``. ``notes`` are sentences about the recording, what is missing in it first of
    all, that a report has to pass on: complete once the messages were read.

    Args:
        path: a rosbag2 folder (mcap or sqlite3, compressed or not, split or not), or one of its
            files. Of files that were cut off, damaged or lost the rest is read.

    Raises:
        BagError: there is no such recording, or it holds nothing readable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.topics: dict[str, str] = {}
        self.mixed: dict[str, set[str]] = {}
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._groups: list[list[BagFile]] = []
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Bag:
        try:
            self._open()
        except OSError as error:
            self._stack.close()
            raise BagError(f"{self.path} can't be read: {error}") from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, receive time [ns] and message of ``topics``, one message at a time.

        Those of one topic come in their order; of those that can't be read ``notes`` says how
        many they were.
        """
        damaged: Counter[str] = Counter()
        for channel, times, data in self._batches(topics):
            for time_ns, raw in zip(times, data, strict=True):
                try:
                    message = _store(channel).deserialize_cdr(raw, channel.msgtype)
                except Exception:  # noqa: BLE001 - whatever broken bytes lead to
                    damaged[channel.topic] += 1
                    continue
                yield channel.topic, time_ns, message
        for topic, count in damaged.items():
            self._note(f"{count} damaged messages on {topic} left out")

    def batches(self, *topics: str) -> Iterator[tuple[str, list[int], list[bytes]]]:
        """Yield topic, receive times [ns] and serialized messages of ``topics``, many at a time.

        Messages of one topic come in their order; topics are together to about a chunk of the
        file. All are little endian CDR of the standard definition.

        Raises:
            BagError: a topic's type is defined otherwise than in ROS.
        """
        for channel, times, data in self._batches(topics):
            self._check_definition(channel)
            yield channel.topic, times, data

    def _open(self) -> None:
        found = self._contents()
        self.notes += found.notes
        self._counts = dict(found.counts)
        scratch = Path(self._stack.enter_context(TemporaryDirectory(prefix="rtc_ros_bag_")))
        files: dict[str, BagFile] = {}
        paths: dict[str, Path] = {}
        broken: list[str] = []
        self._stack.callback(lambda: bag_files.closed(list(files.values())))
        for path in sorted(found.files):
            try:
                file = bag_files.opened(path, scratch)
            except (ValueError, OSError, MemoryError) as error:
                broken.append(f"{path.name} can't be read: {' '.join(str(error).split())}")
                continue
            files[file.name], paths[file.name] = file, path
        problems = [*broken, *(p for f in files.values() for p in f.problems)]
        if problems and all(f.first_ns is None for f in files.values()):
            first = "; ".join(problems[:3]) + (" …" if len(problems) > 3 else "")
            raise BagError(f"{self.path} holds nothing that can be read: {first}")
        for text in broken:
            self._note(f"{text}; what it held is missing")
        kept, doubles = bag_files.without_doubles(list(files.values()))
        self._groups, unclear = bag_files.in_order(kept, [paths[f.name] for f in kept])
        for text in (*doubles, unclear, *(p for f in kept for p in f.problems)):
            self._note(text)
        self._learn(kept)

    def _contents(self) -> Contents:
        path = self.path
        if not path.exists():
            raise BagError(f"there is no {path}")
        if path.is_file():
            if not bag_files.is_recording(path):
                raise BagError(f"{path} is not a rosbag2 recording: name a folder, .mcap or .db3")
            beside = [p for p in path.parent.iterdir() if bag_files.is_recording(p)]
            if len(beside) < 2 or bag_files.numbers_of(beside) is None:
                return Contents([path])
            said = f"only {path.name} was read, of the {len(beside)} files of its recording"
            return Contents([path], notes=[said])
        found = bag_files.contents(path)
        if not found.files:
            lacks = (
                "no .mcap or .db3 file beside its metadata.yaml"
                if (path / bag_files.METADATA).exists()
                else "neither metadata.yaml nor an .mcap or .db3 file"
            )
            raise BagError(f"{path} holds {lacks}")
        return found

    def _learn(self, files: Sequence[BagFile]) -> None:
        types: dict[str, set[str]] = {}
        counts: Counter[str] = Counter()
        for file in files:
            counts.update(file.counts)
            for topic, msgtype in file.types:
                types.setdefault(topic, set()).add(msgtype)
        for topic, known in sorted(types.items()):
            if len(known) > 1:
                self.mixed[topic] = known
            else:
                self.topics[topic] = next(iter(known))
        for topic, count in counts.items():
            self._counts[topic] = max(count, self._counts.get(topic, 0))

    def _batches(self, topics: Sequence[str]) -> Iterator[Batch]:
        """Yield the messages as they were sent, and note what is missing."""
        seen: Counter[str] = Counter()
        damaged: Counter[str] = Counter()
        for group in self._groups:
            blocks = group[0].blocks(topics) if len(group) == 1 else _merged(group, topics)
            for block in blocks:
                for channel, times, data in block:
                    seen[channel.topic] += len(times)
                    plain = [_plain(d, channel) for d in data]
                    if None in plain:
                        damaged[channel.topic] += plain.count(None)
                        times = [t for t, d in zip(times, plain, strict=True) if d is not None]
                    yield channel, times, [d for d in plain if d is not None]
            for file in group:
                for text in file.problems:
                    self._note(text)
        for topic in topics:
            if damaged[topic]:
                self._note(f"{damaged[topic]} damaged messages on {topic} left out")
            expected = self._counts.get(topic, 0)
            if seen[topic] < expected:
                self._note(
                    f"of the {expected} messages that were recorded on {topic} "
                    f"{expected - seen[topic]} are missing"
                )

    def _check_definition(self, channel: Channel) -> None:
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

    def _note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)


def _merged(files: Sequence[BagFile], topics: Sequence[str]) -> Iterator[list[Batch]]:
    """Yield the messages of files that overlap, in the order of time."""
    block: dict[Channel, tuple[list[int], list[bytes]]] = {}
    size = 0
    singles = [_singly(f, topics) for f in files]
    for time_ns, channel, data in heapq.merge(*singles, key=lambda m: m[0]):
        times, messages = block.setdefault(channel, ([], []))
        times.append(time_ns)
        messages.append(data)
        size += len(data)
        if size > BLOCK_BYTES:
            yield [(c, *group) for c, group in block.items()]
            block, size = {}, 0
    yield [(c, *group) for c, group in block.items()]


def _singly(file: BagFile, topics: Sequence[str]) -> Iterator[tuple[int, Channel, bytes]]:
    for block in file.blocks(topics):
        yield from sorted(
            ((t, c, d) for c, times, data in block for t, d in zip(times, data, strict=True)),
            key=lambda m: m[0],
        )


def _plain(data: bytes, channel: Channel) -> bytes | None:
    """Return the message as little endian CDR, None where it is damaged."""
    if data[:2] == b"\x00\x01":
        return data
    try:
        if data.startswith(_ZSTD):
            data = zstd.decompress(data)
            if data[:2] == b"\x00\x01":
                return data
        store = _store(channel)
        return bytes(
            store.serialize_cdr(store.deserialize_cdr(data, channel.msgtype), channel.msgtype)
        )
    except Exception:  # noqa: BLE001 - whatever broken bytes lead to
        return None


@functools.lru_cache(maxsize=64)
def _is_standard(channel: Channel) -> bool:
    store = standard_types()
    if not channel.definition or channel.msgtype not in store.fielddefs:
        return True
    return bool(_store(channel).hash_rihs01(channel.msgtype) == store.hash_rihs01(channel.msgtype))


@functools.lru_cache(maxsize=64)
def _store(channel: Channel) -> Typestore:
    """Return the types for one channel, from the definition that the file carries."""
    if not channel.definition:
        return standard_types()
    store = get_typestore(Stores.EMPTY)
    if channel.encoding == "ros2msg":
        store.register(get_types_from_msg(channel.definition, channel.msgtype))
        return store
    types: dict[str, Any] = {}
    # Several definitions come one after the other, each with a headline.
    for text in channel.definition.split("=" * 80 + "\n"):
        if text.strip():
            types |= get_types_from_idl(text.split("\n", 1)[1] if text[:5] == "IDL: " else text)
    store.register(types)
    return store
