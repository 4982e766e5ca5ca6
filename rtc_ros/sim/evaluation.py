"""What an evaluation found: figures over all episodes of one combination of settings, a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.proportion import wilson


@dataclass(frozen=True)
class Result:
    """What one combination of settings did in all episodes.

    ``interval`` is Wilson's 95 % of the proportion passed, ``done_s`` the median time to it.
    Seams are pooled: ``seam_rad`` how far the largest joint departs from the motion around the
    seam (median, p95, max), ``seam_ratio`` the same in fast ordinary steps.
    """

    settings: dict[str, Any]
    episodes: int
    passed: int
    interval: tuple[float, float]
    done_s: float | None
    starved: int
    misplaced: int
    seams: int
    seam_rad: tuple[float, float, float]
    seam_ratio: tuple[float, float, float]


def summarise(
    settings: dict[str, Any],
    reports: Sequence[ContinuityReport],
    done_at: Sequence[float | None],
) -> Result:
    """Return the figures of all reports; ``done_at`` [s] is None where no cube was passed."""
    seams = [s for report in reports for s in report.seams]
    passed = [at for at in done_at if at is not None]
    return Result(
        settings,
        len(done_at),
        len(passed),
        wilson(len(passed), len(done_at)),
        float(np.median(passed)) if passed else None,
        sum(r.starved_ticks for r in reports),
        sum(r.misplaced_steps for r in reports),
        len(seams),
        _spread([s.excess_max for s in seams]),
        _spread([s.excess_ratio for s in seams]),
    )


def _spread(values: Sequence[float | None]) -> tuple[float, float, float]:
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return (np.nan, np.nan, np.nan)
    return (float(np.median(known)), float(np.percentile(known, 95)), float(known.max()))


def markdown(results: Sequence[Result], varied: Sequence[str]) -> str:
    """Return a table, a line for each result, with the settings that were varied."""
    head = [*varied, "passed", "95 %", "time [s]", "starved", "seam [rad]: median, p95, max",
            "seam [ordinary steps]: median, p95, max"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in results:
        low, high = (100 * x for x in r.interval)
        cells = [str(r.settings[name]) for name in varied]
        cells += [
            f"{r.passed}/{r.episodes}",
            f"{low:.0f}–{high:.0f} %",
            "–" if r.done_s is None else f"{r.done_s:.1f}",
            str(r.starved),
            ", ".join(f"{x:.3f}" for x in r.seam_rad),
            ", ".join(f"{x:.2f}" for x in r.seam_ratio),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
