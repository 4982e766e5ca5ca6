"""From a bag's messages to the arrays that the continuity figures are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rtc_ros.bags.cdr import CdrError, stamp_ns
from rtc_ros.bags.columns import CommandColumns, chunk_of, settings_of, swap_of
from rtc_ros.bags.command_reader import read_commands
from rtc_ros.bags.joint_columns import JointColumns
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.bags.topics import TRAJECTORY, TopicNames, Topics, find_topic
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.judge import LEAD, SPAN, Judge
from rtc_ros.core.continuity.run_log import RunLog, SwapEvent

AT_ONCE = SPAN + LEAD
"""Records that are read before some are judged."""

TIMED = 50
"""Messages of a topic whose stamps are held against the times of their receipt."""

OTHER_CLOCK_S = 0.5
"""Stamps of two topics that differ by more against their receipt are of two clocks."""

KEPT = 1000
"""Chunks and events that are kept where none of them belongs to a record at hand."""


def read_run(path: str | Path, names: TopicNames | None = None) -> RunLog:
    """Read a whole recording into memory.

    Without an ``executed`` topic the bare commands are read instead, so that the report can at
    least show them and say what it can't tell.

    Raises:
        BagError: nothing to judge in there, or something that can't be one run.
    """
    with Bag(path) as bag:
        found = Topics.in_bag(bag, names or TopicNames())
        if found is None:
            return _read_commands(bag, names or TopicNames())
        collected = RunColumns(found)
        for batch in bag.batches(*found.all()):
            collected.add(*batch)
        return collected.run(bag.notes)


def judge_stream(path: str | Path, judging: Judge, names: TopicNames | None = None) -> RunLog:
    """Read a recording of any length and have it judged piece by piece; return its last piece.

    Raises:
        BagError: nothing to judge in there, or something that can't be one run.
    """
    with Bag(path) as bag:
        found = Topics.in_bag(bag, names or TopicNames())
        if found is None:
            run = _read_commands(bag, names or TopicNames())
        else:
            collected = RunColumns(found)
            enough = AT_ONCE
            for topic, times, data in bag.batches(*found.all()):
                # Before its next commands all else of a chunk of the file has been read.
                if topic == found.executed and len(collected) >= enough:
                    collected.drop(judging.feed(collected.run(bag.notes)))
                    enough = len(collected) + AT_ONCE
                collected.add(topic, times, data)
            run = collected.run(bag.notes)
    judging.feed(run, final=True)
    return run


class RunColumns:
    """Collects the messages of a run, serialized, from a bag or as they come in."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._commands = CommandColumns(topics.executed)
        self._measured = JointColumns()
        self._swaps: list[SwapEvent] = []
        self._chunks: list[tuple[tuple[str, ...], ActionChunk]] = []
        self._settings: list[tuple[int, Mapping[str, object]]] = []
        self._strange = self._refused = self._dropped = 0
        # How much later than its stamp a message came [ns], of the first ones on each topic.
        self._delays: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, topic: str, times_ns: Sequence[int], data: Sequence[bytes]) -> None:
        """Take serialized messages of one topic with their receive times [ns].

        Raises:
            BagError: they can't be of one run.
        """
        try:
            if topic == self._topics.executed or topic in self._topics.joint_states:
                delays = self._delays.setdefault(topic, [])
                few = slice(max(0, TIMED - len(delays)))
                pairs = zip(times_ns[few], data[few], strict=True)
                delays += [at - (stamp_ns(message) or at) for at, message in pairs]
            if topic == self._topics.executed:
                self._commands.add(data, times_ns)
                return
            if topic in self._topics.joint_states:
                self._measured.add(data, times_ns, self._topics.joint_states[topic])
                return
        except CdrError as error:
            raise BagError(f"{topic} can't be read: {error}") from error
        for time_ns, message in zip(times_ns, data, strict=True):
            try:
                if topic == self._topics.swap:
                    self._swaps.append(swap_of(message))
                elif topic == self._topics.settings:
                    self._settings.append((time_ns, settings_of(message)))
                elif topic == self._topics.chunk:
                    self._chunks.append(chunk_of(message)[:2])
            except (KeyError, ValueError):
                self._strange += 1

    def run(self, notes: Sequence[str] = ()) -> RunLog:
        """Return what is kept.

        Raises:
            BagError: nothing was commanded.
        """
        log = self._commands.log()
        chunks, refused = _with_columns_of(self._chunks, log.joints)
        if refused:
            self._refused += refused
            self._chunks = [(log.joints, c) for c in chunks]
        said = list(notes)
        if self._strange:
            said.append(
                f"{self._strange} swap, chunk or settings messages aren't in the known form, "
                "left out"
            )
        if self._refused:
            said.append(
                f"{self._refused} chunks are for other joints than {self._topics.executed}, "
                "left out"
            )
        if self._measured.faults:
            told = "; ".join(list(self._measured.faults.values())[:3])
            said.append(f"joint states that can't be used, the last that could holds: {told}")
        unmeasured = self._other_clock()
        return RunLog(
            log,
            None if self._topics.swap is None else self._swaps,
            None if self._topics.chunk is None else chunks,
            self._measured.log(log.joints)
            if self._topics.joint_states and not unmeasured
            else None,
            tuple(said),
            tuple(self._settings),
            self._dropped + len(chunks),
            unmeasured=unmeasured,
        )

    def _other_clock(self) -> str:
        """Return the sentence about joint states whose stamps can't be held to the commands'."""
        ours = median(self._delays.get(self._topics.executed) or [0])
        for topic in self._topics.joint_states:
            ahead = (ours - median(self._delays.get(topic) or [ours])) * 1e-9
            if abs(ahead) > OTHER_CLOCK_S:
                where = "ahead of" if ahead > 0 else "behind"
                return (
                    f"the joint states on {topic} are stamped by another clock, "
                    f"{abs(ahead):.1f} s {where} that of {self._topics.executed}"
                )
        return ""

    def drop(self, count: int) -> None:
        """Forget the ``count`` oldest records, and what belongs only to them."""
        if not count:
            return
        self._commands.drop(count)
        log = self._commands.log()
        origin = log.provenance
        if not len(log):
            return
        self._measured.drop_before(int(log.stamp_ns[0]) - 10**9)
        if origin is None:
            return
        used = set(zip(origin.chunk_epoch.tolist(), origin.chunk_seq.tolist(), strict=True))
        first = next((i for i, (_, c) in enumerate(self._chunks) if c.name in used), None)
        # The one before is what the first is compared with.
        cut = max(0, len(self._chunks) - KEPT if first is None else first - 1)
        self._dropped += cut
        del self._chunks[:cut]
        epoch, step = int(origin.step_epoch[0]), int(origin.step[0])
        swap = next(
            (i for i, s in enumerate(self._swaps) if s.step_epoch == epoch and s.step >= step),
            None,
        )
        del self._swaps[: max(0, len(self._swaps) - KEPT if swap is None else swap)]


def _read_commands(bag: Bag, names: TopicNames) -> RunLog:
    chunk = find_topic(bag, names.chunk, "rtc_inference/chunk", TRAJECTORY)
    return read_commands(bag, names.commands, chunk)


def _with_columns_of(
    found: Sequence[tuple[tuple[str, ...], ActionChunk]], joints: tuple[str, ...]
) -> tuple[list[ActionChunk], int]:
    """Return the chunks with their columns in the order of ``joints``, and how many can't be."""
    chunks = []
    for names, chunk in found:
        if names == joints:
            chunks.append(chunk)
        elif set(joints) <= set(names) and len(names) == chunk.action_dim:
            columns = chunk.actions[:, [names.index(j) for j in joints]]
            fields = {f: getattr(chunk, f) for f in chunk.__dataclass_fields__}
            chunks.append(ActionChunk(**{**fields, "actions": columns}))
    return chunks, len(found) - len(chunks)
