"""What `rtc_ros bench robot` measured: CSV, Markdown and a figure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rtc_ros.bench.robot_figures import Measured
from rtc_ros.bench.tasks.figures import STYLES

_HEAD = (
    ("strategy", "done", "95 %", "done/min", "time [s]", "d", "starved ticks", "ticks kept")
    + ("seam's jump [rad]", "seam's excess [ordinary steps]", "seam's acceleration [rad/s²]")
    + ("protective stops", "in episodes", "gripper limits", "inference [ms]", "load")
)


def write_csv(rows: Sequence[Measured], path: Path) -> None:
    """Write every figure of every point; spreads as median, p95 and largest in one cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Measured)])
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


def markdown(rows: Sequence[Measured]) -> str:
    """Return a table for each latency, a line for each strategy."""
    lines = []
    for latency in sorted({r.latency_ms for r in rows}):
        mine = [r for r in rows if r.latency_ms == latency]
        factors = ", ".join(f"{x:g}" for x in sorted({r.factor for r in mine}))
        lines += [f"**+{latency:g} ms** ({factors} times real time)", ""]
        lines += ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
        lines += ["| " + " | ".join(_cells(r)) + " |" for r in mine]
        lines.append("")
    return "\n".join(lines)


def _cells(r: Measured) -> list[str]:
    return [
        r.strategy,
        f"{r.done}/{r.episodes}",
        f"{100 * r.low:.0f}–{100 * r.high:.0f}",
        f"{r.per_minute:.1f}",
        "–" if r.time_s is None else f"{r.time_s:.1f}",
        "–" if r.delay is None else f"{r.delay:g} (≤ {r.delay_max})",
        str(r.starved_ticks),
        f"{100 * r.ticks_kept:.1f} %",
        _spread(r.jump, ".3f"),
        _spread(r.excess, ".2f"),
        _spread(r.acceleration, ".0f"),
        str(r.stops),
        f"{r.stopped_episodes}/{r.episodes}",
        str(r.gripper_limits),
        f"{r.own_ms:.0f}",
        f"{r.load:.0f}",
    ]


def _spread(values: tuple[float, float, float] | None, form: str) -> str:
    return "–" if values is None else ", ".join(format(x, form) for x in values)


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Write a PNG: done, throughput, the seams' acceleration and stops over the latency."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 4.2), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    titles = (
        "done, with Wilson's 95 %",
        "done per minute",
        "seams' acceleration, p95 [rad/s²]",
        "protective stops per episode",
    )
    strategies = list(dict.fromkeys(r.strategy for r in rows))
    for place, strategy in enumerate(strategies):
        colour, line, width = STYLES.get(strategy, ("#d55e00", "^--", 1.4))
        mine = sorted((r for r in rows if r.strategy == strategy), key=lambda r: r.latency_ms)
        # A little beside each other, or the bars couldn't be told apart.
        x = [r.latency_ms + 2.0 * (place - len(strategies) / 2) for r in mine]
        values = (
            [r.done / r.episodes for r in mine],
            [r.per_minute for r in mine],
            [float("nan") if r.acceleration is None else r.acceleration[1] for r in mine],
            [r.stops / r.episodes for r in mine],
        )
        for axis, y in zip(axes, values, strict=True):
            axis.plot(x, y, line, color=colour, lw=width, ms=5, label=strategy)
        for at, r in zip(x, mine, strict=True):
            axes[0].plot([at, at], [r.low, r.high], color=colour, lw=1, alpha=0.5)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("injected latency [ms]", fontsize=9)
        axis.set_xticks(sorted({r.latency_ms for r in rows}))
        axis.set_ylim(bottom=0.0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1.0), loc="upper left")
    figure.tight_layout()
    figure.savefig(path)
