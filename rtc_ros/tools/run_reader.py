"""From a bag's messages to the arrays that the continuity figures are computed from."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.run_log import CommandLog, RunLog, SwapEvent
from rtc_ros.tools.bag_columns import (
    CommandColumns,
    JointColumns,
    chunk_of,
    settings_of,
    swap_of,
)
from rtc_ros.tools.bag_reader import Bag, BagError

JOINT_STATE = "sensor_msgs/msg/JointState"
STATUS = "diagnostic_msgs/msg/DiagnosticStatus"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
ARRAY = "std_msgs/msg/Float64MultiArray"


@dataclass(frozen=True)
class TopicNames:
    """Which topics to read; None: found by their usual names, in whatever namespace."""

    executed: str | None = None
    swap: str | None = None
    chunk: str | None = None
    joint_states: str | None = None
    settings: str | None = None
    commands: tuple[str, ...] = ()


def read_run(path: str | Path, names: TopicNames | None = None) -> RunLog:
    """Read a recording, message by message.

    Without an ``executed`` topic the bare commands are read instead, so that the report can at
    least show them and say what it can't tell.

    Raises:
        BagError: nothing to judge in there, or something that can't be one run.
    """
    names = names or TopicNames()
    with Bag(path) as bag:
        executed = _find(bag, names.executed, "rtc_controller/executed", JOINT_STATE)
        if executed is None:
            return _read_commands(bag, names)
        space = executed.removesuffix("rtc_controller/executed") if not names.executed else None
        swap = _find(bag, names.swap, "rtc_controller/swap", STATUS, space)
        chunk = _find(bag, names.chunk, "rtc_inference/chunk", TRAJECTORY, space)
        states = _find(bag, names.joint_states, "joint_states", JOINT_STATE, space)
        changes = _find(bag, names.settings, "rtc_inference/settings", STRING, space)
        commands = CommandColumns(executed)
        settings: list[tuple[int, Mapping[str, object]]] = []
        swaps: list[SwapEvent] = []
        trajectories: list[tuple[tuple[str, ...], ActionChunk]] = []
        measured = JointColumns()
        strange = 0
        for topic, time_ns, message in bag.messages(
            *(t for t in (executed, swap, chunk, states, changes) if t is not None)
        ):
            if topic == executed:
                commands.add(message, time_ns)
            elif topic == states:
                measured.add(message, time_ns)
            else:
                try:
                    if topic == swap:
                        swaps.append(swap_of(message))
                    elif topic == changes:
                        settings.append((time_ns, settings_of(message)))
                    else:
                        trajectories.append(chunk_of(message))
                except (KeyError, ValueError, TypeError):
                    strange += 1
        log = commands.log()
        notes = list(bag.notes)
        if strange:
            notes.append(
                f"{strange} swap, chunk or settings messages aren't in the known form, left out"
            )
        chunks, refused = _with_columns_of(trajectories, log.joints)
        if refused:
            notes.append(f"{refused} chunks are for other joints than {executed}, left out")
        return RunLog(
            log,
            None if swap is None else swaps,
            None if chunk is None else chunks,
            measured.log(log.joints) if states is not None else None,
            tuple(notes),
            tuple(settings),
        )


def _find(
    bag: Bag, named: str | None, usual: str, msgtype: str, space: str | None = None
) -> str | None:
    """Return the topic that is ``named``, or the one with the ``usual`` name."""
    if named is not None:
        if named not in bag.topics:
            raise BagError(f"{bag.path} has no topic {named}; it has {', '.join(bag.topics)}")
        if bag.topics[named] != msgtype:
            raise BagError(f"{named} has the type {bag.topics[named]}, expected {msgtype}")
        return named
    found = [
        t for t, kind in bag.topics.items() if kind == msgtype and f"/{t}".endswith(f"/{usual}")
    ]
    if space is not None and f"{space}{usual}" in found:
        return f"{space}{usual}"
    if len(found) > 1:
        raise BagError(
            f"{bag.path} has {len(found)} topics of that name, {', '.join(sorted(found))}: "
            "name the one that is meant"
        )
    return found[0] if found else None


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


def _read_commands(bag: Bag, names: TopicNames) -> RunLog:
    """Read bare commands: a row for each message of the first topic, the others as they stood."""
    topics = names.commands or tuple(
        sorted(t for t, k in bag.topics.items() if k == ARRAY and t.endswith("/commands"))
    )
    wrong = [t for t in topics if bag.topics.get(t) != ARRAY]
    if wrong or not topics:
        raise BagError(
            f"{bag.path} has no …/rtc_controller/executed and "
            + (f"{wrong[0]} is no {ARRAY}" if wrong else "no …/commands either")
            + f"; its topics are {', '.join(sorted(bag.topics)) or 'none'}"
        )
    last: dict[str, np.ndarray] = {}
    stamps, rows = array("q"), []
    for topic, time_ns, message in bag.messages(*topics):
        last[topic] = np.asarray(message.data, dtype=np.float64)
        if topic == topics[0]:
            stamps.append(time_ns)
            rows.append(dict(last))
    sizes = {t: len(v) for t, v in last.items()}
    joints = tuple(f"{t}[{i}]" for t in topics for i in range(sizes.get(t, 0)))
    whole = [k for k, row in enumerate(rows) if {t: len(v) for t, v in row.items()} == sizes]
    if not whole:
        raise BagError(f"{bag.path} has no complete command on {', '.join(topics)}")
    log = CommandLog(
        joints,
        np.frombuffer(stamps, dtype=np.int64)[whole],
        np.array([np.concatenate([rows[k][t] for t in topics if t in sizes]) for k in whole]),
    )
    return RunLog(log, notes=tuple(bag.notes))
