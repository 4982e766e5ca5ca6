"""Reads a rosbag2 sqlite3 file without changing it: closed, killed at work, or cut off."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from rtc_ros.bags.bag_part import BLOCK_BYTES, SET_BACK_NS, BagPart, Batch, Channel, batched

ROWS = 2000
"""Messages read at a time."""

LOGS = ("-wal", "-journal")
"""End the names of the files that sqlite3 leaves beside a database that was not closed."""

_ALL = 2**63 - 1


class SqliteFile(BagPart):
    """One sqlite3 file.

    With a log beside it (``-wal``, ``-journal``) both are copied to ``scratch`` and sqlite3 puts
    them together there. Of a damaged file the messages before the damage are read.

    Raises:
        ValueError: it isn't a rosbag2 database, or nothing in it can be read.
    """

    def __init__(self, path: Path, name: str, scratch: Path) -> None:
        super().__init__(path, name)
        self._until = _ALL
        logs = [s for s in LOGS if _size(path, s)]
        if not _size(path, "") and not logs:
            raise ValueError("it is empty")
        file = self._put_together(logs, scratch) if logs else path
        self._db = _opened(_whole_pages(file, scratch))
        try:
            self._look()
        except sqlite3.Error as error:
            self.close()
            raise ValueError(str(error)) from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def blocks(self, topics: Collection[str]) -> Iterator[list[Batch]]:
        """Yield the messages of ``topics`` in parts, ordered as ``McapScan`` does."""
        yield from batched(self._messages(topics), BLOCK_BYTES, ROWS)

    def _messages(self, topics: Collection[str]) -> Iterator[tuple[Channel, int, bytes]]:
        wanted = {i: c for i, c in self._channels.items() if c.topic in topics}
        if not wanted:
            return
        query = (
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({','.join('?' * len(wanted))}) AND id <= ? "
            f"ORDER BY {'id' if self._in_order else '+timestamp, id'}"
        )
        odd = 0
        try:
            rows = self._db.execute(query, (*wanted, self._until))
            for topic, time_ns, data in rows:
                if isinstance(time_ns, int) and isinstance(data, bytes):
                    yield wanted[topic], time_ns, data
                else:
                    odd += 1
        except sqlite3.Error as error:
            if self._until == _ALL:
                self._say(f"{self.name} was read up to a damaged message ({error})")
        if odd:
            self._say(f"{odd} damaged messages of {self.name} left out")

    def _put_together(self, logs: Collection[str], scratch: Path) -> Path:
        """Return a copy of the database with what its logs hold."""
        copy = scratch / f"{len(list(scratch.iterdir()))}_{self.path.name}"
        for suffix in ("", *logs):
            shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
        before = _count(self.path)
        try:
            with closing(sqlite3.connect(copy)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.Error as error:
            names = " and ".join(f"{self.name}{s}" for s in logs)
            self._say(f"{self.name} was not closed and {names} can't be read ({error})")
            return copy
        after = _count(copy)
        said = f"{self.name} was not closed"
        if "-wal" in logs:
            there = f"{max(0, after - before)} of its {after} messages"
            self._say(f"{said}: {there} were in {self.name}-wal, read as well")
        else:
            self._say(f"{said}: what was being written is left out, {after} messages are there")
        return copy

    def _look(self) -> None:
        """Learn the topics, and how far the messages can be read."""
        known: dict[str, tuple[str, str]] = {}
        try:
            rows = self._db.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            known = {str(t): (str(e), str(text)) for t, e, text in rows}
        except sqlite3.Error:
            pass  # before Iron there was no such table
        for number, topic, msgtype in self._db.execute("SELECT id, name, type FROM topics"):
            channel = Channel(str(topic), str(msgtype), *known.get(str(msgtype), ("", "")))
            self._channels[number] = channel
            self.types.add((channel.topic, channel.msgtype))
        last, count, foreign = None, 0, 0
        newest: dict[int, int] = {}
        set_back = mixed = False
        try:
            rows = self._db.execute("SELECT id, topic_id, timestamp FROM messages ORDER BY id")
            for number, topic, time_ns in rows:
                last, count = number, count + 1
                if topic not in self._channels or not isinstance(time_ns, int):
                    foreign += 1
                    continue
                if self.first_ns is None or self.last_ns is None:
                    self.first_ns = self.last_ns = time_ns
                mixed |= time_ns < self.last_ns - SET_BACK_NS
                set_back |= time_ns < newest.get(topic, time_ns) - SET_BACK_NS
                newest[topic] = time_ns
                self.first_ns = min(self.first_ns, time_ns)
                self.last_ns = max(self.last_ns, time_ns)
        except sqlite3.Error as error:
            self._until = -1 if last is None else last
            self._say(f"{self.name} is damaged after message {count} ({error}): read up to there")
        self._in_order = set_back or not mixed
        if foreign:
            self._say(f"{foreign} messages of {self.name} are of no topic, left out")


def _opened(path: Path) -> sqlite3.Connection:
    """Open a file that is neither written nor looked at for its logs."""
    db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?immutable=1", uri=True)
    db.text_factory = lambda text: text.decode("utf-8", "replace")
    # Otherwise sqlite3 reads nothing of a file that is shorter than its header says.
    db.execute("PRAGMA writable_schema = 1")
    return db


def _whole_pages(path: Path, scratch: Path) -> Path:
    """Return the file, or a copy without the page that it was cut off in.

    sqlite3 takes what is missing of a page for zeros.
    """
    with path.open("rb") as file:
        page = int.from_bytes(file.read(18)[16:], "big")
    page = 1 << 16 if page == 1 else page
    size = path.stat().st_size
    if page not in (1 << n for n in range(9, 17)) or not size % page:
        return path
    copy = scratch / f"{len(list(scratch.iterdir()))}_{path.name}"
    shutil.copyfile(path, copy)
    os.truncate(copy, size - size % page)
    return copy


def _count(path: Path) -> int:
    try:
        with closing(_opened(path)) as db:
            return int(db.execute("SELECT count(*) FROM messages").fetchone()[0])
    except sqlite3.Error:
        return 0


def _size(path: Path, suffix: str) -> int:
    file = path.with_name(path.name + suffix)
    return file.stat().st_size if file.is_file() else 0
