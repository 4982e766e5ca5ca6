"""Where one chunk took over from another, and what that did to the motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.run_log import CommandLog, SwapEvent

SCALE_FLOOR = 0.05
"""A joint's scale is at least this part of the largest joint's: noise of a joint that rests
never counts as a jump."""

MIN_ORDINARY = 20
"""Ordinary steps without which there is nothing to compare a seam with."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Differences of the commands of one section (N records, A joints), NaN where undefined.

    ``jump`` [N, A] is a_k − a_(k−1) as commanded. ``excess`` [N, A] is how far step k departs from
    the mean of the steps before and after it: the jump without the motion's own velocity and
    steady acceleration. It is measured on what the chunk asked for, so limits that smear a jump
    over several steps don't hide it, except for joints that already were being limited.
    ``bend`` [N, A] is the larger of the two second differences that step k is part of.
    ``executed``, ``seam``, ``ordinary`` [N] mark records; ordinary ones continue their chunk.
    ``scale`` [A] is the size of a fast ordinary step per joint; NaN with too few of them.
    ``period_s`` is the control period, NaN where unknown.
    """

    period_s: float
    jump: np.ndarray
    excess: np.ndarray
    bend: np.ndarray
    executed: np.ndarray
    seam: np.ndarray
    ordinary: np.ndarray
    scale: np.ndarray

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` [N, A] of the steps whose neighbours are ordinary too, as [M, A]."""
        around = self.ordinary.copy()
        around[1:] &= self.ordinary[:-1]
        around[:-1] &= self.ordinary[1:]
        return values[around]


@dataclass(frozen=True)
class Seam:
    """One seam. Angles in rad (robot units), times in s, steps and ticks counted.

    ``record`` is the index in the log, ``time_s`` since the log's first record. ``jump`` and
    ``excess`` per joint as in ``Motion``; the ratios are the largest over the joints, each divided
    by its ``scale``. ``prefix_mismatch`` is the largest difference between the chunk's frozen
    rows 0..d−1 and what was executed; ``overlap_rms`` and ``overlap_max`` compare rows from d on
    with the previous chunk's for the same steps. None: can't be known from the recording.
    """

    record: int
    time_s: float
    step_epoch: int
    step: int
    row: int
    chunk: tuple[int, int]
    previous: tuple[int, int]
    held_ticks: int
    limited: int
    jump: tuple[float, ...]
    jump_max: float
    jump_ratio: float | None
    excess_max: float | None
    excess_ratio: float | None
    worst_joint: int
    acceleration_max: float | None
    delay_forecast: int | None
    delay_observed: int
    stride: int | None
    guided: bool | None
    prefix_mismatch: float | None
    overlap_rms: float | None
    overlap_max: float | None


def motion_of(log: CommandLog, rows: slice, period_s: float | None = None) -> Motion:
    """Take the differences within ``rows``, one section of a log with provenance."""
    origin = log.provenance
    assert origin is not None
    command = log.command[rows]
    executed = origin.row[rows] != NO_STEP
    wanted = command if log.wanted is None else log.wanted[rows]
    wanted = np.where(executed[:, None], wanted, command)
    limited = wanted != command

    tick = np.diff(origin.tick[rows], prepend=origin.tick[rows][0] - 2)
    # A fault holds without counting ticks, so an equal tick is a neighbour too.
    unbroken = (tick == 1) | ((tick == 0) & ~executed)
    jump = _difference(command)
    jump[~unbroken] = np.nan

    was_limited = np.zeros_like(limited)
    was_limited[1:] = limited[:-1]
    asked = np.full_like(jump, np.nan)
    asked[1:] = np.where(was_limited, command, wanted)[1:] - command[:-1]
    asked[~unbroken] = np.nan
    before = _shift(jump, 1)
    after = np.where(was_limited, _shift(jump, -1), _shift(_difference(wanted), -1))
    after[~_next(unbroken)] = np.nan
    excess = asked - 0.5 * (before + after)
    second = _shift(jump, -1) - jump
    bend = np.fmax(np.abs(second), np.abs(_shift(second, 1)))

    seam, ordinary = _classify(origin.chunk_epoch[rows], origin.chunk_seq[rows], executed)
    ordinary &= unbroken
    calm = np.where(limited | was_limited, np.nan, np.abs(jump))[ordinary]
    scale = np.full(command.shape[1], np.nan)
    if len(calm) >= MIN_ORDINARY:
        quiet = np.isnan(calm).all(axis=0)
        scale = np.nanpercentile(np.where(quiet, 0.0, calm), 99, axis=0)
        scale = np.maximum(scale, SCALE_FLOOR * scale.max())
    return Motion(period_s or np.nan, jump, excess, bend, executed, seam, ordinary, scale)


def find_seams(
    log: CommandLog,
    rows: slice,
    motion: Motion,
    swaps: Mapping[int, SwapEvent],
    chunks: Mapping[tuple[int, int], ActionChunk],
) -> list[Seam]:
    """Return the seams of one section; ``swaps`` by step and ``chunks`` by name add to them."""
    origin = log.provenance
    assert origin is not None
    played = rows.start + np.flatnonzero(motion.executed)
    steps = origin.step[played]
    seams = []
    for i in np.flatnonzero(motion.seam):
        k = rows.start + int(i)
        before = played[np.searchsorted(played, k) - 1]
        name = (int(origin.chunk_epoch[k]), int(origin.chunk_seq[k]))
        last = (int(origin.chunk_epoch[before]), int(origin.chunk_seq[before]))
        event = swaps.get(int(origin.step[k]))
        if event is not None and (event.chunk_epoch, event.chunk_seq) != name:
            event = None
        chunk = chunks.get(name)
        jump_ratio, _ = _ratio(motion.jump[i], motion.scale)
        excess_ratio, worst = _ratio(motion.excess[i], motion.scale)
        bend = _largest(motion.bend[i])
        source = event or chunk
        forecast = NO_STEP if chunk is None else chunk.delay
        observed = int(origin.row[k])
        if event is not None and event.delay_observed != NO_STEP:
            forecast, observed = event.delay_forecast, event.delay_observed
        seams.append(
            Seam(
                record=k,
                time_s=float(log.stamp_ns[k] - log.stamp_ns[0]) * 1e-9,
                step_epoch=int(origin.step_epoch[k]),
                step=int(origin.step[k]),
                row=int(origin.row[k]),
                chunk=name,
                previous=last,
                held_ticks=k - int(before) - 1,
                limited=int(origin.limited[k]),
                jump=tuple(float(x) for x in np.nan_to_num(motion.jump[i])),
                jump_max=_largest(motion.jump[i]) or 0.0,
                jump_ratio=jump_ratio,
                excess_max=_largest(motion.excess[i]),
                excess_ratio=excess_ratio,
                worst_joint=worst,
                acceleration_max=None if bend is None else bend / motion.period_s**2,
                delay_forecast=None if forecast == NO_STEP else forecast,
                delay_observed=observed,
                stride=None if source is None else source.stride,
                guided=None if source is None else source.guided,
                prefix_mismatch=_prefix_mismatch(chunk, steps, log.command, played),
                **_overlap(chunk, chunks.get(last)),
            )
        )
    return seams


def _classify(
    epoch: np.ndarray, seq: np.ndarray, executed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mark the records [N] that begin another chunk, and those that continue the same one."""
    seam, ordinary = np.zeros_like(executed), np.zeros_like(executed)
    played = np.flatnonzero(executed)
    now, last = played[1:], played[:-1]
    same = (epoch[now] == epoch[last]) & (seq[now] == seq[last])
    seam[now[~same]] = True
    ordinary[now[same & (now == last + 1)]] = True
    return seam, ordinary


def _prefix_mismatch(
    chunk: ActionChunk | None, steps: np.ndarray, command: np.ndarray, played: np.ndarray
) -> float | None:
    if chunk is None or chunk.delay < 1:
        return None
    first = np.searchsorted(steps, chunk.origin_step)
    here = slice(first, first + min(chunk.delay, chunk.horizon))
    rows = steps[here] - chunk.origin_step
    good = (rows >= 0) & (rows < min(chunk.delay, chunk.horizon))
    if not good.any():
        return None
    return float(np.abs(chunk.actions[rows[good]] - command[played[here][good]]).max())


def _overlap(chunk: ActionChunk | None, last: ActionChunk | None) -> dict[str, float | None]:
    nothing: dict[str, float | None] = {"overlap_rms": None, "overlap_max": None}
    if chunk is None or last is None or chunk.step_epoch != last.step_epoch:
        return nothing
    begin = chunk.origin_step + chunk.delay
    end = min(chunk.origin_step + chunk.horizon, last.origin_step + last.horizon)
    if begin >= end or begin < last.origin_step:
        return nothing
    new = chunk.actions[begin - chunk.origin_step : end - chunk.origin_step]
    old = last.actions[begin - last.origin_step : end - last.origin_step]
    apart = np.abs(new - old)
    return {"overlap_rms": float(np.sqrt((apart**2).mean())), "overlap_max": float(apart.max())}


def _difference(values: np.ndarray) -> np.ndarray:
    """Return values[k] − values[k−1], NaN for k = 0."""
    return np.diff(values, axis=0, prepend=np.full((1, values.shape[1]), np.nan))


def _shift(values: np.ndarray, by: int) -> np.ndarray:
    """Return values[k − by], NaN outside."""
    moved = np.full_like(values, np.nan)
    if by > 0:
        moved[by:] = values[:-by]
    else:
        moved[:by] = values[-by:]
    return moved


def _next(mask: np.ndarray) -> np.ndarray:
    """Return mask[k + 1], False at the end."""
    return np.append(mask[1:], False)


def _largest(row: np.ndarray) -> float | None:
    return None if np.isnan(row).all() else float(np.nanmax(np.abs(row)))


def _ratio(row: np.ndarray, scale: np.ndarray) -> tuple[float | None, int]:
    """Return the largest of |row| / scale over the joints, and its joint (-1: none)."""
    if np.isnan(row).all() or not np.isfinite(scale).all() or not scale.all():
        return None, -1
    parts = np.abs(np.nan_to_num(row)) / scale
    worst = int(parts.argmax())
    return float(parts[worst]), worst
