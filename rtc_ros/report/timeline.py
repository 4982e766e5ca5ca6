"""The panels over time: commanded joints, each seam's excess, delays."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.evidence import Evidence
from rtc_ros.core.continuity.seams import Seam
from rtc_ros.core.cursor import Mode
from rtc_ros.report.panels import (
    FAINT,
    FAULT,
    GUIDED,
    INK,
    ORDINARY,
    STARVED,
    UNGUIDED,
    WAITING,
    legend_above,
    nothing,
)

JOINT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A7A7A")
MAX_JOINTS = len(JOINT_COLOURS)
MAX_BANDS = 500
"""With more chunks than this a band is thinner than a pixel or two, and only dazzles."""


def draw_motion(
    axis: Axes,
    report: ContinuityReport,
    evidence: Evidence,
    name: str,
    joints: Sequence[int],
) -> None:
    """Draw the commanded joints over bands of alternating grey, one for each chunk."""
    _shade(axis, report, evidence)
    for colour, joint in zip(JOINT_COLOURS, joints, strict=False):
        label = evidence.joints[joint].removeprefix("left_").removeprefix("right_")
        values = evidence.command[:, joint]
        axis.plot(evidence.time_s, values, color=colour, lw=1.3, label=label)
    for seam in _over(report):
        axis.axvline(seam.time_s, color=STARVED, lw=0.7, alpha=0.35, zorder=1)
    axis.set_ylabel(f"{name}: commanded [rad]")
    legend_above(axis, MAX_JOINTS)


def _over(report: ContinuityReport) -> list[Seam]:
    """Return the seams past the threshold, the worst of them where they are many."""
    limit = report.thresholds.max_seam_excess
    over = [s for s in report.seams if 0 <= limit < (s.excess_ratio or 0.0)]
    return sorted(over, key=lambda s: s.excess_ratio or 0.0, reverse=True)[:MAX_BANDS]


def _shade(axis: Axes, report: ContinuityReport, evidence: Evidence) -> None:
    edges = [s.time_s for s in report.seams]
    if 0 < len(edges) <= MAX_BANDS:
        for begin, end in zip(edges[::2], [*edges[1::2], evidence.end_s], strict=False):
            axis.axvspan(begin, end, color=FAINT, lw=0, zorder=0)
    colours = {Mode.WAITING: WAITING, Mode.FAULT: FAULT, Mode.STARVED: STARVED}
    for begin, end, mode in evidence.holds:
        axis.axvspan(begin, end, color=colours[mode], alpha=0.3, lw=0, zorder=0.5)


def draw_seams(axis: Axes, report: ContinuityReport) -> None:
    """Draw each seam's excess as a stem, against the threshold and the ordinary steps' range."""
    axis.set_ylabel("seam's excess\n[fast ordinary steps]")
    seams = [s for s in report.seams if s.excess_ratio is not None]
    if not seams:
        nothing(axis, "no seam to compare")
        return
    for guided, colour, label in (
        (True, GUIDED, "guided chunk"),
        (False, UNGUIDED, "unguided chunk"),
        (None, INK, "chunk"),
    ):
        chosen = [s for s in seams if s.guided is guided]
        if chosen:
            x = [s.time_s for s in chosen]
            y = [s.excess_ratio or 0.0 for s in chosen]
            axis.vlines(x, 0, y, color=colour, lw=1.1, alpha=0.8)
            axis.plot(x, y, "o", ms=3.2, color=colour, label=label)
    if report.ordinary_excess_ratio is not None:
        axis.axhspan(
            0,
            report.ordinary_excess_ratio.p99,
            color=ORDINARY,
            alpha=0.25,
            lw=0,
            label="99 % of ordinary steps",
        )
    limit = report.thresholds.max_seam_excess
    if limit >= 0:
        axis.axhline(limit, color=STARVED, lw=1.2, ls="--", label=f"threshold {limit:g}")
    axis.set_ylim(0, max(1.15 * limit, 1.1 * max(s.excess_ratio or 0.0 for s in seams)))
    legend_above(axis, MAX_JOINTS)


def draw_delays(axis: Axes, report: ContinuityReport) -> None:
    """Draw the delay forecast and observed at each seam, and the steps held before it."""
    axis.set_ylabel("delay d [steps]")
    if not report.seams:
        nothing(axis, "no seam")
        return
    time = [s.time_s for s in report.seams]
    known = [(s.time_s, s.delay_forecast) for s in report.seams if s.delay_forecast is not None]
    if known:
        axis.step(*zip(*known, strict=True), where="post", color=ORDINARY, lw=2, label="forecast")
    axis.plot(
        time, [s.delay_observed for s in report.seams], "o", ms=3.2, color=GUIDED, label="observed"
    )
    over = [
        (s.time_s, s.delay_observed)
        for s in report.seams
        if s.delay_forecast is not None and s.delay_observed > s.delay_forecast
    ]
    if over:
        axis.plot(
            *zip(*over, strict=True),
            "o",
            ms=6,
            color=STARVED,
            label="later than forecast",
            zorder=4,
        )
    held = [(s.time_s, s.held_ticks) for s in report.seams if s.held_ticks]
    if held:
        axis.plot(
            *zip(*held, strict=True), "x", ms=6, color=STARVED, label="ticks held before the seam"
        )
    axis.set_ylim(bottom=0)
    axis.margins(y=0.15)
    legend_above(axis, MAX_JOINTS)
