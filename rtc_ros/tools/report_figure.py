"""One picture of a run, to be read at a glance: motion, seams, delays, holds, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.cursor import Mode
from rtc_ros.core.run_log import CommandLog, RunLog
from rtc_ros.tools.figure_panels import (
    FAINT,
    GOOD,
    GUIDED,
    INK,
    ORDINARY,
    STARVED,
    UNGUIDED,
    WAITING,
    draw_facts,
    draw_sizes,
    draw_worst_seam,
    nothing,
)

JOINT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A7A7A")
MAX_JOINTS = len(JOINT_COLOURS)
MAX_BANDS = 500
"""With more chunks than this a band is thinner than a pixel or two, and only dazzles."""

MAX_POINTS = 20_000


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
        _draw_motion(axis, report, run.commands, time, name, joints)
        axes.append(axis)
    axes.append(figure.add_subplot(grid[-2, 0], sharex=axes[0]))
    _draw_seams(axes[-1], report)
    axes.append(figure.add_subplot(grid[-1, 0], sharex=axes[0]))
    _draw_delays(axes[-1], report)
    axes[-1].set_xlabel("time [s]")
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    if len(time):
        axes[0].set_xlim(time[0], max(time[-1], time[0] + 1e-3))

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


def _draw_title(figure: Figure, report: ContinuityReport, title: str) -> None:
    passed = report.verdict.passed
    colour = {True: GOOD, False: STARVED, None: "#8A6D00"}[passed]
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


def _draw_motion(
    axis: Axes,
    report: ContinuityReport,
    log: CommandLog,
    time: np.ndarray,
    name: str,
    joints: Sequence[int],
) -> None:
    """Draw the commanded joints over bands of alternating grey, one for each chunk."""
    _shade(axis, report, log, time)
    stride = max(1, len(time) // MAX_POINTS)
    for colour, joint in zip(JOINT_COLOURS, joints, strict=False):
        values = log.command[:, joint].copy()
        # The line is broken where another section begins: nothing joins them.
        for section in report.sections[1:]:
            values[section.first_record] = np.nan
        label = log.joints[joint].removeprefix("left_").removeprefix("right_")
        axis.plot(time[::stride], values[::stride], color=colour, lw=1.3, label=label)
    for seam in report.seams:
        if 0 <= report.thresholds.max_seam_excess < (seam.excess_ratio or 0.0):
            axis.axvline(seam.time_s, color=STARVED, lw=0.7, alpha=0.35, zorder=1)
    axis.set_ylabel(f"{name}: commanded [rad]")
    _legend_above(axis)


def _legend_above(axis: Axes) -> None:
    axis.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 0.99),
        ncols=MAX_JOINTS,
        frameon=False,
        fontsize=10,
        borderaxespad=0.1,
        handlelength=1.2,
        columnspacing=1.4,
    )


def _shade(axis: Axes, report: ContinuityReport, log: CommandLog, time: np.ndarray) -> None:
    if log.provenance is None:
        return
    edges = [s.time_s for s in report.seams]
    if 0 < len(edges) <= MAX_BANDS:
        for begin, end in zip(edges[::2], [*edges[1::2], time[-1]], strict=False):
            axis.axvspan(begin, end, color=FAINT, lw=0, zorder=0)
    for mode, word, colour in (
        (Mode.WAITING, "waiting", WAITING),
        (Mode.FAULT, "fault", "#8A6D00"),
        (Mode.STARVED, "starved", STARVED),
    ):
        for begin, end in spans(log.held(mode, word)):
            last = time[min(end, len(time) - 1)]
            axis.axvspan(time[begin], last, color=colour, alpha=0.3, lw=0, zorder=0.5)


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of each stretch of True in ``mask``; end is the first that isn't."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(b), int(e)) for b, e in zip(edges[::2], edges[1::2], strict=True)]


def _draw_seams(axis: Axes, report: ContinuityReport) -> None:
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
    _legend_above(axis)


def _draw_delays(axis: Axes, report: ContinuityReport) -> None:
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
    _legend_above(axis)
