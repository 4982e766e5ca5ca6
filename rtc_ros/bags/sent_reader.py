"""Reads what drivers of rows were sent, and which of it were rows and which lay in between.

``…/executed`` says of each tick how many messages led to its row (``rtc/points``); the last of
them is the row. So a recording with the command topics and the controller's parameters tells of
each message what it was. Messages are told apart by their counts, and where some are missing by
the rows' bits; where the jerk limit sends a mean of them, by their times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.bags.cdr import CdrError, joint_states, string
from rtc_ros.bags.columns import PREFIX
from rtc_ros.bags.command_reader import COMMANDS, rows_of
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.bags.topics import STRING, TopicNames, Topics
from rtc_ros.core.continuity.evidence import AROUND
from rtc_ros.core.continuity.sent import Curve, SentFigures, SentSum
from rtc_ros.parameter_files import given_to, sections_of

CHUNK = "joint_trajectory_chunk"
BLOCK = 4096
"""Ticks that are read before some are looked at."""
AHEAD = 200
"""Of these the last ones wait: their messages may still come."""
AT_REST = 3
"""Set points for which a driver is known to stand after the last one."""


@dataclass(frozen=True, eq=False)
class Driver:
    """A driver of rows: its topic, and where its joints are in a row of ``…/executed``."""

    topic: str
    columns: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Ticks:
    """N ticks as ``…/executed`` has them: when, the rows [N, A], and how many messages each.

    ``missing`` bool[N]: what came right before it wasn't recorded. ``unsent``: set points that
    weren't sent in time.
    """

    stamp_ns: np.ndarray
    row: np.ndarray
    points: np.ndarray
    unsent: np.ndarray
    missing: np.ndarray

    def __len__(self) -> int:
        return len(self.stamp_ns)

    def part(self, rows: slice) -> Ticks:
        """Return some of them."""
        return Ticks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __add__(self, other: Ticks) -> Ticks:
        pairs = ((getattr(self, n), getattr(other, n)) for n in self.__dataclass_fields__)
        return Ticks(*(np.concatenate(pair) for pair in pairs))


@dataclass(eq=False)
class Messages:
    """The messages of one topic: when they were received, and their rows [M, A']."""

    times: list[np.ndarray] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)

    def whole(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return all of them in one piece."""
        if len(self.times) != 1:
            none: Sequence[np.ndarray] = [np.zeros(0, dtype=np.int64)]
            self.times = [np.concatenate([*none, *self.times])]
            self.rows = [np.concatenate([np.zeros((0, width)), *self.rows])]
        return self.times[0], self.rows[0]

    def drop(self, count: int) -> None:
        """Forget the first ``count``; they are in one piece."""
        self.times[0], self.rows[0] = self.times[0][count:], self.rows[0][count:]


@dataclass(frozen=True)
class SentLog:
    """What drivers of rows were sent, and sentences on what of that can't be told.

    ``curves`` is what was sent around the times that were asked for, in their order.
    """

    figures: SentFigures | None = None
    unknown: tuple[str, ...] = ()
    curves: tuple[Curve | None, ...] = ()


def read_sent(
    path: str | Path,
    names: TopicNames | None = None,
    around_ns: Sequence[int] = (),
    ticks: int = AROUND,
) -> SentLog:
    """Return what drivers of rows were sent, and the curves ``ticks`` about each ``around_ns``.

    Nothing where the recording is of before ``rtc/points``, has no parameters, or no driver of
    rows.

    Raises:
        BagError: it can't be read.
    """
    with Bag(path) as bag:
        topics = Topics.in_bag(bag, names or TopicNames())
        if topics is None:
            return SentLog()
        first = next((data[0] for _, _, data in bag.batches(topics.executed)), None)
        if first is None:
            return SentLog()
        fields = next(iter(joint_states([first]))).names
        if f"{PREFIX}points" not in fields:
            return SentLog()
        parameters = _controller_parameters(bag, topics.executed)
        if not parameters:
            return SentLog()
        drivers, unknown = _drivers(bag, topics.executed, parameters, fields)
        if not drivers:
            return SentLog(unknown=unknown)
        period_s = float(parameters["control_period"])
        points = max(round(float(parameters.get("command_rate", 0.0)) * period_s), 1)
        mean = bool(np.isfinite(parameters.get("max_jerk") or np.inf).any())
        near = _Near(around_ns, ticks, period_s, points)
        reading = _Reading(drivers, SentSum(period_s, points), fields, mean, near)
        for topic, times, data in bag.batches(topics.executed, *(d.topic for d in drivers)):
            try:
                reading.add(topic, times, data, bag.topics[topic], topics.executed)
            except CdrError as error:
                raise BagError(f"{topic} can't be read: {error}") from error
        reading.look(final=True)
        return SentLog(reading.sum.figures(), unknown, near.curves())


def _controller_parameters(bag: Bag, executed: str) -> Mapping[str, Any]:
    """Return the controller's parameters as they were last, {} where they weren't recorded."""
    node = executed.removesuffix("/executed")
    topic, last = f"{node}/parameters", None
    if bag.topics.get(topic) != STRING:
        return {}
    for _, _, messages in bag.batches(topic):
        last = messages[-1]
    if last is None:
        return {}
    try:
        return given_to(sections_of(string(last), f"{bag.path}: {topic}"), node)
    except ValueError as error:
        raise BagError(str(error)) from error


def _drivers(
    bag: Bag, executed: str, parameters: Mapping[str, Any], fields: Sequence[str]
) -> tuple[list[Driver], tuple[str, ...]]:
    """Return the drivers of rows whose messages can be read, and what of them can't."""
    node = executed.removesuffix("/executed")
    space = node.rpartition("/")[0]
    found, said = [], []
    for group in parameters.get("command_groups", ()):
        given = f"group.{group}."
        kind = str(parameters.get(f"{given}type", ""))
        topic = str(parameters.get(f"{given}topic", ""))
        joints = list(parameters.get(f"{given}joints", ()))
        if kind == CHUNK or not topic or not set(joints) <= set(fields):
            continue
        if topic.startswith("~"):
            topic = node + topic[1:]
        elif not topic.startswith("/"):
            topic = f"{space}/{topic}"
        prefix = str(parameters.get(f"{given}joint_prefix", ""))
        if bag.topics.get(topic) in COMMANDS:
            bare = tuple(j.removeprefix(prefix) for j in joints)
            found.append(Driver(topic, tuple(fields.index(j) for j in joints), bare))
        elif topic in bag.topics:
            said.append(f"what was sent on {topic} can't be told: {bag.topics[topic]}")
        else:
            said.append(f"what was sent on {topic} can't be told: it wasn't recorded")
    return found, tuple(said)


class _Near:
    """Keeps the set points about some ticks."""

    def __init__(
        self, around_ns: Sequence[int], ticks: int, period_s: float, points: int
    ) -> None:
        self._around, self._ticks = np.array(around_ns, dtype=np.int64), ticks
        self._period_ns, self._points = period_s * 1e9, points
        self._found: list[dict[float, np.ndarray]] = [{} for _ in around_ns]

    def add(self, stamp_ns: int, columns: Sequence[int], width: int, rows: np.ndarray) -> None:
        """Take a tick's set points [n, A'] of some of ``width`` joints."""
        if not len(self._around):
            return
        apart = (stamp_ns - self._around) / self._period_ns
        for i in np.flatnonzero(np.abs(apart) <= self._ticks + 0.5):
            for j, row in enumerate(rows):
                # They lead to the row, which a picture has at its tick.
                at = round(float(apart[i])) - 1 + (j + 1) / self._points
                kept = self._found[i].setdefault(at, np.full(width, np.nan))
                kept[list(columns)] = row

    def curves(self) -> tuple[Curve | None, ...]:
        """Return them; None where rows are all that was sent, or nothing was found."""
        made: list[Curve | None] = []
        for found in self._found:
            offset = np.array(sorted(found))
            few = self._points == 1 or not found
            made.append(None if few else Curve(offset, np.array([found[x] for x in offset])))
        return tuple(made)


class _Reading:
    def __init__(
        self,
        drivers: Sequence[Driver],
        total: SentSum,
        fields: Sequence[str],
        mean: bool,
        near: _Near,
    ) -> None:
        self.sum, self._near = total, near
        self._width = sum(not f.startswith(PREFIX) for f in fields)
        self._drivers, self._fields, self._mean = drivers, list(fields), mean
        self._messages = {d.topic: Messages() for d in drivers}
        self._ticks: Ticks | None = None
        self._last = (-1, -1)
        """(run, tick) of the last one."""

    def add(
        self, topic: str, times: Sequence[int], data: Sequence[bytes], kind: str, executed: str
    ) -> None:
        """Take serialized messages of one topic."""
        if topic == executed:
            new = self._executed(data)
            self._ticks = new if self._ticks is None else self._ticks + new
            if len(self._ticks) >= BLOCK:
                self.look()
            return
        driver = next(d for d in self._drivers if d.topic == topic)
        parts = [(index, self._ordered(names, rows, driver))
                 for index, names, rows in rows_of(kind, data)]  # fmt: skip
        if known := [(index, rows) for index, rows in parts if rows is not None]:
            index = np.concatenate([i for i, _ in known])
            order = np.argsort(index, kind="stable")
            rows = np.concatenate([r for _, r in known])[order]
            self._messages[topic].times.append(np.asarray(times, dtype=np.int64)[index[order]])
            self._messages[topic].rows.append(rows)

    def _ordered(
        self, names: Sequence[str], rows: np.ndarray, driver: Driver
    ) -> np.ndarray | None:
        """Return ``rows`` in the order of the driver's joints; None: they are of others."""
        if rows.shape[1] != len(driver.names) or (names and set(names) != set(driver.names)):
            return None
        return rows[:, [names.index(n) for n in driver.names]] if names else rows

    def _executed(self, data: Sequence[bytes]) -> Ticks:
        parts = [p for p in joint_states(data) if list(p.names) == self._fields]
        order = np.argsort(np.concatenate([p.index for p in parts]), kind="stable")
        values = np.concatenate([p.position for p in parts])[order]
        stamps = np.concatenate([p.stamp_ns for p in parts])[order]

        def column(name: str) -> np.ndarray:
            return values[:, self._fields.index(PREFIX + name)].astype(np.int64)

        run, tick = column("step_epoch"), column("tick")
        before = self._last
        runs = np.concatenate([[before[0]], run[:-1]])
        ticks = np.concatenate([[before[1]], tick[:-1]])
        self._last = (int(run[-1]), int(tick[-1]))
        # Held ticks may not be counted, so that a tick may have the number of the one before it.
        missing = (run != runs) | (tick - ticks > 1)
        return Ticks(stamps, values, column("points"), column("unsent"), missing)

    def look(self, *, final: bool = False) -> None:
        """Sum up what is there of the messages of all ticks, but for the last ones."""
        if self._ticks is None:
            return
        upto = len(self._ticks) - (0 if final else AHEAD)
        ticks = self._ticks.part(slice(0, upto))
        self._ticks = self._ticks.part(slice(upto, None))
        self.sum.unsent += int(ticks.unsent.sum()) if self.sum.points > 1 else 0
        for driver in self._drivers:
            messages = self._messages[driver.topic]
            times, rows = messages.whole(len(driver.columns))
            found, done = self._found(ticks, times, rows, driver)
            self._sum_up(ticks, rows, found, driver)
            messages.drop(done)

    def _found(
        self, ticks: Ticks, times: np.ndarray, rows: np.ndarray, driver: Driver
    ) -> tuple[np.ndarray, int]:
        """Return where each tick's last message is, −1: unknown; and how many are done with."""
        counts = np.maximum(ticks.points, 0)
        wanted = ticks.row[:, list(driver.columns)]
        ends = np.cumsum(counts) - 1
        if len(ends) and ends[-1] < len(rows):
            sent = counts > 0
            if self._fit(ticks, times, rows, wanted, ends, sent):
                return np.where(sent, ends, -1), int(ends[-1]) + 1
        if self._mean:
            return self._found_by_time(ticks, times, counts)
        found, at = np.full(len(counts), -1), 0
        reach = 8 * self.sum.points + 8
        for k in np.flatnonzero(counts):
            end = at + int(counts[k]) - 1
            if not (end < len(rows) and (rows[end] == wanted[k]).all()):
                # Nothing was taken yet: what was recorded before the first tick comes first.
                stop = len(rows) if not at else at + reach
                alike = np.flatnonzero((rows[at:stop] == wanted[k]).all(axis=1))
                if not len(alike):
                    continue
                end = at + int(alike[0])
            found[k] = end if end - at + 1 >= counts[k] else -1
            at = end + 1
        return found, at

    def _found_by_time(
        self, ticks: Ticks, times: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """As ``_found``, motion by motion: those of which no message is missing."""
        found = np.full(len(counts), -1)
        moves = np.concatenate([[False], counts > 0, [False]])
        edges = np.flatnonzero(moves[1:] != moves[:-1])
        begins = np.searchsorted(times, ticks.stamp_ns[edges[::2]])
        stops = [*begins[1:].tolist(), len(times)]
        for first, last, begin, stop in zip(
            edges[::2], edges[1::2], begins.tolist(), stops, strict=True
        ):
            ends = begin + np.cumsum(counts[first:last]) - 1
            if int(ends[-1]) + 1 == stop or last == len(counts) and int(ends[-1]) < stop:
                found[first:last] = ends
        after = int(np.searchsorted(times, ticks.stamp_ns[-1]))
        return found, max(int(found.max(initial=-1)) + 1, after)

    def _fit(
        self, ticks: Ticks, times: np.ndarray, rows: np.ndarray, wanted: np.ndarray,
        ends: np.ndarray, sent: np.ndarray,
    ) -> bool:  # fmt: skip
        if not self._mean:
            return bool((rows[ends[sent]] == wanted[sent]).all())
        late = times[ends[sent]] - ticks.stamp_ns[sent]
        return not len(late) or bool(np.abs(late - np.median(late)).max() < 1e9)

    def _sum_up(
        self, ticks: Ticks, rows: np.ndarray, found: np.ndarray, driver: Driver
    ) -> None:
        """Put the messages of a driver on the times of set points, and sum them up."""
        unknown = np.full((1, rows.shape[1]), np.nan)
        points: list[np.ndarray] = [unknown]
        ends: list[np.ndarray] = [np.zeros(1, dtype=bool)]
        moves, m = False, self.sum.points

        def put(values: np.ndarray, last: bool) -> None:
            points.append(values)
            ends.append(np.arange(len(values)) == (len(values) - 1 if last else -1))

        for k, count in enumerate(ticks.points.tolist()):
            end = int(found[k])
            if ticks.missing[k] or (count > 0 and end < 0):
                put(unknown, False)
                moves = False
            if count <= 0:
                if moves:  # it stands where it was told last; what comes after begins anew
                    put(np.repeat(points[-1][-1:], AT_REST, axis=0), False)
                    put(unknown, False)
                moves = False
            elif end < 0:
                self.sum.lost += 1
            else:
                put(rows[end - count + 1 : end + 1], True)
                stamp_ns = int(ticks.stamp_ns[k])
                self._near.add(stamp_ns, driver.columns, self._width, points[-1])
                if count < m:  # nor does it go on meanwhile
                    put(np.repeat(points[-1][-1:], m - count, axis=0), False)
                self.sum.messages += count
                self.sum.rows += 1
                moves = True
        self.sum.add(np.concatenate(points), np.concatenate(ends))
