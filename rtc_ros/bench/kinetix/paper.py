"""What the paper reports of its simulated study, and the table that sets ours beside it."""

from __future__ import annotations

from collections.abc import Sequence

from rtc_ros.bench.tasks.results import Measured
from rtc_ros.bench.tasks.tables import pooled, unique

DELAYS = (0, 2, 4)
SOLVED = {
    "naive_async": (48, 42, 33),
    "temporal_ensembling": (35, 33, 30),
    "bid_contrast": (51, 46, 38),
    "rtc_hard": (52, 48, 42),
    "rtc": (54, 50, 43),
}
"""Percent solved of twelve levels at these d, read off its figure (arXiv 2506.07339)."""


def beside(rows: Sequence[Measured]) -> str:
    """Return percent solved over all that was measured, each beside the paper's of all twelve."""
    tasks = len(unique(r.task for r in rows))
    lines = [
        "**Solved here, then in the paper (twelve levels, harder policies), in percent**",
        "",
        "| | " + " | ".join(f"d = {d}" for d in DELAYS) + " |",
        "|---|" + "---|" * len(DELAYS),
    ]
    for method, theirs in SOLVED.items():
        cells = []
        for d, known in zip(DELAYS, theirs, strict=True):
            found = pooled((r for r in rows if (r.method, r.delay) == (method, d)), tasks)
            ours = "–" if found is None else f"{100 * found[0]:.1f}"
            cells.append(f"{ours}, {known}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
