"""Two machines' monotonic clocks: how far apart they are, and how well that is known.

Each message brings four times, as in NTP: when ours left (our clock), when it came there and when
the answer left (theirs), when the answer came (ours). The true offset lies within half the round
trip of the one so measured, however unequal the two ways are. So the shortest of the last round
trips is taken, and its bound grows with its age, by what two clocks may drift apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_NS = 10_000_000_000
"""A round trip is forgotten after this."""
DRIFT = 500e-6
"""By how much two clocks may differ in rate: 200 ppm each, and some."""


@dataclass(frozen=True)
class Sample:
    """One round trip: ``offset_ns`` is theirs − ours, at ``at_ns`` of ours, ± ``error_ns``."""

    at_ns: int
    offset_ns: int
    error_ns: float
    round_trip_ns: int

    def error_at(self, now_ns: int) -> float:
        """Return the bound of the offset's error at ``now_ns`` [ns]."""
        return self.error_ns + DRIFT * abs(now_ns - self.at_ns)


class ClockOffset:
    """The peer's clock − ours, from round trips; unknown before the first."""

    def __init__(self) -> None:
        # Each sample is better than those after it, at any time: all grow worse at one rate.
        self._samples: deque[Sample] = deque()
        self.steps = 0
        """How often a clock was found to have been set, or to have stood still (a suspend)."""

    @property
    def known(self) -> bool:
        """Whether there was a round trip."""
        return bool(self._samples)

    def add(
        self, sent_ns: int, their_received_ns: int, their_sent_ns: int, received_ns: int
    ) -> None:
        """Learn from one round trip; one that can't be is passed over."""
        held_ns = their_sent_ns - their_received_ns
        round_trip_ns = received_ns - sent_ns - held_ns
        if held_ns < 0 or round_trip_ns < -DRIFT * held_ns:
            return
        round_trip_ns = max(0, round_trip_ns)
        offset_ns = (their_received_ns - sent_ns + their_sent_ns - received_ns) // 2
        error_ns = round_trip_ns / 2 + DRIFT * (received_ns - sent_ns)
        sample = Sample(received_ns, offset_ns, error_ns, round_trip_ns)
        best = self._samples[0] if self._samples else None
        if best is not None:
            apart = abs(offset_ns - best.offset_ns)
            if apart > error_ns + best.error_at(received_ns) + 1:
                self._samples.clear()  # both can't be true of one pair of clocks
                self.steps += 1
        while self._samples and self._samples[-1].error_at(received_ns) >= error_ns:
            self._samples.pop()
        self._samples.append(sample)
        # The best one goes last: without an answer for long its bound still holds.
        while len(self._samples) > 1 and self._samples[0].at_ns < received_ns - WINDOW_NS:
            self._samples.popleft()

    @property
    def offset_ns(self) -> int:
        """Theirs − ours [ns], by the best round trip."""
        return self._samples[0].offset_ns

    @property
    def round_trip_ns(self) -> int:
        """The best round trip [ns]."""
        return self._samples[0].round_trip_ns

    def error_ns(self, now_ns: int) -> float:
        """Return how far ``offset_ns`` may be from the truth [ns]."""
        return self._samples[0].error_at(now_ns)

    def ours(self, their_ns: int) -> int:
        """Return a time of their clock as one of ours."""
        return their_ns - self.offset_ns
