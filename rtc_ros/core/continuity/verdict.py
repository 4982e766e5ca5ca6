"""From figures to a verdict: thresholds, and the sentences that say why."""

from __future__ import annotations

from dataclasses import dataclass

MIN_STEPS = 50
"""A second at 50 Hz: with fewer executed steps nothing is judged."""


@dataclass(frozen=True)
class Thresholds:
    """The most that a good run may have. A negative value leaves a figure unjudged.

    ``max_starved``: ticks held because no row was left; a pause is what RTC is there to avoid.
    ``max_misplaced``: steps executed from a wrong row, out of order, skipped or not as in their
    chunk; anything but 0 is a defect.
    ``max_seam_excess``: how far the worst seam's step may depart from its neighbours, in units of
    what the same joint does in a fast ordinary step (the p99). Up to 1 a seam can't be told from
    the rest of the motion. The worst of several hundred guided seams of the shipped policy was
    3.3, of unguided ones 7.8 to 18 (docs/simulation.md), so 4 tells them apart.
    ``max_lateness_s``: p99 of the control tick's lateness; 5 ms is a quarter of a 20 ms period,
    beyond which an arm's driver sees uneven commands.
    """

    max_starved: int = 0
    max_misplaced: int = 0
    max_seam_excess: float = 4.0
    max_lateness_s: float = 0.005


@dataclass(frozen=True)
class Verdict:
    """``passed`` is None where the recording doesn't hold enough to judge; ``why`` says it."""

    passed: bool | None
    why: tuple[str, ...]

    @property
    def word(self) -> str:
        """PASS, FAIL or NOT JUDGED."""
        return {True: "PASS", False: "FAIL", None: "NOT JUDGED"}[self.passed]


def verdict_of(
    thresholds: Thresholds,
    *,
    has_provenance: bool,
    steps: int,
    moved: bool,
    starved: int,
    misplaced: int,
    worst_seam_excess: float | None,
    seams: int,
    lateness_p99_s: float | None,
) -> Verdict:
    """Hold the figures against ``thresholds``. A run that didn't move never passes."""
    if not has_provenance:
        return Verdict(
            None,
            ("the commands carry no provenance, so nothing tells seams, holds or rows apart",),
        )
    if steps < MIN_STEPS:
        return Verdict(
            None, (f"{steps} executed steps are too few to judge ({MIN_STEPS} at least)",)
        )
    if not moved:
        return Verdict(None, (f"the arm was never moved in {steps} steps: nothing to judge",))
    limits = (
        ("starved ticks", starved, thresholds.max_starved),
        ("misplaced steps", misplaced, thresholds.max_misplaced),
        ("worst seam's excess [ordinary steps]", worst_seam_excess, thresholds.max_seam_excess),
        ("tick lateness p99 [s]", lateness_p99_s, thresholds.max_lateness_s),
    )
    over = [
        f"{name}: {value:.4g}, allowed {limit:.4g}"
        for name, value, limit in limits
        if value is not None and limit >= 0 and value > limit
    ]
    if over:
        return Verdict(False, tuple(over))
    within = [
        f"{name}: {value:.4g}, allowed {limit:.4g}"
        for name, value, limit in limits
        if value is not None and limit >= 0
    ]
    if not seams:
        within.append("no seam in the recording, so none was judged")
    return Verdict(True, tuple(within))
