"""A running robot's last minute, judged at any time: serialized messages in, figures out."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rtc_ros.bags.columns import settings_of
from rtc_ros.bags.reader import BagError
from rtc_ros.bags.run_reader import RunColumns
from rtc_ros.bags.topics import Topics
from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity import ContinuityReport, RunLog, SwapEvent, Thresholds, judge
from rtc_ros.core.cursor import Mode

WAITING_MESSAGES = 20_000
"""Messages that may wait to be looked at: a minute of all topics at their usual rates."""

MAX_RECORDS = 100_000


@dataclass(frozen=True, eq=False)
class LiveState:
    """What holds now. ``silent_s`` is the time since the last tick came in, None before it.

    ``totals`` count since the first message: steps, seams, starved and held ticks.
    """

    silent_s: float | None = None
    mode: Mode | None = None
    reason: str = ""
    step: int = NO_STEP
    row: int = NO_STEP
    chunk: ActionChunk | None = None
    swap: SwapEvent | None = None
    lateness_ms: float = 0.0
    settings: Mapping[str, object] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    report: ContinuityReport | None = None
    problem: str = ""


def nothing_yet(absent: Sequence[str]) -> str:
    """Say that nothing was executed yet, and which topics nobody publishes."""
    nobody = f"; nobody publishes {', '.join(absent)}" if absent else ""
    return f"nothing executed yet{nobody}"


class LiveRun:
    """Collects what comes in; memory doesn't grow beyond the window.

    Args:
        topics: the names under which ``add`` gets its messages.
        window_s: how far back the figures reach, by the messages' stamps [s].
        thresholds: what the window is held against.
    """

    def __init__(
        self, topics: Topics, window_s: float = 60.0, thresholds: Thresholds | None = None
    ) -> None:
        self._topics, self._thresholds = topics, thresholds or Thresholds()
        self._window_ns = round(window_s * 1e9)
        self._waiting: deque[tuple[str, int, bytes]] = deque(maxlen=WAITING_MESSAGES)
        self._columns = RunColumns(topics)
        self._heard_at: float | None = None
        self._settings: dict[str, object] = {}
        self._totals: Counter[str] = Counter()
        self._problem = ""

    def add(self, topic: str, time_ns: int, data: bytes) -> None:
        """Take a serialized message, received at ``time_ns``; any thread may call it."""
        self._waiting.append((topic, time_ns, data))
        if topic == self._topics.executed:
            self._heard_at = time.monotonic()

    def state(self) -> LiveState:
        """Judge the window and return what holds now."""
        self._take_in()
        silent = None if self._heard_at is None else time.monotonic() - self._heard_at
        if not len(self._columns):
            return LiveState(silent, settings=self._settings, problem=self._problem)
        run = self._columns.run()
        log, origin = run.commands, run.commands.provenance
        report = judge(run, self._thresholds)
        if origin is None:
            return LiveState(silent, report=report, settings=self._settings)
        name = (int(origin.chunk_epoch[-1]), int(origin.chunk_seq[-1]))
        known = {m.value: m for m in Mode}
        return LiveState(
            silent,
            known.get(int(origin.mode[-1])),
            log.reasons[int(log.reason[-1])] if log.reason is not None else "",
            int(origin.step[-1]),
            int(origin.row[-1]),
            next((c for c in reversed(run.chunks or ()) if c.name == name), None),
            run.swaps[-1] if run.swaps else None,
            float(origin.lateness_us[-1]) * 1e-3,
            dict(self._settings),
            dict(self._totals),
            report,
            self._problem,
        )

    def _take_in(self) -> None:
        """Sort what has come in into the columns, and forget what is older than the window."""
        groups: dict[str, tuple[list[int], list[bytes]]] = {}
        while self._waiting:
            topic, time_ns, data = self._waiting.popleft()
            times, messages = groups.setdefault(topic, ([], []))
            times.append(time_ns)
            messages.append(data)
        for data in groups.pop(self._topics.settings or "", ([], []))[1]:
            try:
                self._settings = settings_of(data)
            except ValueError:
                self._problem = "the settings aren't in the known form"
        had = len(self._columns)
        for topic, (times, messages) in groups.items():
            try:
                self._columns.add(topic, times, messages)
            except BagError as error:
                # Another robot or another run of the nodes: what was before doesn't go with it.
                self._problem = str(error)
                self._columns, had = RunColumns(self._topics), 0
        if len(self._columns):
            run = self._columns.run()
            self._count(run, had)
            self._columns.drop(self._outdated(run))

    def _count(self, run: RunLog, had: int) -> None:
        origin = run.commands.provenance
        if origin is None:
            return
        executed = origin.row >= 0
        self._totals["steps"] += int(executed[had:].sum())
        for mode in (Mode.STARVED, Mode.WAITING, Mode.FAULT):
            held = (origin.mode[had:] == mode) & ~executed[had:]
            self._totals[mode.name.lower()] += int(held.sum())
        changed = np.diff(origin.chunk_seq) != 0
        begun = origin.chunk_seq[:-1] != NO_STEP
        self._totals["seams"] += int((changed & begun)[max(had, 1) - 1 :].sum())

    def _outdated(self, run: RunLog) -> int:
        """Return how many records are to be forgotten: too old, or before a jump back."""
        log, origin = run.commands, run.commands.provenance
        old = int(np.searchsorted(log.stamp_ns, log.stamp_ns[-1] - self._window_ns))
        old = max(old, len(log) - MAX_RECORDS)
        if origin is not None:
            # A recording that is played again: the same run of the steps begins anew.
            again = (np.diff(origin.tick) < 0) & (np.diff(origin.step_epoch) == 0)
            old = max([old, *(np.flatnonzero(again)[-1:] + 1).tolist()])
        back = np.flatnonzero(np.diff(log.stamp_ns) < 0)
        return max([old, *(back[-1:] + 1).tolist()])
