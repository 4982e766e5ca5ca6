"""Where one chunk took over from another, and what that did to the motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity.motion import Motion
from rtc_ros.core.continuity.run_log import CommandLog, SwapEvent
from rtc_ros.core.continuity.sections import Part, worst_of


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
    part: Part,
    motion: Motion,
    swaps: Mapping[int, SwapEvent],
    chunks: Mapping[tuple[int, int], ActionChunk],
    begin_ns: int,
) -> list[Seam]:
    """Return the seams of one part; ``swaps`` by step and ``chunks`` by name add to them.

    ``begin_ns`` is the stamp of the recording's first record.
    """
    origin = log.provenance
    if origin is None:
        return []
    played = part.context.start + np.flatnonzero(origin.row[part.context] != NO_STEP)
    steps = origin.step[played]
    found = np.flatnonzero(motion.seam)
    jumps, bends = motion.jump[found], worst_of(motion.bend[found]) / motion.period_s**2
    jump_sizes, excess_sizes = worst_of(jumps), worst_of(motion.excess[found])
    jump_ratios, _ = _ratios(jumps, motion.scale)
    ratios, joints = _ratios(motion.excess[found], motion.scale)
    befores = played[np.searchsorted(played, part.rows.start + found) - 1]
    seams = []
    for n, k in enumerate((part.rows.start + found).tolist()):
        before = int(befores[n])
        name = (int(origin.chunk_epoch[k]), int(origin.chunk_seq[k]))
        last = (int(origin.chunk_epoch[before]), int(origin.chunk_seq[before]))
        event = swaps.get(int(origin.step[k]))
        if event is not None and (event.chunk_epoch, event.chunk_seq) != name:
            event = None
        chunk = chunks.get(name)
        source = event or chunk
        forecast = NO_STEP if chunk is None else chunk.delay
        observed = int(origin.row[k])
        if event is not None and event.delay_observed != NO_STEP:
            forecast, observed = event.delay_forecast, event.delay_observed
        seams.append(
            Seam(
                record=part.first + k,
                time_s=float(log.stamp_ns[k] - begin_ns) * 1e-9,
                step_epoch=int(origin.step_epoch[k]),
                step=int(origin.step[k]),
                row=int(origin.row[k]),
                chunk=name,
                previous=last,
                held_ticks=k - before - 1,
                limited=int(origin.limited[k]),
                jump=tuple(np.nan_to_num(jumps[n]).tolist()),
                jump_max=_known(jump_sizes[n]) or 0.0,
                jump_ratio=_known(jump_ratios[n]),
                excess_max=_known(excess_sizes[n]),
                excess_ratio=_known(ratios[n]),
                worst_joint=int(joints[n]),
                acceleration_max=_known(bends[n]),
                delay_forecast=None if forecast == NO_STEP else forecast,
                delay_observed=observed,
                stride=None if source is None or source.stride == NO_STEP else source.stride,
                # A chunk of which no forecast is known may have been guided or not.
                guided=None if source is None or forecast == NO_STEP else source.guided,
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
    begin = chunk.origin_step + max(0, chunk.delay)
    end = min(chunk.origin_step + chunk.horizon, last.origin_step + last.horizon)
    if begin >= end or begin < last.origin_step:
        return nothing
    new = chunk.actions[begin - chunk.origin_step : end - chunk.origin_step]
    old = last.actions[begin - last.origin_step : end - last.origin_step]
    apart = np.abs(new - old)
    return {"overlap_rms": float(np.sqrt((apart**2).mean())), "overlap_max": float(apart.max())}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ratios(rows: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest of |row| / scale for each of N rows [N, A], and its joint.

    NaN and -1 where there is nothing to compare.
    """
    ratio, joint = np.full(len(rows), np.nan), np.full(len(rows), -1)
    if len(rows) and np.isfinite(scale).all() and scale.all():
        known = ~np.isnan(rows).all(axis=1)
        parts = np.abs(np.nan_to_num(rows[known])) / scale
        ratio[known], joint[known] = parts.max(axis=1), parts.argmax(axis=1)
    return ratio, joint
