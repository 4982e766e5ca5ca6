"""How the commanded joints move from step to step, apart from any jump between chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity.run_log import CommandLog

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
    ``bend`` [N, A] is the largest of the second differences that step k is part of, ``twist``
    [N, A] that of the third ones. ``executed``, ``seam``, ``ordinary`` [N] mark records;
    ordinary ones continue their chunk, ``inner`` ones have ordinary neighbours on both sides and
    ``deep`` ones inner neighbours.
    ``scale`` [A] is the size of a fast ordinary step per joint: the larger of the p99 of its
    jumps and of its excess; NaN with too few ordinary steps.
    ``period_s`` is the control period, NaN where unknown.
    """

    period_s: float
    jump: np.ndarray
    excess: np.ndarray
    bend: np.ndarray
    twist: np.ndarray
    executed: np.ndarray
    seam: np.ndarray
    ordinary: np.ndarray
    inner: np.ndarray
    deep: np.ndarray
    scale: np.ndarray

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` [N, A] of the steps whose neighbours are ordinary too, as [M, A]."""
        return values[self.inner]


def motion_of(
    log: CommandLog, rows: slice, period_s: float | None = None, own: slice = slice(None)
) -> Motion:
    """Take the differences within ``rows``, records of one section of ``log``.

    ``own`` are the rows of these to return; the others are there for their differences only.
    Without provenance every record counts as executed from one chunk.
    """
    origin = log.provenance
    command = log.command[rows]
    count = len(command)
    if origin is None:
        executed = np.ones(count, dtype=bool)
        unbroken = np.arange(count) > 0
        seam, ordinary = np.zeros(count, dtype=bool), unbroken.copy()
    else:
        executed = origin.row[rows] != NO_STEP
        tick = np.diff(origin.tick[rows], prepend=origin.tick[rows][:1] - 2)
        # A fault holds without counting ticks, so an equal tick is a neighbour too.
        unbroken = (tick == 1) | ((tick == 0) & ~executed)
        seam, ordinary = _classify(origin.chunk_epoch[rows], origin.chunk_seq[rows], executed)
        ordinary &= unbroken
    wanted = command if log.wanted is None else log.wanted[rows]
    wanted = np.where(executed[:, None], wanted, command)
    limited = wanted != command

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
    second = _shift(jump, -1) - jump
    third = np.abs(second - _shift(second, 1))
    inner = ordinary & _next(ordinary) & _previous(ordinary)
    motion = Motion(
        period_s=period_s or np.nan,
        jump=jump[own],
        excess=(asked - 0.5 * (before + after))[own],
        bend=np.fmax(np.abs(second), np.abs(_shift(second, 1)))[own],
        twist=np.fmax(third, np.fmax(_shift(third, 1), _shift(third, -1)))[own],
        executed=executed[own],
        seam=seam[own],
        ordinary=ordinary[own],
        inner=inner[own],
        deep=(inner & _next(inner) & _previous(inner))[own],
        scale=np.full(command.shape[1], np.nan),
    )
    return replace(motion, scale=_scale(motion, (limited | was_limited)[own]))


def _scale(motion: Motion, limited: np.ndarray) -> np.ndarray:
    """Return the size [A] of a fast ordinary step per joint."""
    jump = np.abs(motion.jump[motion.ordinary])
    if len(jump) < MIN_ORDINARY:
        return motion.scale
    # Catching up under a limit is not how the joint moves, unless it does nothing else.
    free = np.where(limited[motion.ordinary], np.nan, jump)
    free = np.where(np.isfinite(free).sum(axis=0) < MIN_ORDINARY, jump, free)
    scale = _p99(free)
    inside = motion.inside(np.abs(motion.excess))
    if len(inside):
        scale = np.maximum(scale, _p99(inside))
    return np.maximum(scale, SCALE_FLOOR * scale.max())


def _p99(values: np.ndarray) -> np.ndarray:
    """Return the 99th percentile [A] of the known values [N, A], 0 where none is."""
    known = np.isfinite(values)
    return np.nanpercentile(np.where(known.any(axis=0), values, 0.0), 99, axis=0)


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


def _previous(mask: np.ndarray) -> np.ndarray:
    """Return mask[k − 1], False at the beginning."""
    return np.append(False, mask[:-1])[: len(mask)]


def _next(mask: np.ndarray) -> np.ndarray:
    """Return mask[k + 1], False at the end."""
    return np.append(mask[1:], False)[: len(mask)]
