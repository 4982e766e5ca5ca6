"""Who sends a message, by the publisher: two at once are told from one that was started anew."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

_TOGETHER_NS = 5_000_000_000
"""Two that take turns within this are there at once."""
_DISTRUST_NS = 500_000_000
"""How long the second one is remembered after the last turn, at least."""
_MOST = 8
"""Publishers that are remembered."""


class _Seen(NamedTuple):
    """When a publisher sent last, the stamp of that, and when it last came back after another."""

    at_ns: int
    stamp_ns: int
    back_ns: int


class Sources:
    """The publishers of one camera or one joint, and the stamps that each of them repeats.

    A driver that restarts is a new publisher, and the old one never comes back. So a publisher
    that sends again after another one did is there beside it, however seldom either sends.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, _Seen] = {}
        self._last = b""
        self.two_until_ns = 0
        """Until when two of them count as there (CLOCK_MONOTONIC [ns])."""

    def hear(self, source: bytes, stamp_ns: int, now_ns: int) -> bool:
        """Note a message; return whether it is news: not the last stamp of its publisher again.

        A driver that sends its last message again and again is as good as silent; one that never
        stamps (``stamp_ns`` is 0) can't be told from a live one.
        """
        before = self._seen.get(source)
        back_ns = 0 if before is None else before.back_ns
        if before is not None and source != self._last and now_ns - before.at_ns < _TOGETHER_NS:
            # Where both come back, the slower one sets the pace: it will have its turn again. One
            # alone may have been stood in for, and have its place again.
            other = self._seen[self._last]
            both = now_ns - other.back_ns < _TOGETHER_NS
            apart_ns = 2 * (now_ns - before.at_ns) if both else 0
            until_ns = now_ns + max(_DISTRUST_NS, apart_ns)
            self.two_until_ns = max(self.two_until_ns, until_ns)
            back_ns = now_ns
        self._seen[source], self._last = _Seen(now_ns, stamp_ns, back_ns), source
        if len(self._seen) > _MOST:
            del self._seen[min(self._seen, key=lambda each: self._seen[each].at_ns)]
        return stamp_ns == 0 or before is None or stamp_ns != before.stamp_ns

    def two_at(self, now_ns: int) -> bool:
        """Return whether two publishers send at the same time."""
        return now_ns < self.two_until_ns


class Publishers:
    """Tells the publishers that one subscription hears apart.

    A message's info (rclpy's MessageInfo) names its publisher; Jazzy's doesn't. There the
    message's number does, which each publisher counts by itself: it is the publisher's whose last
    number is the next smaller one.
    """

    _made = itertools.count(1)

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[int, int]] = {}

    def of(self, info: Mapping[str, Any], now_ns: int) -> bytes:
        """Return who sent the message with ``info`` that came at ``now_ns``; b"": unknown."""
        if gid := info.get("publisher_gid"):
            return bytes(gid["data"])
        number = info.get("publication_sequence_number")
        if number is None:
            return b""
        since_ns = now_ns - _TOGETHER_NS
        self._last = {who: last for who, last in self._last.items() if last[1] > since_ns}
        before = [(*last, who) for who, last in self._last.items() if last[0] < number]
        # Of two with the same number the one that sent last: the other may have been there before.
        who = max(before)[2] if before else b"%d" % next(self._made)
        self._last[who] = number, now_ns
        return who
