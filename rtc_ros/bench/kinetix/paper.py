"""Figures by level, and what the paper reports of its simulated study beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rtc_ros.bench.kinetix.measured import Measured
from rtc_ros.bench.kinetix.tables import over, place, pooled, titled, unique
from rtc_ros.core.proportion import difference, wilson

DELAYS = (0, 2, 4)
SOLVED = {
    "naive_async": (48, 42, 33),
    "temporal_ensembling": (35, 33, 30),
    "bid_contrast": (51, 46, 38),
    "rtc_hard": (52, 48, 42),
    "rtc": (54, 50, 43),
}
"""Percent solved of twelve levels at these d, read off its figure (arXiv 2506.07339)."""

ORDER = tuple(sorted(SOLVED, key=SOLVED.__getitem__, reverse=True))
"""The paper's order, what solves most first: the same at each of these d."""


def beside(rows: Sequence[Measured]) -> str:
    """Return percent solved over all that was measured, each beside the paper's of all twelve."""
    tasks, methods = len(unique(r.task for r in rows)), {r.method for r in rows}
    lines = []
    for method in (m for m in SOLVED if m in methods):
        cells = []
        for d, known in zip(DELAYS, SOLVED[method], strict=True):
            found = pooled((r for r in rows if (r.method, r.delay) == (method, d)), tasks)
            cells.append(f"{'–' if found is None else f'{100 * found[0]:.1f}'}, {known}")
        lines.append((method, cells))
    return titled(
        f"Solved here ({tasks} of its levels, easier ones), then in the paper (all twelve), in "
        "percent",
        (f"d = {d}" for d in DELAYS),
        lines,
    )


def against_order(rows: Sequence[Measured]) -> str:
    """Return where a method does more than the one before it in the paper's order.

    Told are pairs of neighbours, of what is measured, with a paired difference whose 95 %
    interval is above 0; "no" where there is none.
    """
    places = over(rows)
    at = {(r.task, r.method, place(r)): r for r in rows}
    lines = []
    for task in unique(r.task for r in rows):
        cells = []
        for x in places:
            there = [at[task, m, x] for m in ORDER if (task, m, x) in at]
            told = []
            for one, other in pairwise(there):
                more, low, _ = (100.0 * share for share in difference(other.each, one.each))
                if low > 0.0:
                    told.append(f"`{other.method}` {more:.1f} ahead of `{one.method}`")
            cells.append("; ".join(told) or ("no" if len(there) > 1 else "–"))
        lines.append((f"`{task}`", cells))
    return titled(
        f"Where the paper's order ({', '.join(ORDER)}) is reversed, in percentage points",
        (f"d = {x}" for x in places),
        lines,
    )


def by_level(rows: Sequence[Measured]) -> list[Measured]:
    """Return the points of each level, with the episodes of its trainings together.

    A training that lacks points of another is left out: methods are compared over the same ones.
    """
    levels: dict[str, dict[str, dict[tuple[str, int], Measured]]] = {}
    for r in rows:
        level, _, number = r.task.rpartition(" ")
        levels.setdefault(level, {}).setdefault(number, {})[r.line, place(r)] = r
    found = []
    for level, trainings in levels.items():
        most = max(trainings.values(), key=len)
        whole = [points for points in trainings.values() if points.keys() == most.keys()]
        found += [_together(level, [points[point] for points in whole]) for point in most]
    return found


def _together(level: str, ones: Sequence[Measured]) -> Measured:
    episodes, done = sum(r.episodes for r in ones), sum(r.done for r in ones)
    low, high = wilson(done, episodes)
    steps, speed, jerk, seam = np.mean([(r.steps, r.speed, r.jerk, r.seam) for r in ones], axis=0)
    return replace(
        ones[0], task=level, episodes=episodes, done=done, low=low, high=high,
        failed=sum(r.failed for r in ones), seconds=sum(r.seconds for r in ones),
        steps=steps, speed=speed, jerk=jerk, seam=seam,
        which=np.packbits(np.concatenate([r.each for r in ones])).tobytes().hex(),
    )  # fmt: skip


def trainings(rows: Sequence[Measured], methods: Sequence[str] = ("rtc", "naive_async")) -> str:
    """Return what each training of a level solves, so that its own noise is seen, in percent."""
    mine = [r for r in rows if r.method in methods]
    places = over(mine)
    at = {(r.task, r.method, r.delay): f"{100 * r.share:.1f}" for r in mine}
    return titled(
        f"Each training: {', '.join(methods)}",
        (f"d = {d}" for d in places),
        (
            (f"`{t}`", [", ".join(at.get((t, m, d), "–") for m in methods) for d in places])
            for t in unique(r.task for r in mine)
        ),
    )
