"""From figures to a verdict: thresholds, and the sentences that say why."""

from __future__ import annotations

from dataclasses import dataclass

from rtc_ros.core.continuity.sent import SentFigures
from rtc_ros.core.continuity.spread import Ratio, Spread

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
    the rest of the motion. The worst seam of the shipped policy was 2.8 with the soft mask and 9
    to 31 unguided, at delays of 0 to 18 steps (docs/simulation.md), so 4 tells them apart.
    ``max_seam_p95_ratio`` and ``max_seam_median_ratio``: excess at seams over that of ordinary
    steps, p95 and medians; not judged unless asked for. At 1 seams are as smooth as the motion
    between them.
    ``max_lateness_s``: p99 of the control tick's lateness; 5 ms is a quarter of a 20 ms period,
    beyond which an arm's driver sees uneven commands.
    ``max_sent_acceleration`` and ``max_sent_jerk``: of what drivers of rows were sent, the largest
    in time [robot units / s², / s³]; the arm's limits, so not judged unless asked for.
    """

    max_starved: int = 0
    max_misplaced: int = 0
    max_seam_excess: float = 4.0
    max_lateness_s: float = 0.005
    max_seam_p95_ratio: float = -1.0
    max_seam_median_ratio: float = -1.0
    max_sent_acceleration: float = -1.0
    max_sent_jerk: float = -1.0


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
    seam_to_ordinary: Ratio | None = None,
    sent: SentFigures | None = None,
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
        (
            "excess p95, seams ÷ ordinary steps",
            None if seam_to_ordinary is None else seam_to_ordinary.p95,
            thresholds.max_seam_p95_ratio,
        ),
        (
            "excess median, seams ÷ ordinary steps",
            None if seam_to_ordinary is None else seam_to_ordinary.median,
            thresholds.max_seam_median_ratio,
        ),
        ("tick lateness p99 [s]", lateness_p99_s, thresholds.max_lateness_s),
        (
            "largest acceleration sent [rad/s²]",
            _largest(None if sent is None else sent.acceleration),
            thresholds.max_sent_acceleration,
        ),
        (
            "largest jerk sent [rad/s³]",
            _largest(None if sent is None else sent.jerk),
            thresholds.max_sent_jerk,
        ),
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


def _largest(spread: Spread | None) -> float | None:
    return None if spread is None else spread.max
