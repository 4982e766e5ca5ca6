"""One picture of a run, to be read at a glance: motion, seams, delays, holds, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from rtc_ros.core.continuity import ContinuityReport, RunLog, evidence_of
from rtc_ros.core.continuity.evidence import Evidence
from rtc_ros.report.panels import (
    FAULT,
    GOOD,
    INK,
    STARVED,
    WAITING,
    draw_facts,
    draw_sizes,
    draw_spectrum,
    draw_worst_seam,
)
from rtc_ros.report.timeline import MAX_JOINTS, draw_delays, draw_motion, draw_seams


def draw_report(
    report: ContinuityReport, run: RunLog | Evidence, title: str, path: str | Path
) -> None:
    """Write the picture of ``report`` on ``run`` as a PNG (1900 by 1200 pixels)."""
    evidence = evidence_of(run) if isinstance(run, RunLog) else run
    figure = Figure(figsize=(19, 12), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        1,
        2,
        width_ratios=(3.1, 1.25),
        left=0.045,
        right=0.985,
        top=0.885,
        bottom=0.05,
        wspace=0.11,
    )
    draw_timeline(figure, grid[0], report, evidence)
    if report.sent is None:
        side = grid[1].subgridspec(3, 1, height_ratios=(1.1, 0.85, 1.45), hspace=0.3)
    else:
        side = grid[1].subgridspec(4, 1, height_ratios=(0.65, 0.5, 0.55, 1.9), hspace=0.45)
        draw_spectrum(figure.add_subplot(side[2]), report.sent)
    draw_worst_seam(figure.add_subplot(side[0]), evidence)
    draw_sizes(figure.add_subplot(side[1]), report)
    draw_facts(figure.add_subplot(side[-1]), report)
    _draw_title(figure, report, title)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def draw_timeline(
    figure: Figure, place: SubplotSpec, report: ContinuityReport, evidence: Evidence
) -> None:
    """Draw motion, seams and delays one above the other, over one time axis."""
    groups = joint_groups(evidence.joints)
    heights = (*[2.2] * len(groups), 1.3, 1.0)
    grid = place.subgridspec(len(heights), 1, height_ratios=heights, hspace=0.24)
    axes: list[Axes] = []
    for row, (name, joints) in enumerate(groups):
        axis = figure.add_subplot(grid[row], sharex=axes[0] if axes else None)
        draw_motion(axis, report, evidence, name, joints)
        axes.append(axis)
    axes.append(figure.add_subplot(grid[-2], sharex=axes[0] if axes else None))
    draw_seams(axes[-1], report)
    axes.append(figure.add_subplot(grid[-1], sharex=axes[0]))
    draw_delays(axes[-1], report)
    axes[-1].set_xlabel("time [s]")
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    if len(evidence.time_s):
        # At most a second of waiting before the first executed step.
        begin = max(0.0, evidence.begin_s - 1.0)
        axes[0].set_xlim(begin, max(evidence.end_s, begin + 1e-3))


def joint_groups(joints: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return named groups of joint indices: by ``left…`` and ``right…``, or in their order."""
    sides: dict[str, list[int]] = {}
    for index, joint in enumerate(joints):
        side = next((s for s in ("left", "right") if s in joint.lower()), "")
        sides.setdefault(side, []).append(index)
    groups = []
    for side, members in sides.items():
        for begin in range(0, len(members), MAX_JOINTS):
            name = f"{side} arm" if side else "joints"
            groups.append((name, members[begin : begin + MAX_JOINTS]))
    return groups[:4]


def _draw_title(figure: Figure, report: ContinuityReport, title: str) -> None:
    passed = report.verdict.passed
    colour = {True: GOOD, False: STARVED, None: FAULT}[passed]
    figure.text(
        0.045,
        0.965,
        f" {report.verdict.word} ",
        fontsize=22,
        fontweight="bold",
        color="white",
        va="center",
        bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.25"},
    )
    offset = {True: 0.115, False: 0.11, None: 0.185}[passed]
    figure.text(offset, 0.965, title, fontsize=18, va="center", color=INK)
    figure.text(
        0.985,
        0.965,
        "grey bands: one chunk each · red: starved · dark grey: waiting · "
        "red lines: seams past the threshold",
        fontsize=10.5,
        va="center",
        ha="right",
        color=WAITING,
    )
    why = "   ·   ".join(report.verdict.why)
    figure.text(0.045, 0.925, why, fontsize=11.5, va="center", color=INK)
