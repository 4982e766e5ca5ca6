"""What is known of one file of a recording, whatever its storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1 << 20
"""Messages are batched up to this size."""

SET_BACK_NS = 10**9
"""Times that go back by less are the threads of the recorder."""


@dataclass(frozen=True)
class Channel:
    """A topic with its type, and the type's definition with its encoding (``ros2msg``)."""

    topic: str
    msgtype: str
    encoding: str
    definition: str


Batch = tuple[Channel, list[int], list[bytes]]
"""A channel's messages of one part of a file: times [ns] and serialized data."""


class BagPart:
    """One file.

    ``types`` are its (topic, type) pairs, ``first_ns`` and ``last_ns`` the times of its first and
    last message (None: it has none). ``counts`` are the messages of each topic by its index,
    where it has one. ``problems`` say what is missing in it, complete once it was read.

    Args:
        path: the file.
        name: what it is called in ``problems``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.types: set[tuple[str, str]] = set()
        self.counts: dict[str, int] = {}
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.problems: list[str] = []
        self._channels: dict[int, Channel] = {}
        self._in_order = True

    def _see(self, first_ns: int, last_ns: int) -> None:
        """Note that messages of these times are there."""
        self.first_ns = min(first_ns, first_ns if self.first_ns is None else self.first_ns)
        self.last_ns = max(last_ns, last_ns if self.last_ns is None else self.last_ns)

    def _say(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def batched(
    messages: Iterable[tuple[Channel, int, bytes]], most_bytes: int, most: int = 0
) -> Iterator[list[Batch]]:
    """Yield messages, told as (channel, time [ns], data), in parts with a batch of each channel.

    A part has no more than ``most`` of them (0: any number), and about ``most_bytes``.
    """
    block: dict[Channel, tuple[list[int], list[bytes]]] = {}
    count = size = 0
    for channel, time_ns, data in messages:
        times, batch = block.setdefault(channel, ([], []))
        times.append(time_ns)
        batch.append(data)
        count, size = count + 1, size + len(data)
        if count == most or size > most_bytes:
            yield [(channel, *group) for channel, group in block.items()]
            block, count, size = {}, 0, 0
    yield [(channel, *group) for channel, group in block.items()]
