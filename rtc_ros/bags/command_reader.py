"""Reads bare commands, where a recording has nothing that says where they came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from rtc_ros.bags.cdr import CdrError, Reader, joint_states, trajectory
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.core.continuity.infer import LEAST_SHARE, with_origins
from rtc_ros.core.continuity.run_log import CommandLog, RunLog

ARRAY = "std_msgs/msg/Float64MultiArray"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
COMMANDS = (ARRAY, "sensor_msgs/msg/JointState", TRAJECTORY)
"""Types of commands that can be read: of a trajectory, its first point."""


def read_commands(bag: Bag, named: Sequence[str], chunk_topic: str | None = None) -> RunLog:
    """Read bare commands: a row for each message of the first topic, the others as they stood.

    With chunks beside them it is inferred where they came from.

    Raises:
        BagError: there are none, or they have another type.
    """
    topics = tuple(named) or tuple(
        sorted(t for t, k in bag.topics.items() if k == ARRAY and t.endswith("/commands"))
    )
    wrong = [t for t in topics if bag.topics.get(t) not in COMMANDS]
    if wrong or not topics:
        raise BagError(
            f"{bag.path} has no …/rtc_controller/executed and "
            + (f"{wrong[0]} is no {' or '.join(COMMANDS)}" if wrong else "no …/commands either")
            + f"; its topics are {', '.join(sorted(bag.topics)) or 'none'}"
        )
    found: dict[str, _Commands] = {t: _Commands(t, bag.topics[t]) for t in topics}
    for topic, times, data in bag.batches(*topics):
        try:
            found[topic].add(times, data)
        except CdrError as error:
            raise BagError(f"{topic} can't be read: {error}") from error
    tables = [t.table() for t in found.values()]
    # What came last on the other topics when a message of the first one came.
    stamps = tables[0][0]
    places = [np.searchsorted(t[0], stamps, side="right") - 1 for t in tables]
    whole = np.all([p >= 0 for p in places], axis=0)
    if not whole.any():
        raise BagError(f"{bag.path} has no complete command on {', '.join(topics)}")
    rows = [t[1][p[whole]] for t, p in zip(tables, places, strict=True)]
    joints = tuple(name for t in found.values() for name in t.names)
    log = CommandLog(joints, stamps[whole], np.concatenate(rows, axis=1))
    return _with_chunks(RunLog(log, notes=tuple(bag.notes)), bag, chunk_topic)


def _with_chunks(run: RunLog, bag: Bag, topic: str | None) -> RunLog:
    """Return ``run`` with its provenance, as far as the chunks of ``topic`` tell it."""
    if topic is None:
        return run
    found: list[tuple[int, np.ndarray]] = []
    foreign = 0
    joints = run.commands.joints
    for _, times, data in bag.batches(topic):
        for time_ns, message in zip(times, data, strict=True):
            try:
                chunk = trajectory(message)
            except CdrError as error:
                raise BagError(f"{topic} can't be read: {error}") from error
            if not chunk.positions.size:
                continue
            if set(joints) <= set(chunk.names):
                columns = [chunk.names.index(j) for j in joints]
                found.append((time_ns, chunk.positions[:, columns]))
            elif chunk.positions.shape[1] == len(joints):
                # Commands without names: in the order of the chunk's joints.
                found.append((time_ns, chunk.positions))
            else:
                foreign += 1
    notes = run.notes
    if foreign:
        notes = (*notes, f"{foreign} chunks on {topic} are for another number of joints, left out")
    inferred = with_origins(run.commands, found)
    if inferred is None:
        said = f"fewer than {LEAST_SHARE:.0%} of the commands are a row of a chunk on {topic}"
        return replace(run, notes=(*notes, f"{said}: where they came from can't be inferred"))
    log, chunks, share = inferred
    return replace(run, commands=log, chunks=chunks, inferred=share, notes=notes)


class _Commands:
    """The commands of one topic."""

    def __init__(self, topic: str, msgtype: str) -> None:
        self.names: tuple[str, ...] = ()
        self._topic, self._type = topic, msgtype
        self._times: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, times_ns: Sequence[int], data: Sequence[bytes]) -> None:
        times = np.asarray(times_ns, dtype=np.int64)
        for index, names, rows in rows_of(self._type, data):
            if self._type == ARRAY:
                self._called(tuple(f"{self._topic}[{i}]" for i in range(rows.shape[1])))
            else:
                rows = self._by_name(names, rows)
            self._keep(times[index], rows)

    def _by_name(self, names: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` with their columns in the order of the first message's names."""
        alike = names if rows.shape[1] != len(names) or not self.names else self.names
        if sorted(names) != sorted(alike) or len(set(names)) < len(names):
            alike = names
        self._called(alike)
        return rows if alike == names else rows[:, [names.index(n) for n in alike]]

    def _called(self, names: tuple[str, ...]) -> None:
        if self.names and names != self.names:
            raise BagError(
                f"the commands of {self._topic} change within the recording, from "
                f"{len(self.names)} values ({', '.join(self.names)}) to {len(names)} "
                f"({', '.join(names)}): this can't be one run"
            )
        self.names = names

    def _keep(self, times: np.ndarray, rows: np.ndarray) -> None:
        if rows.shape[1:] != (len(self.names),):
            raise BagError(
                f"{self._topic} has a message with {len(self.names)} names and "
                f"{rows.shape[-1]} positions"
            )
        self._times.append(times)
        self._rows.append(rows)

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return times int64[N] in their order, and rows [N, A]."""
        if not self._times:
            return np.zeros(0, dtype=np.int64), np.zeros((0, len(self.names)))
        times, rows = np.concatenate(self._times), np.concatenate(self._rows)
        order = np.argsort(times, kind="stable")
        return times[order], rows[order]


def rows_of(
    msgtype: str, data: Sequence[bytes]
) -> Iterator[tuple[np.ndarray, tuple[str, ...], np.ndarray]]:
    """Yield the commands of serialized messages: their places, joints and rows [n, A].

    Names are () where messages of that type have none. Raises CdrError: one is damaged.
    """
    if msgtype == ARRAY:
        arrays = [_array_data(message) for message in data]
        sizes = np.array([len(row) for row in arrays])
        for size in dict.fromkeys(sizes.tolist()):
            index = np.flatnonzero(sizes == size)
            yield index, (), np.array([arrays[i] for i in index])
    elif msgtype == TRAJECTORY:
        for i, message in enumerate(data):
            found = trajectory(message)
            if len(found.positions):
                yield np.array([i]), found.names, found.positions[:1]
    else:
        for part in joint_states(data):
            yield part.index, part.names, part.position


def _array_data(message: bytes) -> np.ndarray:
    """Return the values of a std_msgs/Float64MultiArray."""
    reader = Reader(message)
    for _ in range(reader.count()):
        reader.text()
        reader.count()
        reader.count()
    reader.count()
    begin, size = reader.doubles()
    return np.frombuffer(message, dtype="<f8", count=size, offset=begin)
