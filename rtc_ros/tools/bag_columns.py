"""Collects messages in compact arrays, column by column, for the types in ``core.run_log``."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.run_log import CommandLog, JointLog, Provenance, SwapEvent
from rtc_ros.tools.bag_reader import BagError

PREFIX = "rtc/"
"""Begins the names of the provenance fields in an ``executed`` message."""


class CommandColumns:
    """Collects ``executed`` messages in compact arrays."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._names: tuple[str, ...] | None = None
        self._joints: list[int] = []
        self._fields: list[int] = []
        self._stamps = array("q")
        self._rows = array("d")
        self._wanted: array[float] | None = array("d")
        self._sources = array("d")
        self._reasons: dict[str, int] = {}
        self._reason = array("q")

    def add(self, message: Any, time_ns: int) -> None:
        """Take a JointState that says what was executed."""
        names = tuple(message.name)
        if self._names is None:
            self._names = names
            self._joints = [i for i, n in enumerate(names) if not n.startswith(PREFIX)]
            self._fields = [
                names.index(PREFIX + f) for f in Provenance.names() if PREFIX + f in names
            ]
            if not self._joints:
                raise BagError(f"{self._topic} has messages without a joint name")
        elif names != self._names:
            raise BagError(
                f"the joints of {self._topic} change within the recording, from "
                f"{', '.join(self._names)} to {', '.join(names)}: this can't be one run"
            )
        position = np.asarray(message.position, dtype=np.float64)
        if len(position) != len(names):
            raise BagError(
                f"{self._topic} has a message with {len(names)} names and "
                f"{len(position)} positions"
            )
        self._stamps.append(_stamp(message, time_ns))
        self._rows.frombytes(position[self._joints].tobytes())
        self._sources.frombytes(position[self._fields].tobytes())
        velocity = np.asarray(message.velocity, dtype=np.float64)
        if len(velocity) < len(self._joints) or self._joints[-1] >= len(velocity):
            self._wanted = None
        elif self._wanted is not None:
            self._wanted.frombytes(velocity[self._joints].tobytes())
        reason = message.header.frame_id
        self._reason.append(self._reasons.setdefault(reason, len(self._reasons)))

    def log(self) -> CommandLog:
        """Return what was collected."""
        if self._names is None:
            raise BagError(f"{self._topic} has no messages: nothing was commanded")
        count, width = len(self._stamps), len(self._joints)
        origin = None
        if len(self._fields) == len(Provenance.names()):
            origin = Provenance.from_columns(_array(self._sources).reshape(count, -1))
        return CommandLog(
            tuple(self._names[i] for i in self._joints),
            np.frombuffer(self._stamps, dtype=np.int64),
            _array(self._rows).reshape(count, width),
            # Without provenance a velocity is just that.
            None
            if self._wanted is None or origin is None
            else _array(self._wanted).reshape(count, width),
            np.frombuffer(self._reason, dtype=np.int64),
            tuple(self._reasons),
            origin,
        )


class JointColumns:
    """Collects joint states; each message may have any of the joints."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._stamps = array("q")
        self._rows: list[np.ndarray] = []
        self._last: np.ndarray = np.zeros(0)

    def add(self, message: Any, time_ns: int) -> None:
        """Take a measured JointState; one with lists of unequal length is passed over."""
        position = np.asarray(message.position, dtype=np.float64)
        if len(position) != len(message.name):
            return
        for name in message.name:
            if name not in self._columns:
                self._columns[name] = len(self._columns)
                self._last = np.append(self._last, np.nan)
        self._last[[self._columns[n] for n in message.name]] = position
        self._stamps.append(_stamp(message, time_ns))
        self._rows.append(self._last.copy())

    def log(self, joints: Sequence[str]) -> JointLog | None:
        """Return the poses of ``joints``, None where none of them was ever measured."""
        if not self._rows or not any(j in self._columns for j in joints):
            return None
        position = np.full((len(self._rows), len(joints)), np.nan)
        for k, row in enumerate(self._rows):
            for j, joint in enumerate(joints):
                if self._columns.get(joint, len(row)) < len(row):
                    position[k, j] = row[self._columns[joint]]
        return JointLog(np.frombuffer(self._stamps, dtype=np.int64), position)


def swap_of(message: Any) -> SwapEvent:
    """Return what a swap message says.

    Raises:
        ValueError, TypeError: it has other keys or no numbers.
    """
    values: Mapping[str, str] = {v.key: v.value for v in message.values}
    fields: dict[str, Any] = {
        n: int(float(values[n])) for n in SwapEvent.__dataclass_fields__ if n in values
    }
    return SwapEvent(**{**fields, "guided": bool(fields.get("guided", 0))})


def chunk_of(message: Any) -> tuple[tuple[str, ...], ActionChunk]:
    """Return a chunk message's joints and chunk.

    Raises:
        KeyError, ValueError: it lacks the header that tells its place.
    """
    header = dict(part.split("=", 1) for part in message.header.frame_id.split())
    rows = np.array([p.positions for p in message.points], dtype=np.float64)
    chunk = ActionChunk(
        rows,
        int(header["origin_step"]),
        step_epoch=int(header["step_epoch"]),
        epoch=int(header["epoch"]),
        seq=int(header["seq"]),
        rows=int(header["rows"]),
        delay=int(header["delay"]),
        stride=int(header["stride"]),
        guided=header["guided"] == "1",
        end_ns=int(float(header.get("latency_ms", 0)) * 1e6),
    )
    return tuple(message.joint_names), chunk


def settings_of(message: Any) -> dict[str, Any]:
    """Return what a settings message says.

    Raises:
        ValueError: it isn't a JSON object.
    """
    values = json.loads(message.data)
    if not isinstance(values, dict):
        raise ValueError(f"the settings are no JSON object: {message.data}")
    return values


def _stamp(message: Any, time_ns: int) -> int:
    """Return the header's time [ns], or the receive time where the header has none."""
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or time_ns


def _array(values: array[float]) -> np.ndarray:
    return np.frombuffer(values, dtype=np.float64) if len(values) else np.zeros(0)
