"""What a picture of a run needs, in bounded memory: a thinned motion, holds, the worst seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.run_log import CommandLog
from rtc_ros.core.continuity.seams import Seam
from rtc_ros.core.continuity.sections import Part
from rtc_ros.core.continuity.sent import Curve
from rtc_ros.core.cursor import Mode

AROUND = 12
"""Records shown on either side of a seam."""

MAX_CLOSEUPS = 12
MAX_POINTS = 20_000
MAX_HOLDS = 2_000

HELD = ((Mode.WAITING, "waiting"), (Mode.FAULT, "fault"), (Mode.STARVED, "starved"))


@dataclass(frozen=True, eq=False)
class Closeup:
    """One seam with the M records around it: ``offset`` int[M] from the seam.

    ``command`` [M, A] as sent, ``executed`` bool[M] (else held). ``before`` and ``after`` are the
    two chunks, None where the recording doesn't have them. ``curve`` is what drivers were sent
    between the rows, where the recording tells.
    """

    seam: Seam
    offset: np.ndarray
    command: np.ndarray
    executed: np.ndarray
    before: ActionChunk | None
    after: ActionChunk | None
    curve: Curve | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """``time_s`` [M] since the first record and ``command`` [M, A], thinned to fit a picture.

    NaN in ``command`` separates sections. ``holds`` are (begin [s], end [s], why), at most
    ``MAX_HOLDS``. ``closeups`` are the worst seams, worst first. ``begin_s`` is the first
    executed step's time.
    """

    joints: tuple[str, ...]
    time_s: np.ndarray
    command: np.ndarray
    holds: tuple[tuple[float, float, Mode], ...]
    closeups: tuple[Closeup, ...]
    has_provenance: bool
    begin_s: float
    end_s: float


class EvidenceSum:
    """Collects evidence, part by part."""

    def __init__(self, joints: Sequence[str], has_provenance: bool) -> None:
        self._joints = tuple(joints)
        self._has_provenance = has_provenance
        self._times: list[np.ndarray] = []
        self._commands: list[np.ndarray] = []
        self._kept, self._stride, self._seen = 0, 1, 0
        self._holds: list[tuple[float, float, Mode]] = []
        self._closeups: list[Closeup] = []
        self._begin_s: float | None = None
        self._end_s = 0.0

    def add(
        self,
        log: CommandLog,
        part: Part,
        motion: Motion,
        seams: Sequence[Seam],
        chunks: Mapping[tuple[int, int], ActionChunk],
        begin_ns: int,
    ) -> None:
        """Take what a picture could show of one part."""
        rows = part.rows
        time = (log.stamp_ns[rows] - begin_ns) * 1e-9
        self._end_s = float(time[-1])
        first = np.flatnonzero(motion.executed)[:1]
        if self._begin_s is None and len(first):
            self._begin_s = float(time[first[0]])
        self._add_motion(log, part, time)
        if log.provenance is not None:
            for mode, word in HELD:
                for begin, end in spans(log.held(mode, word)[rows])[:MAX_HOLDS]:
                    self._hold(float(time[begin]), float(time[min(end, len(time) - 1)]), mode)
        worst = sorted(seams, key=_size, reverse=True)[:MAX_CLOSEUPS]
        close = [self._closeup(log, part, seam, chunks) for seam in worst]
        # Sorting is stable: of equal seams the earlier ones stay.
        self._closeups = sorted(
            [*self._closeups, *close], key=lambda c: _size(c.seam), reverse=True
        )[:MAX_CLOSEUPS]

    def evidence(self) -> Evidence:
        """Return what was collected."""
        none = np.zeros((0, len(self._joints)))
        return Evidence(
            self._joints,
            np.concatenate(self._times) if self._times else np.zeros(0),
            np.concatenate(self._commands) if self._commands else none,
            tuple(self._holds),
            tuple(self._closeups),
            self._has_provenance,
            self._begin_s or 0.0,
            self._end_s,
        )

    def _add_motion(self, log: CommandLog, part: Part, time: np.ndarray) -> None:
        take = np.arange(-self._seen % self._stride, len(time), self._stride)
        self._seen += len(time)
        command = log.command[part.rows][take]
        if part.number == 0 and len(command) and self._times:
            command[0] = np.nan  # nothing joins two sections
        self._times.append(time[take])
        self._commands.append(command)
        self._kept += len(take)
        while self._kept > 2 * MAX_POINTS:
            self._times = [np.concatenate(self._times)[::2]]
            self._commands = [np.concatenate(self._commands)[::2]]
            self._kept, self._stride = len(self._times[0]), 2 * self._stride

    def _hold(self, begin: float, end: float, mode: Mode) -> None:
        if self._holds and self._holds[-1][2] is mode and begin - self._holds[-1][1] < 1e-9:
            self._holds[-1] = (self._holds[-1][0], end, mode)
        elif len(self._holds) < MAX_HOLDS:
            self._holds.append((begin, end, mode))

    @staticmethod
    def _closeup(
        log: CommandLog, part: Part, seam: Seam, chunks: Mapping[tuple[int, int], ActionChunk]
    ) -> Closeup:
        origin = log.provenance
        assert origin is not None
        at = seam.record - part.first
        rows = slice(max(part.context.start, at - AROUND), min(part.context.stop, at + AROUND))
        return Closeup(
            seam,
            np.arange(rows.start, rows.stop) - at,
            log.command[rows].copy(),
            origin.row[rows] != NO_STEP,
            chunks.get(seam.previous),
            chunks.get(seam.chunk),
        )


def _size(seam: Seam) -> float:
    return -1.0 if seam.excess_ratio is None else seam.excess_ratio


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of each stretch of True in ``mask``; end is the first that isn't."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(b), int(e)) for b, e in zip(edges[::2], edges[1::2], strict=True)]
