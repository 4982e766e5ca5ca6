"""What a section of a recording counts: steps, holds, misplaced steps, timing, smoothness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.run_log import CommandLog
from rtc_ros.core.continuity.smoothness import log_dimensionless_jerk, spectral_arc_length
from rtc_ros.core.cursor import Mode

PAUSE_PERIODS = 1.5
"""Stamps further apart than this many periods are a pause or a gap in the recording."""

SAME_RAD = 1e-9
"""A row that differs from its chunk by more than this is not the chunk's row."""


@dataclass(frozen=True)
class Spread:
    """How a magnitude is spread over ``count`` values."""

    count: int
    median: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread | None:
        """Return the spread of the values that are not NaN, None where there are none."""
        values = np.asarray(values, dtype=np.float64).ravel()
        values = values[~np.isnan(values)]
        if not len(values):
            return None
        return cls(len(values), *(float(x) for x in np.percentile(values, (50, 95, 99, 100))))


@dataclass(frozen=True)
class Section:
    """One run of the controller's step count. Durations in s, lateness in µs."""

    step_epoch: int | None
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


def section_slices(log: CommandLog) -> Iterator[slice]:
    """Yield the slices of the log that count steps in one epoch."""
    if not len(log):
        return
    cuts = [0, len(log)]
    if log.provenance is not None:
        epoch = log.provenance.step_epoch
        cuts = [0, *(np.flatnonzero(np.diff(epoch)) + 1).tolist(), len(log)]
    for begin, end in pairwise(cuts):
        yield slice(begin, end)


def control_period(log: CommandLog, rows: slice) -> float | None:
    """Return the control period [s]: the median distance of neighbouring stamps."""
    apart = np.diff(log.stamp_ns[rows])
    apart = apart[apart > 0]
    return float(np.median(apart)) * 1e-9 if len(apart) else None


def bare_section(log: CommandLog, rows: slice) -> Section:
    """Return what can be said of commands without provenance."""
    period = control_period(log, rows)
    size = np.abs(np.diff(log.command[rows], axis=0)).max(axis=1, initial=0.0)
    count = rows.stop - rows.start
    speed = np.linalg.norm(np.diff(log.command[rows], axis=0), axis=1)
    return Section(
        step_epoch=None,
        first_record=rows.start,
        records=count,
        steps=0,
        ticks=0,
        starved_ticks=0,
        waiting_ticks=0,
        fault_ticks=0,
        misplaced={},
        unrecorded_ticks=0,
        limited_steps=0,
        lateness_us=None,
        start_jump=None,
        ordinary_jump=Spread.of(size),
        ordinary_excess=None,
        ordinary_acceleration=None,
        **_timing(log, rows, period, count),
        **_smoothness(speed, period),
    )


def section_of(
    log: CommandLog,
    rows: slice,
    motion: Motion,
    chunks: Mapping[tuple[int, int], ActionChunk],
) -> Section:
    """Return what is counted in ``rows`` of a log with provenance."""
    origin = log.provenance
    assert origin is not None
    steps = int(motion.executed.sum())
    period = None if np.isnan(motion.period_s) else motion.period_s
    tick = origin.tick[rows]
    first = np.flatnonzero(motion.executed)[:1]
    start = motion.jump[first]
    held = {m: log.held(m, w)[rows] for m, w in _HOLDS.items()}
    speed = np.linalg.norm(np.nan_to_num(motion.jump), axis=1)
    return Section(
        step_epoch=int(origin.step_epoch[rows.start]),
        first_record=rows.start,
        records=rows.stop - rows.start,
        steps=steps,
        ticks=int(tick[-1] - tick[0] + 1),
        starved_ticks=int(held[Mode.STARVED].sum()),
        waiting_ticks=int(held[Mode.WAITING].sum()),
        fault_ticks=int(held[Mode.FAULT].sum()),
        misplaced=_misplaced(log, rows, motion, chunks),
        unrecorded_ticks=int(np.maximum(np.diff(tick) - 1, 0).sum()),
        limited_steps=int((motion.executed & (origin.limited[rows] > 0)).sum()),
        lateness_us=Spread.of(origin.lateness_us[rows]),
        start_jump=None if np.isnan(start).all() else float(np.nanmax(np.abs(start))),
        ordinary_jump=Spread.of(worst_of(motion.jump[motion.ordinary])),
        ordinary_excess=Spread.of(worst_of(motion.inside(motion.excess))),
        ordinary_acceleration=Spread.of(worst_of(motion.inside(motion.bend)) / motion.period_s**2),
        **_timing(log, rows, period, steps),
        **_smoothness(speed[int(first[0]) if len(first) else len(speed) :], period),
    )


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


def _timing(log: CommandLog, rows: slice, period: float | None, steps: int) -> _Timing:
    stamps = log.stamp_ns[rows]
    apart = np.diff(stamps) * 1e-9
    paused = apart > PAUSE_PERIODS * period if period else np.zeros(len(apart), dtype=bool)
    moving = float(apart[~paused].clip(min=0).sum())
    return {
        "duration_s": float(apart.clip(min=0).sum()),
        "control_period_s": period,
        "rate_hz": steps / (moving + (period or 0.0)) if moving else None,
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
    rows: slice,
    motion: Motion,
    chunks: Mapping[tuple[int, int], ActionChunk],
) -> dict[str, int]:
    """Count the steps that were not the right row of the right chunk in the right order."""
    origin = log.provenance
    assert origin is not None
    played = rows.start + np.flatnonzero(motion.executed)
    step, row = origin.step[played], origin.row[played]
    advance, passed = np.diff(step), np.diff(origin.tick[played])
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
