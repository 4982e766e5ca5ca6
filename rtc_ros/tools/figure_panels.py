"""The panels beside the motion: the worst seam close up, sizes of steps, figures in words."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.run_log import RunLog
from rtc_ros.core.continuity.seams import Seam
from rtc_ros.tools.facts import facts

INK = "#222222"
FAINT = "#EFEFEF"
GOOD = "#2E7D32"
STARVED = "#C62828"
WAITING = "#9E9E9E"
FAULT = "#8A6D00"
ORDINARY = "#90A4AE"
GUIDED = "#1F5FA8"
UNGUIDED = "#D9730D"

AROUND = 12
"""Steps shown on either side of the worst seam."""


def nothing(axis: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=WAITING)
    axis.set_yticks([])


def worst_seam(report: ContinuityReport) -> Seam | None:
    """Return the seam with the largest excess."""
    known = [s for s in report.seams if s.excess_ratio is not None]
    return max(known, key=lambda s: s.excess_ratio or 0.0) if known else None


def draw_worst_seam(axis: Axes, report: ContinuityReport, run: RunLog) -> None:
    """Draw one joint, step by step, around the worst seam, with what both chunks had planned."""
    seam = worst_seam(report)
    if seam is None:
        axis.set_title("worst seam", loc="left", fontsize=11)
        nothing(axis, "no seam to compare")
        axis.set_xticks([])
        return
    log, joint = run.commands, seam.worst_joint
    assert log.provenance is not None
    axis.set_title(
        f"worst seam: step {seam.step}, {log.joints[joint]}, "
        f"{seam.excess_ratio:.2f} ordinary steps",
        loc="left",
        fontsize=11,
    )
    chunks = {c.name: c for c in run.chunks or ()}
    for name, colour, word in (
        (seam.previous, ORDINARY, "previous chunk"),
        (seam.chunk, GUIDED if seam.guided else UNGUIDED, "new chunk"),
    ):
        _draw_plan(axis, chunks.get(name), joint, seam.step, colour, word)
    begin = max(0, seam.record - AROUND)
    window = slice(begin, seam.record + AROUND)
    executed = log.provenance.row[window] >= 0
    offset = np.arange(window.start, window.start + len(executed)) - seam.record
    value = log.command[window, joint]
    axis.plot(offset, value, color=INK, lw=0.8, zorder=3)
    axis.plot(
        offset[executed], value[executed], "o", ms=4.5, color=INK, label="commanded", zorder=4
    )
    axis.plot(
        offset[~executed], value[~executed], "x", ms=6, color=STARVED, label="held", zorder=4
    )
    axis.axvline(-0.5, color=STARVED, lw=1, ls=":")
    axis.set_xlim(-AROUND - 0.5, AROUND + 0.5)
    axis.set_xlabel("ticks from the seam")
    axis.set_ylabel("[rad]")
    axis.margins(y=0.12)
    handles, labels = axis.get_legend_handles_labels()
    if executed.all():
        keep = [i for i, text in enumerate(labels) if text != "held"]
        handles, labels = [handles[i] for i in keep], [labels[i] for i in keep]
    axis.legend(handles, labels, fontsize=9, frameon=True, framealpha=0.85)


def _draw_plan(
    axis: Axes, chunk: ActionChunk | None, joint: int, step: int, colour: str, word: str
) -> None:
    if chunk is None:
        return
    offset = chunk.origin_step + np.arange(chunk.horizon) - step
    near = np.abs(offset) <= AROUND
    axis.plot(offset[near], chunk.actions[near, joint], color=colour, lw=4, alpha=0.55, label=word)


def draw_sizes(axis: Axes, report: ContinuityReport) -> None:
    """Draw how large steps are at seams and elsewhere, as ranges on a logarithmic axis."""
    axis.set_title(
        "step by step, the largest joint's: median, p95, p99, max", loc="left", fontsize=11
    )
    rows = [
        ("ordinary step", report.ordinary_jump, ORDINARY),
        ("step at a seam", report.seam_jump, GUIDED),
        ("ordinary excess", report.ordinary_excess, ORDINARY),
        ("excess at a seam", report.seam_excess, GUIDED),
    ]
    shown = [(name, spread, colour) for name, spread, colour in rows if spread is not None]
    if not any(s.max > 0 for _, s, _ in shown):
        nothing(axis, "no motion")
        axis.set_xticks([])
        return
    floor = 1e-3 * max(s.max for _, s, _ in shown)
    for y, (_, spread, colour) in enumerate(reversed(shown)):
        points = np.maximum([spread.median, spread.p95, spread.p99, spread.max], floor)
        axis.plot([points[0], points[3]], [y, y], color=colour, lw=2, alpha=0.6)
        axis.plot([points[0], points[1]], [y, y], color=colour, lw=9, alpha=0.6)
        axis.plot(points, [y] * 4, "|", ms=13, mew=2, color=colour)
        axis.text(points[3] * 1.12, y, f"{spread.max:.3g}", va="center", fontsize=9, color=INK)
    axis.set_xscale("log")
    axis.set_xlim(floor * 0.8, max(s.max for _, s, _ in shown) * 2.5)
    for y, (name, _, _) in enumerate(reversed(shown)):
        axis.text(floor, y + 0.27, name, fontsize=9.5, color=INK)
    axis.set_yticks([])
    axis.set_ylim(-0.5, len(shown) - 0.4)
    axis.set_xlabel("[rad]")
    axis.grid(axis="x", color=FAINT, which="both")
    axis.set_axisbelow(True)


def draw_facts(axis: Axes, report: ContinuityReport) -> None:
    """Write the figures that have no panel, and what can't be told."""
    axis.axis("off")
    lines = [("median / worst", "", False), *facts(report)]
    for i, (name, value, bad) in enumerate(lines):
        y = 1.0 - i * 0.06
        axis.text(0.0, y, name, fontsize=10.5, color=INK, va="top", transform=axis.transAxes)
        axis.text(
            1.0,
            y,
            value,
            fontsize=10.5,
            va="top",
            ha="right",
            color=STARVED if bad else INK,
            fontweight="bold" if bad else "normal",
            transform=axis.transAxes,
        )
    for i, text in enumerate((*report.notes, *report.unknown)):
        axis.text(
            0.0,
            0.97 - (len(lines) + i) * 0.06,
            f"· {text if len(text) < 95 else text[:92] + '…'}",
            fontsize=8,
            color=FAULT,
            va="top",
            transform=axis.transAxes,
        )
