"""Collects joint states in compact arrays; each message may have any of the joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.bags.cdr import joint_states
from rtc_ros.bags.joint_positions import read_positions
from rtc_ros.core.continuity.run_log import JointLog


class JointColumns:
    """The poses of all joints that were ever measured, message by message.

    ``faults`` are the sentences about positions that could not be used (``read_positions``).
    """

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self._columns: dict[str, int] = {}
        self._stamps: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._last: np.ndarray = np.zeros(0)

    def add(self, data: Sequence[bytes], times_ns: Sequence[int], prefix: str = "") -> None:
        """Take serialized JointStates; what of them can't be used is in ``faults``.

        ``prefix`` is put before their names.

        Raises:
            CdrError: one is damaged.
        """
        parts = list(joint_states(data))
        read = [read_positions([prefix + n for n in p.names], p.position) for p in parts]
        for found in read:
            self.faults = {**found.faults, **self.faults}
            for name in found.joints:
                self._columns.setdefault(name, len(self._columns))
        width = len(self._columns)
        self._last = np.append(self._last, np.full(width - len(self._last), np.nan))
        times = np.asarray(times_ns, dtype=np.int64)
        stamps = np.zeros(len(data), dtype=np.int64)
        rows = np.zeros((len(data) + 1, width))
        # Where a joint's value comes from: its own message or the last one that had the joint.
        source = np.zeros((len(data) + 1, width), dtype=np.int64)
        rows[0] = self._last
        for part, found in zip(parts, read, strict=True):
            columns = np.array([self._columns[n] for n in found.joints], dtype=np.int64)
            place = part.index[:, None] + 1
            rows[place, columns] = found.positions
            source[place, columns] = np.where(np.isnan(found.positions), 0, place)
            stamps[part.index] = part.times_ns(times)
        kept = np.flatnonzero(source[1:].any(axis=1))
        filled = np.take_along_axis(rows, np.maximum.accumulate(source, axis=0), axis=0)
        self._last = filled[-1]
        if len(kept):
            self._rows.append(filled[1:][kept])
            self._stamps.append(stamps[kept])

    def drop_before(self, stamp_ns: int) -> None:
        """Forget what was measured before, but for a last pose."""
        if not self._rows:
            return
        stamps, rows = self._whole()
        old = np.flatnonzero(stamps < stamp_ns)
        begin = int(old[-1]) if len(old) else 0
        self._stamps, self._rows = [stamps[begin:].copy()], [rows[begin:].copy()]

    def log(self, joints: Sequence[str]) -> JointLog | None:
        """Return the poses of ``joints``, None where none of them was ever measured."""
        if not self._rows or not any(j in self._columns for j in joints):
            return None
        stamps, rows = self._whole()
        self._stamps, self._rows = [stamps], [rows]
        position = np.full((len(rows), len(joints)), np.nan)
        for j, joint in enumerate(joints):
            if joint in self._columns:
                position[:, j] = rows[:, self._columns[joint]]
        return JointLog(stamps, position)

    def _whole(self) -> tuple[np.ndarray, np.ndarray]:
        width = len(self._columns)
        rows = [
            np.pad(r, ((0, 0), (0, width - r.shape[1])), constant_values=np.nan)
            for r in self._rows
        ]
        return np.concatenate(self._stamps), np.concatenate(rows)
