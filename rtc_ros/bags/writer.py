"""Writes a rosbag2 folder (mcap) from serialized messages, in a thread of its own; no ROS."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)

from rtc_ros.bags.message_types import definition

FORMAT_VERSION: Final = 9
"""rosbag2's metadata version that ROS 2 Jazzy and Kilted write."""


class BagFolderError(Exception):
    """The bag's folder can't be made; the text is a sentence for the user."""


def exists_already(path: Path) -> str:
    """Return the sentence about a folder that is there."""
    return (
        f"{path} exists already and a recording never overwrites; "
        "name another folder or remove that one"
    )


class BagWriter:
    """A bag that is being written.

    ``put`` never waits for the disk: messages go to a queue, a thread writes them and every
    ``flush_period_s`` completes an mcap chunk on disk, so that a crash costs no more than
    that. When the disk refuses (full, gone), writing stops, ``failure`` says so, and what was
    written stays readable up to there.

    Args:
        path: the bag's folder, which must not exist.
        compress: compress the mcap chunks (zstd).
        max_queued_bytes: beyond this much in the queue new messages are dropped and counted.
        flush_period_s: the most that a crash may cost [s].

    Raises:
        BagFolderError: the folder exists or can't be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        compress: bool = True,
        max_queued_bytes: int = 256 * 2**20,
        flush_period_s: float = 1.0,
    ) -> None:
        self.path = Path(path)
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.failure: str | None = None
        self._max_queued = max_queued_bytes
        self._queued = 0
        self._flush_period = flush_period_s
        self._queue: deque[tuple[Connection, int, bytes]] = deque()
        self._connections: dict[str, Connection] = {}
        self._ready = threading.Condition()
        self._storage_lock = threading.Lock()
        self._closing = False
        try:
            self._writer = Writer(
                self.path, version=FORMAT_VERSION, storage_plugin=StoragePlugin.MCAP
            )
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError:
            raise BagFolderError(exists_already(self.path)) from None
        except OSError as error:
            raise BagFolderError(f"can't make the bag folder {self.path}: {error}") from None
        self._thread = threading.Thread(target=self._run, name="bag_writer", daemon=True)
        self._thread.start()

    def add_topic(self, topic: str, msgtype: str, qos: Sequence[Qos] = ()) -> None:
        """Make ``topic`` known. A topic that is known already is left as it is.

        Raises:
            LookupError: there is no definition of ``msgtype``.
        """
        if topic in self._connections:
            return
        text, digest = definition(msgtype)
        with self._storage_lock:
            if self.failure is None:
                self._connections[topic] = self._writer.add_connection(
                    topic, msgtype, msgdef=text, rihs01=digest, offered_qos_profiles=qos
                )

    def put(self, topic: str, time_ns: int, data: bytes) -> bool:
        """Queue a serialized message; return whether it will be written."""
        connection = self._connections.get(topic)
        with self._ready:
            if (
                connection is None
                or self._closing
                or self.failure is not None
                or self._queued + len(data) > self._max_queued
            ):
                self.dropped[topic] += 1
                return False
            self._queue.append((connection, time_ns, data))
            self._queued += len(data)
            self._ready.notify()
        return True

    def close(self) -> None:
        """Write what is queued, then the index and metadata.yaml. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _run(self) -> None:
        next_flush = time.monotonic() + self._flush_period
        while True:
            with self._ready:
                if not self._queue and not self._closing:
                    self._ready.wait(max(0.0, next_flush - time.monotonic()))
                batch, self._queue, self._queued = self._queue, deque(), 0
                last = self._closing
            try:
                with self._storage_lock:
                    self._write(batch)
                    if time.monotonic() >= next_flush:
                        self._flush()
                        next_flush = time.monotonic() + self._flush_period
                    if last:
                        self._writer.close()
            except Exception as error:  # noqa: BLE001 - whatever it is, what is there is kept
                self._fail(error)
            if last or self.failure is not None:
                return

    def _write(self, batch: deque[tuple[Connection, int, bytes]]) -> None:
        for connection, time_ns, data in batch:
            self._writer.write(connection, time_ns, data)
            self.counts[connection.topic] += 1

    def _flush(self) -> None:
        """Complete the mcap chunk in memory and hand it to the operating system."""
        storage = self._writer.storage
        if getattr(storage, "chunk", None) and storage.chunk.msgs:  # type: ignore[union-attr]
            storage.close_chunk()  # type: ignore[union-attr]
            storage.bio.flush()  # type: ignore[union-attr]

    def _fail(self, error: Exception) -> None:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.failure = (
            f"can't write {self.path} any more ({why}); recording stopped. "
            "What was written so far is kept and can be read"
        )
        # Closing flushes once more to the disk that has just refused.
        with contextlib.suppress(OSError):
            self._writer.abort()
