"""Collects messages in compact arrays, column by column, for the types in ``core.run_log``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rtc_ros.bags.cdr import JointStates, joint_states, status_values, string, trajectory
from rtc_ros.bags.reader import BagError
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.run_log import CommandLog, Provenance, SwapEvent

PREFIX = "rtc/"
"""Begins the names of the provenance fields in an ``executed`` message."""


class CommandColumns:
    """Collects ``executed`` messages; ``drop`` forgets the oldest."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._names: tuple[str, ...] | None = None
        self._joints: list[int] = []
        self._fields: list[int] = []
        self._has_wanted = True
        self._blocks: list[_Block] = []
        self._reasons: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(b.stamp_ns) for b in self._blocks)

    def add(self, data: Sequence[bytes], times_ns: Sequence[int]) -> None:
        """Take serialized JointStates that say what was executed.

        Raises:
            BagError: their joints change, or lists are of unequal length.
            CdrError: one is damaged.
        """
        parts = list(joint_states(data))
        for part in parts:
            self._check(part)
        if not parts:
            return
        order = np.argsort(np.concatenate([p.index for p in parts]), kind="stable")
        widest = [p.velocity.shape[1] for p in parts]
        self._has_wanted &= min(widest) > max(self._joints)
        times = np.asarray(times_ns, dtype=np.int64)
        reasons = [self._reasons.setdefault(p.frame_id, len(self._reasons)) for p in parts]
        joints = self._joints
        self._blocks.append(
            _Block(
                np.concatenate([p.times_ns(times) for p in parts])[order],
                np.concatenate([p.position[:, joints] for p in parts])[order],
                np.concatenate([p.velocity[:, joints] for p in parts])[order]
                if self._has_wanted
                else None,
                np.concatenate([p.position[:, self._fields] for p in parts])[order],
                np.repeat(reasons, [len(p.index) for p in parts])[order],
            )
        )

    def _check(self, part: JointStates) -> None:
        names = part.names
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
        if part.position.shape[1] != len(names):
            raise BagError(
                f"{self._topic} has a message with {len(names)} names and "
                f"{part.position.shape[1]} positions"
            )

    def drop(self, count: int) -> None:
        """Forget the ``count`` oldest records."""
        whole = self._whole()
        self._blocks = [
            _Block(
                whole.stamp_ns[count:].copy(),
                whole.command[count:].copy(),
                None if whole.wanted is None else whole.wanted[count:].copy(),
                whole.source[count:].copy(),
                whole.reason[count:].copy(),
            )
        ]

    def log(self) -> CommandLog:
        """Return what is kept.

        Raises:
            BagError: there never was a message.
        """
        if self._names is None:
            raise BagError(f"{self._topic} has no messages: nothing was commanded")
        whole = self._whole()
        self._blocks = [whole]
        has_origin = len(self._fields) == len(Provenance.names())
        return CommandLog(
            tuple(self._names[i] for i in self._joints),
            whole.stamp_ns,
            whole.command,
            # Without provenance a velocity is just that.
            whole.wanted if has_origin else None,
            whole.reason,
            tuple(self._reasons),
            Provenance.from_columns(whole.source) if has_origin else None,
        )

    def _whole(self) -> _Block:
        if len(self._blocks) == 1 and (self._has_wanted or self._blocks[0].wanted is None):
            return self._blocks[0]
        wanted = [b.wanted for b in self._blocks if b.wanted is not None]
        return _Block(
            np.concatenate([b.stamp_ns for b in self._blocks]),
            np.concatenate([b.command for b in self._blocks]),
            np.concatenate(wanted) if self._has_wanted else None,
            np.concatenate([b.source for b in self._blocks]),
            np.concatenate([b.reason for b in self._blocks]),
        )


class _Block(NamedTuple):
    stamp_ns: np.ndarray
    command: np.ndarray
    wanted: np.ndarray | None
    source: np.ndarray
    reason: np.ndarray


def swap_of(data: bytes) -> SwapEvent:
    """Return what a serialized swap message says.

    Raises:
        ValueError: it has other keys or no numbers, or is damaged.
    """
    values = status_values(data)
    fields: dict[str, Any] = {
        n: int(float(values[n])) for n in SwapEvent.__dataclass_fields__ if n in values
    }
    if "step" not in fields:
        raise ValueError("a swap without its step")
    return SwapEvent(**{**fields, "guided": bool(fields.get("guided", 0))})


def chunk_of(data: bytes) -> tuple[tuple[str, ...], ActionChunk, dict[str, str]]:
    """Return a serialized chunk's joints, the chunk, and its header's fields as text.

    Raises:
        KeyError, ValueError: it lacks the header that tells its place, or is damaged.
    """
    message = trajectory(data)
    header = dict(part.split("=", 1) for part in message.frame_id.split())
    chunk = ActionChunk(
        message.positions,
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
    return message.names, chunk, header


def settings_of(data: bytes) -> dict[str, Any]:
    """Return what a serialized settings message says.

    Raises:
        ValueError: it isn't a JSON object.
    """
    text = string(data)
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"the settings are no JSON object: {text}")
    return values
