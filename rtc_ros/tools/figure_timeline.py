"""The panels over time: commanded joints, each seam's excess, delays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.run_log import CommandLog
from rtc_ros.core.cursor import Mode
from rtc_ros.tools.figure_panels import (
    FAINT,
    FAULT,
    GUIDED,
    INK,
    ORDINARY,
    STARVED,
    UNGUIDED,
    WAITING,
    nothing,
)

JOINT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A7A7A")
MAX_JOINTS = len(JOINT_COLOURS)
MAX_BANDS = 500
"""With more chunks than this a band is thinner than a pixel or two, and only dazzles."""

MAX_POINTS = 20_000


def draw_motion(
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


def _shade(axis: Axes, report: ContinuityReport, log: CommandLog, time: np.ndarray) -> None:
    if log.provenance is None:
        return
    edges = [s.time_s for s in report.seams]
    if 0 < len(edges) <= MAX_BANDS:
        for begin, end in zip(edges[::2], [*edges[1::2], time[-1]], strict=False):
            axis.axvspan(begin, end, color=FAINT, lw=0, zorder=0)
    for mode, word, colour in (
        (Mode.WAITING, "waiting", WAITING),
        (Mode.FAULT, "fault", FAULT),
        (Mode.STARVED, "starved", STARVED),
    ):
        for begin, end in spans(log.held(mode, word)):
            last = time[min(end, len(time) - 1)]
            axis.axvspan(time[begin], last, color=colour, alpha=0.3, lw=0, zorder=0.5)


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of each stretch of True in ``mask``; end is the first that isn't."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(b), int(e)) for b, e in zip(edges[::2], edges[1::2], strict=True)]


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
    _legend_above(axis)


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
