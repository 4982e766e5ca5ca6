"""The paper's two kinds of figure: done over the delay, and done over the stride."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rtc_ros.bench.kinetix.measured import Measured
from rtc_ros.bench.kinetix.tables import ALL, over, place, pooled, select, unique

STYLES = {
    "rtc": ("#0072b2", "o-", 2.6),
    "rtc_hard": ("#56b4e9", "s-", 1.8),
    "bid": ("#009e73", "D-", 1.8),
    "bid_contrast": ("#009e73", "d--", 1.2),
    "naive_async": ("#7a7a7a", "x-", 1.8),
    "synchronous": ("#000000", ".:", 1.4),
    "temporal_ensembling": ("#d55e00", "^-", 1.8),
    "prefix_overwrite": ("#cc79a7", "P-", 1.4),
}
_LABELS = {
    "delay": "inference delay d [steps], s = max(d, 1)",
    "stride": "stride s [steps], d = 1",
    "chosen": "inference delay d [steps], s = max(d, 1)",
}


def draw(rows: Sequence[Measured], sweep: str, path: Path) -> None:
    """Write a PNG: all tasks together, then each; bands are Wilson's 95 %."""
    mine = [r for r in rows if r.sweep == sweep]
    tasks, methods = unique(r.task for r in mine), unique(r.line for r in mine)
    panels = ([ALL] if len(tasks) > 1 else []) + tasks
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.1 * across + 2.0, 3.7 * down), dpi=100, facecolor="white")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, task in zip(axes.flat, panels, strict=False):
        for method in methods:
            _line(
                axis,
                select(mine, sweep, task, method),
                method,
                len(tasks) if task == ALL else 1,
            )
        axis.set_title(f"these {len(tasks)} tasks" if task == ALL else task, fontsize=11)
        axis.set_xlabel(_LABELS[sweep], fontsize=9)
        axis.set_xticks(over(mine))
        axis.set_ylim(0.0, 1.02)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for row in axes:
        row[0].set_ylabel("done")
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    figure.tight_layout(rect=(0, 0, 1 - 2.0 / (4.1 * across + 2.0), 1))
    figure.legend(
        [lines[m] for m in methods if m in lines],
        [m for m in methods if m in lines],
        frameon=False,
        loc="center right",
    )
    figure.savefig(path)


def _line(axis: Any, rows: Sequence[Measured], method: str, tasks: int) -> None:
    colour, marker, width = STYLES.get(method, ("#333333", "o-", 1.0))
    places = over(rows)
    found = [pooled((r for r in rows if place(r) == x), tasks) for x in places]
    known = [(x, *f) for x, f in zip(places, found, strict=True) if f is not None]
    if known:
        x, share, low, high = zip(*known, strict=True)
        axis.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
        axis.plot(x, share, marker, color=colour, lw=width, ms=5, label=method)
