"""What a link says of itself in /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rtc_ros.link.side import Side
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report

_SAY_NS = 3_000_000_000
"""How long a message that was refused is spoken of."""


class LinkReport:
    """The entry ``link``: who is there, how far away, what was lost."""

    def __init__(self, side: Side, traffic: dict[str, int], cameras: Sequence[Any] = ()) -> None:
        self._side, self._traffic, self._cameras = side, traffic, cameras
        self._last = dict(traffic), time.monotonic()
        self.walls_apart_s = 0.0
        """The other machine's ROS time − this one's."""

    def __call__(self) -> Report:
        """Make it, with rates since the last one."""
        side, now_ns = self._side, time.monotonic_ns()
        peer, clock = side.peer, side.clock
        values: dict[str, object] = {"robot": side.own.robot, "this": side.own.sender}
        if peer.session:
            values["other"] = peer.sender
            values["heard before [ms]"] = peer.silent_ns(now_ns) * 1e-6
        if clock.known:
            values["round trip, shortest of 10 s [ms]"] = clock.round_trip_ns * 1e-6
            values["its clock - ours [s]"] = clock.offset_ns * 1e-9
            values["error of that, at most [ms]"] = clock.error_ns(now_ns) * 1e-6
            values["its ROS time - ours [s]"] = self.walls_apart_s
        ages = sorted(side.ages_ns)
        if ages:
            what = side.mirror.record.name
            values[f"age of the {what} when it came, median [ms]"] = ages[len(ages) // 2] * 1e-6
            values[f"age of the {what} when it came, max [ms]"] = ages[-1] * 1e-6
        values |= self._rates()
        counts = peer.counts
        whole = counts["taken"] + counts["lost"]
        values["lost [%]"] = 100 * counts["lost"] / whole if whole else 0.0
        values |= {name: counts[name] for name in ("torn", "late or twice") if name in counts}
        values |= {name: n for name, n in sorted(counts.items()) if name.startswith("refused")}
        for camera in self._cameras:
            values[f"camera {camera.name}, images sent"] = camera.sent
            if camera.sent:
                values[f"camera {camera.name}, image [kB]"] = camera.sent_bytes / camera.sent / 1e3
                values[f"camera {camera.name}, encode [ms]"] = camera.encode_s * 1e3
        return self._judged(values, now_ns)

    def _judged(self, values: dict[str, object], now_ns: int) -> Report:
        side, peer = self._side, self._side.peer
        if problem := side.problem(now_ns):
            return Report(ERROR, problem, values)
        if peer.refused and now_ns - peer.refused_ns < _SAY_NS:
            return Report(WARN, peer.refused, values)
        for camera in self._cameras:
            if camera.problem:
                return Report(WARN, camera.problem, values)
        if side.torn and now_ns - side.torn_ns < _SAY_NS:
            return Report(WARN, side.torn, values)
        trip_ms = side.clock.round_trip_ns * 1e-6 if side.clock.known else 0.0
        return Report(OK, f"{peer.sender} is there, round trip {trip_ms:.1f} ms", values)

    def _rates(self) -> dict[str, object]:
        before, then_s = self._last
        now_s, now = time.monotonic(), dict(self._traffic)
        self._last = now, now_s
        span_s = max(now_s - then_s, 1e-3)
        return {
            f"{name} [Mbit/s]": 8e-6 * (now[name] - before.get(name, 0)) / span_s for name in now
        }
