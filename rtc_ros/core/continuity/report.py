"""What a continuity report holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rtc_ros.core.continuity.seams import Seam
from rtc_ros.core.continuity.sections import Section
from rtc_ros.core.continuity.sent import SentFigures
from rtc_ros.core.continuity.spread import Ratio, Spread
from rtc_ros.core.continuity.verdict import Thresholds, Verdict


@dataclass(frozen=True)
class JointFigures:
    """One joint, ordinary steps against seams: rad, rad/s, rad/s², rad/s³ (robot units)."""

    name: str
    ordinary_jump: Spread | None
    seam_jump: Spread | None
    ordinary_excess: Spread | None
    seam_excess: Spread | None
    ordinary_speed: Spread | None
    seam_speed: Spread | None
    ordinary_acceleration: Spread | None
    seam_acceleration: Spread | None
    ordinary_jerk: Spread | None
    seam_jerk: Spread | None
    tracking_rms: float | None


@dataclass(frozen=True)
class ContinuityReport:
    """What ``judge`` found. ``unknown`` are the sentences about what can't be told.

    ``seams`` are all ``seam_count`` seams, or the worst of them where those are too many to
    list; figures over seams are over all. ``seam_to_ordinary`` is ``seam_excess_ratio`` over
    ``ordinary_excess_ratio``: 1 where seams are as smooth as what is between them.
    ``late_ticks`` began later than the threshold for the
    p99. SPARC and LDLJ are means over the sections, weighted by their records.
    """

    joints: tuple[JointFigures, ...]
    sections: tuple[Section, ...]
    seams: tuple[Seam, ...]
    seam_count: int
    steps: int
    ticks: int
    duration_s: float
    rate_hz: float | None
    starved_ticks: int
    waiting_ticks: int
    fault_ticks: int
    misplaced_steps: int
    limited_steps: int
    late_ticks: int | None
    chunks_recorded: int | None
    seam_jump: Spread | None
    seam_jump_ratio: Spread | None
    seam_excess: Spread | None
    seam_excess_ratio: Spread | None
    seam_speed: Spread | None
    seam_acceleration: Spread | None
    seam_jerk: Spread | None
    ordinary_jump: Spread | None
    ordinary_excess: Spread | None
    ordinary_excess_ratio: Spread | None
    seam_to_ordinary: Ratio | None
    ordinary_speed: Spread | None
    ordinary_acceleration: Spread | None
    ordinary_jerk: Spread | None
    prefix_mismatch: Spread | None
    overlap_rms: Spread | None
    sparc: float | None
    ldlj: float | None
    delays: Mapping[str, int]
    under_forecast: int | None
    stride: Spread | None
    lateness_us: Spread | None
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    thresholds: Thresholds
    verdict: Verdict
    sent: SentFigures | None = None
    """What drivers of rows were sent; None where the recording doesn't tell."""
