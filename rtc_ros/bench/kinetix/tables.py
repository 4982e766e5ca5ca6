"""The comparison as CSV and as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from rtc_ros.bench.kinetix.measured import Measured
from rtc_ros.bench.kinetix.points import DEFAULTS, METHODS, SETTINGS
from rtc_ros.core.proportion import difference, wilson

ALL = "all"
"""The task that stands for all tasks together."""

BRIEF = ("rtc", "rtc_hard", "naive_async", "bid", "bid_contrast")
"""What is compared in short."""

_OVER = {"delay": "d", "stride": "s", "settings": "d", "chosen": "d"}
_TITLES = {
    "delay": "by d, s = max(d, 1)",
    "stride": "by s, d = 1",
    "settings": "Settings of each method, s = d, on other episodes than those compared",
    "chosen": "with the settings chosen, by d, s = max(d, 1)",
}

_Value = TypeVar("_Value")
_Found = tuple[float, float, float]
"""A proportion or a difference of two, and its 95 % interval."""


def write_csv(rows: Sequence[Measured], path: Path) -> None:
    """Write every figure of every point; which episodes were done is in ``results.jsonl``."""
    names = [f.name for f in fields(Measured) if f.name != "which"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


def place(one: Measured) -> int:
    """Return what a point of its sweep is drawn over: d, or s."""
    return one.stride if one.sweep == "stride" else one.delay


def over(rows: Iterable[Measured]) -> list[int]:
    """Return the places of all rows, in order."""
    return sorted({place(r) for r in rows})


def pooled(rows: Iterable[Measured], tasks: int) -> _Found | None:
    """Return the proportion done in all rows together, and its interval.

    None unless there are rows of that many tasks: without the hard ones a mean looks too good.
    """
    rows = list(rows)
    if not rows or len({r.task for r in rows}) < tasks:
        return None
    episodes, done = sum(r.episodes for r in rows), sum(r.done for r in rows)
    return (done / episodes, *wilson(done, episodes))


def apart(rows: Iterable[Measured], others: Iterable[Measured], tasks: int) -> _Found | None:
    """Return by how much more was done in ``rows`` than in ``others``, of the same episodes.

    None unless both are of the same tasks, and of that many.
    """
    one, other = ({r.task: r.each for r in each} for each in (rows, others))
    if len(one) < tasks or set(one) != set(other):
        return None
    return difference(
        np.concatenate([one[t] for t in one]), np.concatenate([other[t] for t in one])
    )


def select(rows: Iterable[Measured], sweep: str, task: str, line: str) -> list[Measured]:
    """Return the rows of one line of a table."""
    return [r for r in rows if (r.sweep, r.line) == (sweep, line) and task in (ALL, r.task)]


def unique(values: Iterable[_Value]) -> list[_Value]:
    """Return the values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def titled(
    title: str, columns: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]
) -> str:
    """Return a Markdown table under its title; the first column has no name."""
    names = list(columns)
    head = [f"**{title}**", "", f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows), ""])


def chosen(rows: Sequence[Measured]) -> dict[tuple[str, str], str]:
    """Return, for each task and method, the variant with the most done at all delays together.

    Of the rows of the sweep "settings"; the defaults where nothing did more. A method of which
    not all variants were measured at the same delays has none.
    """
    best: dict[tuple[str, str], str] = {}
    lines: dict[tuple[str, str], dict[str, dict[int, int]]] = {}
    for r in rows:
        if r.sweep == "settings":
            tried = lines.setdefault((r.task, r.method), {})
            tried.setdefault(r.variant, {})[r.delay] = r.done
    for (task, method), tried in lines.items():
        delays = {frozenset(done) for done in tried.values()}
        if len(delays) == 1 and tried.keys() == {DEFAULTS, *SETTINGS[method]}:
            best[task, method] = max((DEFAULTS, *tried), key=lambda v: sum(tried[v].values()))
    return best


def what_was_chosen(rows: Sequence[Measured]) -> str:
    """Return a table of the settings with which each method was compared in each task."""
    mine = [r for r in rows if r.sweep == "chosen"]
    tasks = unique(r.task for r in mine)
    variants = {(r.method, r.task): r.variant for r in mine}
    return titled(
        f"{_TITLES['settings']}: what was chosen",
        (f"`{t}`" for t in tasks),
        (
            (m, [variants.get((m, t), "–") for t in tasks])
            for m in unique(r.method for r in mine)
        ),
    )


def markdown(rows: Sequence[Measured], sweep: str) -> str:
    """Return one sweep's tables: all tasks together, then each; percent done, 95 %.

    Then the paired differences: to the first line, or of ``settings`` to the method's defaults.
    """
    mine = [r for r in rows if r.sweep == sweep]
    tasks, lines = unique(r.task for r in mine), unique(r.line for r in mine)
    tables: dict[str, _Cells] = {
        f"Done {_TITLES[sweep]}": _bold_where_best,
        f"More done than {lines[0]}, in percentage points, {_TITLES[sweep]}": _beside_the_first,
    }
    if sweep == "settings":
        tables = {_TITLES[sweep]: _beside_the_defaults}
    shown = ([ALL] if len(tasks) > 1 else []) + tasks
    return "\n".join(
        _table(title, mine, task, lines, c) for title, c in tables.items() for task in shown
    )


_Cells = Callable[[list[list[Measured]], list[str], int], list[str]]


def _table(
    title: str, rows: Sequence[Measured], task: str, lines: list[str], cells: _Cells
) -> str:
    """Return a table of the ``lines`` over d or s; ``cells`` makes a column of it."""
    places, tasks, sweep = over(rows), unique(r.task for r in rows), rows[0].sweep
    columns = [
        cells(
            [[r for r in select(rows, sweep, task, x) if place(r) == at] for x in lines],
            lines,
            len(tasks) if task == ALL else 1,
        )
        for at in places
    ]
    return titled(
        f"{title}: {f'these {len(tasks)} tasks' if task == ALL else f'`{task}`'}",
        (f"{_OVER[sweep]} = {x}" for x in places),
        zip(lines, zip(*columns, strict=True), strict=True),
    )


def _bold_where_best(column: list[list[Measured]], lines: list[str], tasks: int) -> list[str]:
    found = [pooled(rows, tasks) for rows in column]
    best = max((f[0] for f in found if f), default=0.0)
    return [_cell(f, bold=f is not None and f[0] == best) for f in found]


def _beside_the_first(column: list[list[Measured]], lines: list[str], tasks: int) -> list[str]:
    return [_difference(apart(rows, column[0], tasks)) for rows in column]


def _beside_the_defaults(column: list[list[Measured]], lines: list[str], tasks: int) -> list[str]:
    at = {line: rows for line, rows in zip(lines, column, strict=True)}
    return [
        _cell(pooled(rows, tasks))
        if line in METHODS
        else _difference(apart(rows, at[line.split(",")[0]], tasks))
        for line, rows in at.items()
    ]


def brief(rows: Sequence[Measured], sweep: str) -> str:
    """Return a line for each task: percent done by the methods of ``BRIEF``, as far as measured.

    Bold is what did most, and what the pairs' 95 % interval doesn't tell from it.
    """
    mine = [r for r in rows if r.sweep == sweep and r.method in BRIEF]
    places, methods = over(mine), unique(r.method for r in mine)
    lines = []
    for task in unique(r.task for r in mine):
        cells = []
        for x in places:
            at = {r.method: r for r in mine if r.task == task and place(r) == x}
            most = max(at.values(), key=lambda r: r.share, default=None)
            cells.append(", ".join(_short(at.get(m), most) for m in methods))
        lines.append((f"`{task}`", cells))
    return titled(
        f"In short, {_TITLES[sweep]}: {', '.join(methods)}; bold: the most, and what can't be "
        "told from it",
        (f"{_OVER[sweep]} = {x}" for x in places),
        lines,
    )


def _short(one: Measured | None, most: Measured | None) -> str:
    if one is None or most is None:
        return "–"
    level = difference(most.each, one.each)[1] <= 0.0
    return f"**{100 * one.share:.0f}**" if level else f"{100 * one.share:.0f}"


def _cell(found: _Found | None, bold: bool = False) -> str:
    if found is None:
        return "–"
    share, low, high = (100.0 * x for x in found)
    text = f"{share:.1f} ({low:.0f}–{high:.0f})"
    return f"**{text}**" if bold else text


def _difference(found: _Found | None) -> str:
    if found is None:
        return "–"
    middle, low, high = (100.0 * x for x in found)
    if low == high == 0.0:
        return "the same"
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"
