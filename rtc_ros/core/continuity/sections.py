"""What a section of a recording counts: steps, holds, misplaced steps, timing, smoothness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.run_log import CommandLog
from rtc_ros.core.continuity.smoothness import log_dimensionless_jerk, spectral_arc_length
from rtc_ros.core.continuity.spread import Spread
from rtc_ros.core.cursor import Mode

PAUSE_PERIODS = 1.5
"""Stamps further apart than this many periods are a pause or a gap in the recording."""

SAME_RAD = 1e-9
"""A row that differs from its chunk by more than this is not the chunk's row."""


@dataclass(frozen=True)
class Section:
    """One run of the controller's step count, or a span of a long one (``part`` counts them).

    Durations in s, lateness in µs.
    """

    step_epoch: int | None
    part: int
    first_record: int
    records: int
    steps: int
    ticks: int
    duration_s: float
    control_period_s: float | None
    rate_hz: float | None
    starved_ticks: int
    waiting_ticks: int
    fault_ticks: int
    misplaced: Mapping[str, int]
    unrecorded_ticks: int
    pauses: int
    clock_jumps_back: int
    limited_steps: int
    lateness_us: Spread | None
    start_jump: float | None
    ordinary_jump: Spread | None
    ordinary_excess: Spread | None
    ordinary_acceleration: Spread | None
    sparc: float | None
    ldlj: float | None


@dataclass(frozen=True)
class Part:
    """Records ``rows`` of a log that are judged together: a section or a span of a long one.

    ``number`` counts the spans of the section. ``context`` [.., ..) are the records of the same
    section that differences may reach into; ``first`` is the number of record 0 of the log in
    the whole recording.
    """

    rows: slice
    context: slice
    number: int = 0
    first: int = 0

    @property
    def own(self) -> slice:
        """The part's records within its context."""
        return slice(self.rows.start - self.context.start, self.rows.stop - self.context.start)


def control_period(log: CommandLog, rows: slice) -> float | None:
    """Return the control period [s]: the median distance of neighbouring stamps."""
    apart = np.diff(log.stamp_ns[rows])
    apart = apart[apart > 0]
    return float(np.median(apart)) * 1e-9 if len(apart) else None


def section_of(
    log: CommandLog, part: Part, motion: Motion, chunks: Mapping[tuple[int, int], ActionChunk]
) -> Section:
    """Return what is counted in one part of a log; without provenance, what can be said of it."""
    rows, origin = part.rows, log.provenance
    period = None if np.isnan(motion.period_s) else motion.period_s
    # The record before belongs to the same motion: the way from there is this part's.
    lead = int(rows.start > part.context.start)
    first = np.flatnonzero(motion.executed)[:1]
    start = motion.jump[first] if part.number == 0 else motion.jump[:0]
    speed = np.linalg.norm(np.nan_to_num(motion.jump), axis=1)
    if not lead:
        speed = speed[int(first[0]) + (origin is None) if len(first) else len(speed) :]
    steps = int(motion.executed.sum())
    counts: _Counts = {"step_epoch": None, "steps": 0, "ticks": 0, "lateness_us": None}
    held = dict.fromkeys(_HOLDS, 0)
    if origin is not None:
        tick = origin.tick[rows.start - lead : rows.stop]
        counts = {
            "step_epoch": int(origin.step_epoch[rows.start]),
            "steps": steps,
            "ticks": int(tick[-1] - tick[0] + 1 - lead),
            "lateness_us": Spread.of(origin.lateness_us[rows]),
        }
        held = {m: int(log.held(m, w)[rows].sum()) for m, w in _HOLDS.items()}
        unrecorded = int(np.maximum(np.diff(tick) - 1, 0).sum())
    return Section(
        **counts,
        part=part.number,
        first_record=part.first + rows.start,
        records=rows.stop - rows.start,
        starved_ticks=held[Mode.STARVED],
        waiting_ticks=held[Mode.WAITING],
        fault_ticks=held[Mode.FAULT],
        misplaced={} if origin is None else _misplaced(log, part, motion, chunks),
        unrecorded_ticks=0 if origin is None else unrecorded,
        limited_steps=0
        if origin is None
        else int((motion.executed & (origin.limited[rows] > 0)).sum()),
        start_jump=None if np.isnan(start).all() else float(np.nanmax(np.abs(start))),
        ordinary_jump=Spread.of(worst_of(motion.jump[motion.ordinary])),
        ordinary_excess=Spread.of(worst_of(motion.inside(motion.excess))),
        ordinary_acceleration=Spread.of(worst_of(motion.inside(motion.bend)) / motion.period_s**2),
        **_timing(log, slice(rows.start - lead, rows.stop), period, steps, lead),
        **_smoothness(speed, period),
    )


class _Counts(TypedDict):
    step_epoch: int | None
    steps: int
    ticks: int
    lateness_us: Spread | None


class _Timing(TypedDict):
    duration_s: float
    control_period_s: float | None
    rate_hz: float | None
    pauses: int
    clock_jumps_back: int


class _Smoothness(TypedDict):
    sparc: float | None
    ldlj: float | None


_HOLDS = {Mode.STARVED: "starved", Mode.WAITING: "waiting", Mode.FAULT: "fault"}


def _timing(log: CommandLog, rows: slice, period: float | None, steps: int, lead: int) -> _Timing:
    stamps = log.stamp_ns[rows]
    apart = np.diff(stamps) * 1e-9
    paused = apart > PAUSE_PERIODS * period if period else np.zeros(len(apart), dtype=bool)
    moving = float(apart[~paused].clip(min=0).sum())
    return {
        "duration_s": float(apart.clip(min=0).sum()),
        "control_period_s": period,
        "rate_hz": steps / (moving + (0.0 if lead else period or 0.0)) if moving else None,
        "pauses": int(paused.sum()),
        "clock_jumps_back": int((apart < 0).sum()),
    }


def _smoothness(speed: np.ndarray, period: float | None) -> _Smoothness:
    if period is None:
        return {"sparc": None, "ldlj": None}
    figures = (f(speed, 1 / period) for f in (spectral_arc_length, log_dimensionless_jerk))
    sparc, ldlj = (None if np.isnan(x) else x for x in figures)
    return {"sparc": sparc, "ldlj": ldlj}


def worst_of(rows: np.ndarray) -> np.ndarray:
    """Return the largest magnitude over the joints of each row, NaN where it has none."""
    sized = np.abs(rows)
    known = ~np.isnan(sized).all(axis=1)
    worst = np.full(len(rows), np.nan)
    worst[known] = np.nanmax(sized[known], axis=1)
    return worst


def _misplaced(
    log: CommandLog,
    part: Part,
    motion: Motion,
    chunks: Mapping[tuple[int, int], ActionChunk],
) -> dict[str, int]:
    """Count the steps that were not the right row of the right chunk in the right order."""
    origin = log.provenance
    assert origin is not None
    played = part.rows.start + np.flatnonzero(motion.executed)
    step, row = origin.step[played], origin.row[played]
    earlier = origin.row[part.context.start : part.rows.start] >= 0
    last = part.context.start + np.flatnonzero(earlier)[-1:]
    chain = np.concatenate([last, played])
    advance, passed = np.diff(origin.step[chain]), np.diff(origin.tick[chain])
    foreign = altered = 0
    name = np.stack([origin.chunk_epoch[played], origin.chunk_seq[played]], axis=1)
    cuts = [0, *(np.flatnonzero(np.diff(name, axis=0).any(axis=1)) + 1).tolist(), len(played)]
    for begin, end in pairwise(cuts):
        chunk = chunks.get((int(name[begin, 0]), int(name[begin, 1]))) if begin < end else None
        if chunk is None:
            continue
        if chunk.step_epoch != origin.step_epoch[played[begin]]:
            foreign += end - begin
            continue
        used = row[begin:end]
        good = (used >= 0) & (used < chunk.rows)
        altered += int((~good).sum())
        if log.wanted is not None:
            apart = np.abs(chunk.actions[used[good]] - log.wanted[played[begin:end][good]])
            altered += int((apart > SAME_RAD).any(axis=1).sum())
    return {
        "wrong row": int((row != step - origin.origin_step[played]).sum()),
        # Ticks that the recording lacks may have executed the steps that it lacks.
        "skipped": int(np.maximum(advance - passed, 0).sum()),
        "repeated": int((advance < 1).sum()),
        "chunk of another run": foreign,
        "not the chunk's row": altered,
    }
