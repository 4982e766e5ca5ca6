"""The panels beside the motion: the worst seam close up, sizes of steps, figures in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.evidence import AROUND, Closeup, Evidence
from rtc_ros.core.continuity.sent import SentFigures
from rtc_ros.report.facts import facts

INK = "#222222"
FAINT = "#EFEFEF"
GOOD = "#2E7D32"
STARVED = "#C62828"
WAITING = "#9E9E9E"
FAULT = "#8A6D00"
ORDINARY = "#90A4AE"
GUIDED = "#1F5FA8"
UNGUIDED = "#D9730D"


def nothing(axis: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=WAITING)
    axis.set_yticks([])


def legend_above(
    axis: Axes, columns: int, *, fontsize: float = 10, columnspacing: float = 1.4
) -> None:
    """Name what is drawn in one line of up to ``columns`` names between the axes and its title."""
    axis.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 0.99),
        ncols=columns,
        frameon=False,
        fontsize=fontsize,
        borderaxespad=0.1,
        handlelength=1.2,
        columnspacing=columnspacing,
    )


def draw_worst_seam(axis: Axes, evidence: Evidence) -> None:
    """Draw one joint, step by step, around the worst seam, with what both chunks had planned."""
    if not evidence.closeups or evidence.closeups[0].seam.excess_ratio is None:
        axis.set_title("worst seam", loc="left", fontsize=11)
        nothing(axis, "no seam to compare")
        axis.set_xticks([])
        return
    draw_closeup(axis, evidence.closeups[0], evidence.joints)
    seam = evidence.closeups[0].seam
    axis.set_title(
        f"worst seam: step {seam.step}, {evidence.joints[seam.worst_joint]}, "
        f"{seam.excess_ratio:.2f} ordinary steps",
        loc="left",
        fontsize=11,
        pad=20,
    )


def draw_closeup(
    axis: Axes, closeup: Closeup, joints: Sequence[str], joint: int | None = None
) -> None:
    """Draw one joint (the seam's worst by default) around a seam, and both chunks' plans."""
    seam = closeup.seam
    joint = seam.worst_joint if joint is None else joint
    for chunk, colour, word in (
        (closeup.before, ORDINARY, "previous chunk"),
        (closeup.after, GUIDED if seam.guided else UNGUIDED, "new chunk"),
    ):
        _draw_plan(axis, chunk, joint, seam.step, colour, word)
    executed, offset = closeup.executed, closeup.offset
    value = closeup.command[:, joint]
    if closeup.curve is None:
        axis.plot(offset, value, color=INK, lw=0.8, zorder=3)
    else:
        curve = closeup.curve
        axis.plot(
            curve.offset, curve.value[:, joint], ".-", ms=3, color=INK, lw=0.8, label="set points",
            zorder=3,
        )  # fmt: skip
    axis.plot(
        offset[executed], value[executed], "o", ms=4.5, color=INK, label="commanded", zorder=4
    )
    if not executed.all():
        held = ~executed
        axis.plot(offset[held], value[held], "x", ms=6, color=STARVED, label="held", zorder=4)
    axis.axvline(-0.5, color=STARVED, lw=1, ls=":")
    axis.set_xlim(-AROUND - 0.5, AROUND + 0.5)
    axis.set_xlabel("ticks from the seam")
    axis.set_ylabel(f"{joints[joint]} [rad]")
    axis.margins(y=0.12)
    # Above, not in it: there is nothing of the seam to be hidden.
    legend_above(axis, 5, fontsize=9, columnspacing=1.2)


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


def draw_spectrum(axis: Axes, sent: SentFigures) -> None:
    """Draw the spectrum of what drivers of rows were sent, and of the rows alone."""
    axis.set_title("spectrum of what was sent [rad/√Hz]", loc="left", fontsize=11)
    if sent.spectrum is None:
        nothing(axis, "no motion long enough")
        axis.set_xticks([])
        return
    hz = sent.spectrum.frequency_hz
    if sent.points > 1:
        axis.plot(hz, sent.spectrum.rows, color=ORDINARY, lw=1.2, label="the rows alone")
    axis.plot(hz, sent.spectrum.sent, color=GUIDED, lw=1.4, label=f"at {sent.rate_hz:g} Hz")
    axis.axvline(sent.rate_hz / sent.points / 2, color=STARVED, lw=1, ls=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    top = max(max(sent.spectrum.sent), max(sent.spectrum.rows))
    axis.set_ylim(max(top * 1e-7, 1e-12), max(top * 2, 1e-11))
    axis.set_xlabel("[Hz]")
    axis.legend(fontsize=9, frameon=False)
    axis.grid(color=FAINT)
    axis.set_axisbelow(True)


def draw_facts(axis: Axes, report: ContinuityReport) -> None:
    """Write the figures that have no panel, and what can't be told."""
    axis.axis("off")
    lines = [("median / worst", "", False), *facts(report)]
    said = (*report.notes, *report.unknown)
    pitch = min(0.046, 1.06 / (len(lines) + len(said))) if report.sent else 0.046
    for i, (name, value, bad) in enumerate(lines):
        y = 1.0 - i * pitch
        axis.text(0.0, y, name, fontsize=9.5, color=INK, va="top", transform=axis.transAxes)
        axis.text(
            1.0,
            y,
            value,
            fontsize=9.5,
            va="top",
            ha="right",
            color=STARVED if bad else INK,
            fontweight="bold" if bad else "normal",
            transform=axis.transAxes,
        )
    for i, text in enumerate(said):
        axis.text(
            0.0,
            0.98 - (len(lines) + i) * pitch,
            f"· {text if len(text) < 95 else text[:92] + '…'}",
            fontsize=8,
            color=FAULT,
            va="top",
            transform=axis.transAxes,
        )
