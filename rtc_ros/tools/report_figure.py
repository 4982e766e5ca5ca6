"""One picture of a run, to be read at a glance: motion, seams, delays, holds, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.run_log import CommandLog, RunLog
from rtc_ros.tools.figure_panels import (
    FAULT,
    GOOD,
    INK,
    STARVED,
    WAITING,
    draw_facts,
    draw_sizes,
    draw_worst_seam,
)
from rtc_ros.tools.figure_timeline import MAX_JOINTS, draw_delays, draw_motion, draw_seams


def draw_report(report: ContinuityReport, run: RunLog, title: str, path: str | Path) -> None:
    """Write the picture of ``report`` on ``run`` as a PNG (1900 by 1200 pixels)."""
    groups = joint_groups(run.commands.joints)
    figure = Figure(figsize=(19, 12), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(groups) + 2,
        2,
        width_ratios=(3.1, 1.25),
        height_ratios=(*[2.2] * len(groups), 1.3, 1.0),
        left=0.045,
        right=0.985,
        top=0.885,
        bottom=0.05,
        wspace=0.11,
        hspace=0.24,
    )
    time = seconds(run.commands)
    axes: list[Axes] = []
    for row, (name, joints) in enumerate(groups):
        axis = figure.add_subplot(grid[row, 0], sharex=axes[0] if axes else None)
        draw_motion(axis, report, run.commands, time, name, joints)
        axes.append(axis)
    axes.append(figure.add_subplot(grid[-2, 0], sharex=axes[0]))
    draw_seams(axes[-1], report)
    axes.append(figure.add_subplot(grid[-1, 0], sharex=axes[0]))
    draw_delays(axes[-1], report)
    axes[-1].set_xlabel("time [s]")
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    if len(time):
        begin = _begin(run.commands, time)
        axes[0].set_xlim(begin, max(time[-1], begin + 1e-3))

    side = grid[:, 1].subgridspec(3, 1, height_ratios=(1.15, 1.0, 1.15), hspace=0.33)
    draw_worst_seam(figure.add_subplot(side[0]), report, run)
    draw_sizes(figure.add_subplot(side[1]), report)
    draw_facts(figure.add_subplot(side[2]), report)
    _draw_title(figure, report, title)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


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


def seconds(log: CommandLog) -> np.ndarray:
    """Return the time of each record [s] since the first."""
    return (log.stamp_ns - log.stamp_ns[:1]) * 1e-9


def _begin(log: CommandLog, time: np.ndarray) -> float:
    """Return where the picture begins: at most a second before the first executed step."""
    if log.provenance is None:
        return 0.0
    executed = np.flatnonzero(log.provenance.row >= 0)
    return max(0.0, float(time[executed[0]]) - 1.0) if len(executed) else 0.0


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
