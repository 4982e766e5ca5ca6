"""Two or more runs one above the other, on the same scales: what a strategy does to the motion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.evidence import Evidence
from rtc_ros.report.figure import joint_groups
from rtc_ros.report.timeline import draw_motion, draw_seams


def draw_comparison(
    runs: Sequence[tuple[str, ContinuityReport, Evidence]], path: str | Path
) -> None:
    """Write a PNG: for each (title, report, evidence) one arm's commands and all seams.

    The arm is the last group of joints (the right one, where joints are called so).
    """
    figure = Figure(figsize=(16, 5.2 * len(runs)), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        2 * len(runs),
        1,
        height_ratios=[2.0, 1.0] * len(runs),
        hspace=0.32,
        left=0.055,
        right=0.985,
        top=1 - 0.55 / (5.2 * len(runs)),
        bottom=0.06,
    )
    seam_axes = []
    for row, (title, report, evidence) in enumerate(runs):
        name, joints = joint_groups(evidence.joints)[-1]
        motion = figure.add_subplot(grid[2 * row])
        draw_motion(motion, report, evidence, name, joints)
        motion.set_title(title, loc="right", fontsize=15, fontweight="bold")
        seams = figure.add_subplot(grid[2 * row + 1], sharex=motion)
        draw_seams(seams, report)
        seam_axes.append(seams)
    highest = max(axis.get_ylim()[1] for axis in seam_axes)
    for axis in seam_axes:
        axis.set_ylim(0.0, highest)
    seam_axes[-1].set_xlabel("time [s]")
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
