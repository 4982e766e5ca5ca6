"""The figures of the HTML report, as text that goes into the page: PNG for motion, SVG else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.evidence import Closeup, Evidence
from rtc_ros.core.continuity.sent import SentFigures
from rtc_ros.report.figure import draw_timeline, joint_groups
from rtc_ros.report.panels import (
    GUIDED,
    INK,
    STARVED,
    draw_closeup,
    draw_sizes,
    draw_spectrum,
    nothing,
)

JOINTS_SHOWN = 3
"""Joints of a seam that its close-up shows: the ones with the largest jumps."""


def timeline(report: ContinuityReport, evidence: Evidence) -> str:
    """Return motion, seams and delays over time as an <img>."""
    height = 2.9 * len(joint_groups(evidence.joints)) + 3.4
    figure = _figure(13, height)
    margins = {"left": 0.062, "right": 0.99, "top": 1 - 0.3 / height, "bottom": 0.5 / height}
    draw_timeline(figure, figure.add_gridspec(1, 1, **margins)[0], report, evidence)
    _plain(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="motion, seams and delays over time" src="data:image/png;base64,{data}">'


def delay_histogram(report: ContinuityReport) -> str:
    """Return how often which delay was observed, apart by how it was forecast, as SVG."""
    figure = _figure(6.2, 2.9)
    axis = figure.add_axes((0.1, 0.17, 0.88, 0.74))
    pairs = [
        (*(int(x) for x in pair.split(" -> ")), count) for pair, count in report.delays.items()
    ]
    if not pairs:
        nothing(axis, "no delay forecast in the recording")
        return _svg(figure)
    forecast, observed, count = (np.array(x) for x in zip(*pairs, strict=True))
    first = min(observed.min(), forecast.min())
    bins = np.arange(first, max(observed.max(), forecast.max()) + 1)

    def counted(values: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.bincount(values - first, weights=times, minlength=len(bins))

    late = observed > forecast
    within, over = (counted(observed, np.where(c, count, 0)) for c in (~late, late))
    axis.bar(bins, within, color=GUIDED, width=0.8, label="observed, within the forecast")
    if late.any():
        axis.bar(bins, over, bottom=within, color=STARVED, width=0.8, label="later than forecast")
    expected = counted(forecast, count)
    axis.step(bins, expected, where="mid", color=INK, lw=1.4, label="forecast")
    axis.set_xlabel("delay d [steps]")
    axis.set_ylabel("chunks")
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def sizes(report: ContinuityReport) -> str:
    """Return the sizes of steps at seams and elsewhere as SVG."""
    figure = _figure(6.2, 2.9)
    draw_sizes(figure.add_axes((0.04, 0.17, 0.93, 0.74)), report)
    return _svg(figure)


def spectrum(sent: SentFigures) -> str:
    """Return the spectrum of what drivers of rows were sent as SVG."""
    figure = _figure(13, 2.9)
    draw_spectrum(figure.add_axes((0.06, 0.17, 0.93, 0.74)), sent)
    return _svg(figure)


def closeup(found: Closeup, joints: Sequence[str]) -> str:
    """Return the motion around one seam, its worst joints side by side, as SVG."""
    seam = found.seam
    order = np.argsort(-np.abs(np.array(seam.jump)), kind="stable").tolist()
    chosen = [seam.worst_joint] if seam.worst_joint >= 0 else []
    chosen = (chosen + [j for j in order if j not in chosen])[:JOINTS_SHOWN]
    figure = _figure(13, 2.9)
    for place, joint in enumerate(chosen):
        axis = figure.add_axes((0.06 + 0.318 * place, 0.17, 0.255, 0.72))
        draw_closeup(axis, found, joints, joint)
        legend = axis.get_legend()
        if place and legend is not None:
            legend.remove()
    return _svg(figure)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), facecolor="white")


def _plain(figure: Figure) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> str:
    """Return the figure as an <svg> element, the same text for the same figure."""
    _plain(figure)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "rtc_ros", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
