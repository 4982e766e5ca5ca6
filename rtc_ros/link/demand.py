"""When the GPU machine asks for images: just before an inference will want one.

An inference begins some time after the one before began, and that time changes little. So an
image is asked for one way and a frame before the next expected beginning, and else as seldom as
``camera_timeout`` allows. It is about how fresh an image is, never about which row is executed.
"""

from __future__ import annotations

LEAD_NS = 80_000_000
"""Beside the round trip: to encode three images, to carry them (35 ms of 100 Mbit/s), and to send
again what of them was lost."""
_LEAST_NS = 30_000_000


class ImageDemand:
    """Decides when to ask; times are this machine's CLOCK_MONOTONIC [ns]."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._start_ns = 0
        self._apart_ns = 0
        self._asked_ns = -keep_ns

    def began(self, start_ns: int) -> None:
        """Note that an inference began then."""
        apart_ns = start_ns - self._start_ns
        self._apart_ns = apart_ns if self._start_ns and 0 < apart_ns < 10 * self._keep_ns else 0
        self._start_ns = start_ns

    def due(self, now_ns: int, round_trip_ns: int) -> bool:
        """Tell whether to ask now; asking is taken for done."""
        since_ns = now_ns - self._asked_ns
        due = since_ns >= self._keep_ns
        if not due and self._apart_ns and since_ns >= min(_LEAST_NS, self._apart_ns // 2):
            # The begin that comes next, as seen from when the image will be there.
            apart_ns, ahead_ns = self._apart_ns, now_ns + round_trip_ns + LEAD_NS
            passed = (ahead_ns - self._start_ns) // apart_ns
            reached_ns = self._start_ns + passed * apart_ns - round_trip_ns - LEAD_NS
            due = passed > 0 and self._asked_ns < reached_ns
        if due:
            self._asked_ns = now_ns
        return due
