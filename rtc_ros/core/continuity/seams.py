"""Where one chunk took over from another, and what that did to the motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.run_log import CommandLog, SwapEvent


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


def _largest(row: np.ndarray) -> float | None:
    return None if np.isnan(row).all() else float(np.nanmax(np.abs(row)))


def _ratio(row: np.ndarray, scale: np.ndarray) -> tuple[float | None, int]:
    """Return the largest of |row| / scale over the joints, and its joint (-1: none)."""
    if np.isnan(row).all() or not np.isfinite(scale).all() or not scale.all():
        return None, -1
    parts = np.abs(np.nan_to_num(row)) / scale
    worst = int(parts.argmax())
    return float(parts[worst]), worst
