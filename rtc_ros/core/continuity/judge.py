"""The continuity report: was the motion without pauses and jerks, and of the right rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity.motion import Motion, motion_of
from rtc_ros.core.continuity.run_log import CommandLog, JointLog, RunLog
from rtc_ros.core.continuity.seams import Seam, find_seams
from rtc_ros.core.continuity.sections import (
    Section,
    Spread,
    bare_section,
    control_period,
    section_of,
    section_slices,
    worst_of,
)
from rtc_ros.core.continuity.verdict import Thresholds, Verdict, verdict_of

MOVED_RAD = 1e-4
"""A run none of whose steps is larger than this didn't move the arm."""

MAX_RAD = 1e6
"""No joint is that far off; a value beyond is damage to the recording."""


@dataclass(frozen=True)
class JointFigures:
    """One joint, in rad (robot units), per step: ordinary steps against seams."""

    name: str
    ordinary_jump: Spread | None
    seam_jump: Spread | None
    ordinary_excess: Spread | None
    seam_excess: Spread | None
    tracking_rms: float | None


@dataclass(frozen=True)
class ContinuityReport:
    """What ``judge`` found. ``unknown`` are the sentences about what can't be told."""

    joints: tuple[JointFigures, ...]
    sections: tuple[Section, ...]
    seams: tuple[Seam, ...]
    steps: int
    ticks: int
    duration_s: float
    rate_hz: float | None
    starved_ticks: int
    waiting_ticks: int
    fault_ticks: int
    misplaced_steps: int
    limited_steps: int
    chunks_recorded: int | None
    seam_jump: Spread | None
    seam_jump_ratio: Spread | None
    seam_excess: Spread | None
    seam_excess_ratio: Spread | None
    seam_acceleration: Spread | None
    ordinary_jump: Spread | None
    ordinary_excess: Spread | None
    ordinary_excess_ratio: Spread | None
    ordinary_acceleration: Spread | None
    prefix_mismatch: Spread | None
    overlap_rms: Spread | None
    delays: Mapping[str, int]
    under_forecast: int | None
    stride: Spread | None
    lateness_us: Spread | None
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    thresholds: Thresholds
    verdict: Verdict


def judge(run: RunLog, thresholds: Thresholds | None = None) -> ContinuityReport:
    """Compute every figure of a recording and hold them against ``thresholds``.

    Runs of the step count (controller restarts) are separate sections: no difference is ever
    taken across two of them, so putting two recordings together changes no seam's figures.
    """
    thresholds = thresholds or Thresholds()
    log, origin = run.commands, run.commands.provenance
    chunks = {c.name: c for c in run.chunks or ()}
    parts: list[tuple[Section, Motion | None, list[Seam]]] = []
    for rows in section_slices(log):
        if origin is None:
            parts.append((bare_section(log, rows), None, []))
            continue
        motion = motion_of(log, rows, control_period(log, rows))
        epoch = int(origin.step_epoch[rows.start])
        swaps = {s.step: s for s in run.swaps or () if s.step_epoch in (epoch, NO_STEP)}
        seams = find_seams(log, rows, motion, swaps, chunks)
        parts.append((section_of(log, rows, motion, chunks), motion, seams))
    return _report(run, thresholds, parts)


def _report(
    run: RunLog, thresholds: Thresholds, parts: Sequence[tuple[Section, Motion | None, list[Seam]]]
) -> ContinuityReport:
    sections = tuple(section for section, _, _ in parts)
    motions = [motion for _, motion, _ in parts if motion is not None]
    seams = tuple(seam for _, _, found in parts for seam in found)
    origin = run.commands.provenance
    joints = _joint_figures(run, motions)

    def total(count: Callable[[Section], int]) -> int:
        return sum(count(s) for s in sections)

    def over_seams(figure: Callable[[Seam], float | int | None]) -> Spread | None:
        return Spread.of(np.array([figure(s) for s in seams], dtype=np.float64))

    def pooled(figure: Callable[[Motion], np.ndarray]) -> Spread | None:
        return Spread.of(np.concatenate([figure(m) for m in motions])) if motions else None

    lateness = None if origin is None else Spread.of(origin.lateness_us)
    rates = [(s.rate_hz, s.records) for s in sections if s.rate_hz]
    excess = over_seams(lambda s: s.excess_ratio)
    steps = total(lambda s: s.steps)
    starved = total(lambda s: s.starved_ticks)
    misplaced = total(lambda s: sum(s.misplaced.values()))
    forecasts = [
        (s.delay_forecast, s.delay_observed) for s in seams if s.delay_forecast is not None
    ]
    return ContinuityReport(
        joints=joints,
        sections=sections,
        seams=seams,
        steps=steps,
        ticks=total(lambda s: s.ticks),
        duration_s=sum(s.duration_s for s in sections),
        rate_hz=sum(r * n for r, n in rates) / sum(n for _, n in rates) if rates else None,
        starved_ticks=starved,
        waiting_ticks=total(lambda s: s.waiting_ticks),
        fault_ticks=total(lambda s: s.fault_ticks),
        misplaced_steps=misplaced,
        limited_steps=total(lambda s: s.limited_steps),
        chunks_recorded=None if run.chunks is None else len(run.chunks),
        seam_jump=over_seams(lambda s: s.jump_max),
        seam_jump_ratio=over_seams(lambda s: s.jump_ratio),
        seam_excess=over_seams(lambda s: s.excess_max),
        seam_excess_ratio=excess,
        seam_acceleration=over_seams(lambda s: s.acceleration_max),
        ordinary_jump=pooled(lambda m: worst_of(m.jump[m.ordinary])),
        ordinary_excess=pooled(lambda m: worst_of(m.inside(m.excess))),
        ordinary_excess_ratio=pooled(lambda m: worst_of(m.inside(m.excess) / _known(m.scale))),
        ordinary_acceleration=pooled(
            lambda m: worst_of(m.inside(m.bend)) / m.period_s**2,
        ),
        prefix_mismatch=over_seams(lambda s: s.prefix_mismatch),
        overlap_rms=over_seams(lambda s: s.overlap_rms),
        delays=dict(sorted(Counter(f"{f} -> {o}" for f, o in forecasts).items())),
        under_forecast=sum(o > f for f, o in forecasts) if forecasts else None,
        stride=over_seams(lambda s: s.stride),
        lateness_us=lateness,
        unknown=_unknown(run, seams),
        notes=run.notes,
        thresholds=thresholds,
        verdict=verdict_of(
            thresholds,
            has_provenance=origin is not None,
            steps=steps,
            moved=any(np.nanmax(np.abs(m.jump), initial=0.0) > MOVED_RAD for m in motions),
            starved=starved,
            misplaced=misplaced,
            worst_seam_excess=None if excess is None else excess.max,
            seams=len(seams),
            lateness_p99_s=None if lateness is None else lateness.p99 * 1e-6,
        ),
    )


def _known(scale: np.ndarray) -> np.ndarray:
    """Return ``scale`` [A] with NaN in place of 0, so that a division says "unknown"."""
    return np.where(scale > 0, scale, np.nan)


def _joint_figures(run: RunLog, motions: Sequence[Motion]) -> tuple[JointFigures, ...]:
    def spread(figure: Callable[[Motion], np.ndarray], joint: int) -> Spread | None:
        return Spread.of(np.abs(np.concatenate([figure(m)[:, joint] for m in motions])))

    names = run.commands.joints
    tracking = _tracking(run.commands, run.measured)
    if not motions:
        return tuple(
            JointFigures(n, None, None, None, None, t)
            for n, t in zip(names, tracking, strict=True)
        )
    return tuple(
        JointFigures(
            name=name,
            ordinary_jump=spread(lambda m: m.jump[m.ordinary], j),
            seam_jump=spread(lambda m: m.jump[m.seam], j),
            ordinary_excess=spread(lambda m: m.inside(m.excess), j),
            seam_excess=spread(lambda m: m.excess[m.seam], j),
            tracking_rms=tracking[j],
        )
        for j, name in enumerate(names)
    )


def _tracking(log: CommandLog, measured: JointLog | None) -> list[float | None]:
    """Return per joint the RMS of command minus measured pose at the command's time [rad]."""
    if measured is None or len(measured.stamp_ns) < 2 or not len(log):
        return [None] * len(log.joints)
    order = np.argsort(measured.stamp_ns, kind="stable")
    seen = measured.stamp_ns[order]
    inside = (log.stamp_ns >= seen[0]) & (log.stamp_ns <= seen[-1])
    inside &= np.isfinite(log.command).all(axis=1)
    figures: list[float | None] = []
    for joint, command in enumerate(log.command.T):
        # Relative times: nanoseconds since 1970 don't fit the float64 that interp works in.
        pose = np.interp(
            (log.stamp_ns[inside] - seen[0]).astype(np.float64),
            (seen - seen[0]).astype(np.float64),
            measured.position[order, joint],
        )
        error = pose - command[inside]
        good = error[np.abs(error) < MAX_RAD]
        figures.append(float(np.sqrt((good**2).mean())) if len(good) else None)
    return figures


def _unknown(run: RunLog, seams: Sequence[Seam]) -> tuple[str, ...]:
    if seams and all(s.excess_ratio is None for s in seams):
        return (*run.missing(), "too few ordinary steps to compare the seams with")
    return run.missing()
