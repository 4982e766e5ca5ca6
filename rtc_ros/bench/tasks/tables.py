"""The comparison as CSV and as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rtc_ros.bench.tasks.results import Measured
from rtc_ros.core.proportion import wilson

ALL = "all"
"""The task that stands for all tasks together."""

_OVER = {"delay": "d", "stride": "s", "ablation": "d"}
_TITLES = {
    "delay": "Done by d, s = max(d, 1)",
    "stride": "Done by s, d = 1",
    "ablation": "Ablations of rtc, s = d",
}


def write_csv(rows: Sequence[Measured], path: Path) -> None:
    """Write every figure of every point."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Measured)])
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


def place(one: Measured) -> int:
    """Return what a point of its sweep is drawn over: d, or s."""
    return one.stride if one.sweep == "stride" else one.delay


def pooled(rows: Iterable[Measured], tasks: int) -> tuple[float, float, float] | None:
    """Return the proportion done in all rows together, and its interval.

    None unless there are rows of that many tasks: without the hard ones a mean looks too good.
    """
    rows = list(rows)
    if not rows or len({r.task for r in rows}) < tasks:
        return None
    episodes, done = sum(r.episodes for r in rows), sum(r.done for r in rows)
    return (done / episodes, *wilson(done, episodes))


def select(rows: Iterable[Measured], sweep: str, task: str, method: str) -> list[Measured]:
    """Return the rows of one line of a table."""
    return [r for r in rows if (r.sweep, r.method) == (sweep, method) and task in (ALL, r.task)]


def unique(values: Iterable[str]) -> list[str]:
    """Return the values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def markdown(rows: Sequence[Measured], sweep: str) -> str:
    """Return the tables of one sweep: all tasks together, then each; percent done, 95 %."""
    mine = [r for r in rows if r.sweep == sweep]
    places = sorted({place(r) for r in mine})
    tasks, methods = unique(r.task for r in mine), unique(r.method for r in mine)
    lines = []
    for task in ([ALL] if len(tasks) > 1 else []) + tasks:
        lines += [f"**{_TITLES[sweep]}: {'all tasks' if task == ALL else f'`{task}`'}**", ""]
        lines.append("| | " + " | ".join(f"{_OVER[sweep]} = {x}" for x in places) + " |")
        lines.append("|---|" + "---|" * len(places))
        cells = {
            (m, x): pooled(
                (r for r in select(mine, sweep, task, m) if place(r) == x),
                len(tasks) if task == ALL else 1,
            )
            for m in methods
            for x in places
        }
        for method in methods:
            texts = []
            for x in places:
                best = max((c[0] for m in methods if (c := cells[m, x])), default=0.0)
                texts.append(_cell(cells[method, x], best))
            lines.append(f"| {method} | " + " | ".join(texts) + " |")
        lines.append("")
    return "\n".join(lines)


def motion(rows: Sequence[Measured]) -> str:
    """Return, over d and all tasks, how even the forces were and how much time was left."""
    mine = [r for r in rows if r.sweep == "delay"]
    places, methods = sorted({place(r) for r in mine}), unique(r.method for r in mine)
    tasks = len({r.task for r in mine})
    lines = [
        "**Change of force at a seam [N], in brackets in any step; then the share of the time "
        "left (0 where not done): all tasks, by d**",
        "",
        "| | " + " | ".join(f"d = {x}" for x in places) + " |",
        "|---|" + "---|" * len(places),
    ]
    for method in methods:
        texts = []
        for x in places:
            at = [r for r in select(mine, "delay", ALL, method) if place(r) == x]
            if len(at) < tasks:
                texts.append("–")
                continue
            mean = [sum(getattr(r, k) for r in at) / len(at) for k in ("seam", "jerk", "speed")]
            texts.append(f"{mean[0]:.1f} ({mean[1]:.1f}), {mean[2]:.2f}")
        lines.append(f"| {method} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, ""])


def _cell(found: tuple[float, float, float] | None, best: float) -> str:
    if found is None:
        return "–"
    share, low, high = (100.0 * x for x in found)
    text = f"{share:.1f} ({low:.0f}–{high:.0f})"
    return f"**{text}**" if found[0] == best else text
