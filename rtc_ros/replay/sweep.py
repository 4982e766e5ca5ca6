"""Tries settings on a recording and recommends some: seams against reactivity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rtc_ros.core.continuity import ContinuityReport, Thresholds, judge
from rtc_ros.core.settings import RtcSettings
from rtc_ros.policy.protocol import Policy
from rtc_ros.replay.shadow import Shadow, Timing, shadow
from rtc_ros.replay.source import Recording

SIMILAR_AGE_S = 0.005
"""Reaction times that differ by less than this are alike: a quarter of a 20 ms period."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One combination of settings; without ``report`` it was refused for ``why``."""

    settings: RtcSettings
    shadow: Shadow | None
    report: ContinuityReport | None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return its figures."""
        report, found = self.report, self.shadow
        excess = None if report is None else report.seam_excess_ratio
        return {
            "settings": asdict(self.settings),
            "refused": self.why or None,
            "passed": None if report is None else report.verdict.passed,
            "starved_ticks": None if report is None else report.starved_ticks,
            "seams": None if report is None else report.seam_count,
            "seam_excess_ratio": None if excess is None else asdict(excess),
            "seam_jump_rad": _dict(None if report is None else report.seam_jump),
            "prefix_mismatch_rad": _dict(None if report is None else report.prefix_mismatch),
            "age_s": None if found is None else found.age_s,
            "held_back": None if found is None else found.held_back,
        }


def combinations(
    base: RtcSettings,
    s_min: Sequence[int],
    beta: Sequence[float],
    schedule: Sequence[str],
    strategy: Sequence[str] = (),
) -> list[RtcSettings]:
    """Return every combination, an empty list standing for the base's value."""
    parts = (
        strategy or [base.strategy],
        s_min or [base.s_min],
        beta or [base.beta],
        schedule or [base.schedule],
    )
    return [
        base.changed(strategy=x, s_min=s, beta=b, schedule=g) for x, s, b, g in product(*parts)
    ]


def sweep(
    recording: Recording,
    policy: Policy,
    choices: Sequence[RtcSettings],
    timing: Timing,
    thresholds: Thresholds,
    seed: int,
) -> Iterator[Trial]:
    """Yield a trial for each of ``choices``."""
    for settings in choices:
        # Too long a delay is no reason to refuse: that it starves or tears is what is to be seen.
        spec = policy.spec
        problems = settings.problems(spec.horizon, 0, spec.max_candidates, spec.trained_delay)
        problem = spec.cannot(settings.strategy) or "".join(problems[:1])
        if problem:
            yield Trial(settings, None, None, problem)
            continue
        found = shadow(recording, policy, settings, timing, seed)
        yield Trial(settings, found, judge(found.run, thresholds))


UNSEEN = (
    "what this can't see: whether the task gets done. The arm doesn't follow the shadow, so what "
    "a choice does to the next observation is missing; seams and ages tell how smooth and how "
    "soon, not how well. What ties chunks more closely may look better here and do less, above "
    "all where things move by themselves: let each do the task, with objects that move, too"
)
"""What is to be said beside a recommendation."""


def recommended(trials: Sequence[Trial], thresholds: Thresholds) -> tuple[Trial | None, str]:
    """Return the best trial, and the sentence that says why.

    Of those whose worst seam is within the threshold and that never starve, the ones that react
    soonest; of these, the one that is held back least. Where none is within: the one with the
    fewest starved ticks, then the smallest worst seam.
    """
    tried = [t for t in trials if t.report is not None and t.report.seam_excess_ratio is not None]
    if not tried:
        return None, "no combination could be tried for long enough to have a seam"
    good = [t for t in tried if _within(t, thresholds)]
    if not good:
        best = min(tried, key=lambda t: (_starved(t), _worst(t)))
        return best, (
            f"no combination is within the thresholds; this one starves for {_starved(best)} "
            f"ticks and its worst seam is {_worst(best):.2f} ordinary steps: lower the latency"
        )
    soonest = min(t.shadow.age_s or 0.0 for t in good if t.shadow)
    quick = [t for t in good if t.shadow and (t.shadow.age_s or 0.0) < soonest + SIMILAR_AGE_S]
    best = min(quick, key=lambda t: ((t.shadow.held_back or 0.0) if t.shadow else 0.0, _worst(t)))
    return best, (
        f"{len(good)} of {len(tried)} are within the thresholds; of the {len(quick)} that react "
        "soonest this one is held back least"
    )


def _within(trial: Trial, thresholds: Thresholds) -> bool:
    limit = thresholds.max_seam_excess
    return _starved(trial) <= max(0, thresholds.max_starved) and (
        limit < 0 or _worst(trial) <= limit
    )


def _starved(trial: Trial) -> int:
    return trial.report.starved_ticks if trial.report else 0


def _worst(trial: Trial) -> float:
    excess = trial.report.seam_excess_ratio if trial.report else None
    return float("inf") if excess is None else excess.max


def _dict(value: Any) -> dict[str, float] | None:
    return None if value is None else asdict(value)


def draw_sweep(
    trials: Sequence[Trial], best: Trial | None, thresholds: Thresholds, path: Path
) -> None:
    """Write the trade-off as a picture: each trial's seams against how soon it reacts."""
    from matplotlib.figure import Figure

    from rtc_ros.report.panels import GOOD, STARVED
    from rtc_ros.report.timeline import JOINT_COLOURS

    shown = [t for t in trials if t.report is not None and t.report.seam_excess_ratio and t.shadow]
    figure = Figure(figsize=(13, 5.6), facecolor="white")
    axes = figure.subplots(1, 2, sharey=True)
    betas = sorted({t.settings.beta for t in shown})
    schedules = sorted({t.settings.mask_schedule for t in shown})
    for axis, label, reach in (
        (axes[0], "age of the observation behind a command [ms]", _age_ms),
        (axes[1], "held back by the guidance, RMS [rad]", _held_back),
    ):
        for trial in shown:
            x, excess = reach(trial), trial.report.seam_excess_ratio if trial.report else None
            if x is None or excess is None:
                continue
            colour = JOINT_COLOURS[betas.index(trial.settings.beta) % len(JOINT_COLOURS)]
            marker = "osD^v<"[schedules.index(trial.settings.mask_schedule) % 6]
            axis.plot([x, x], [excess.median, excess.max], color=colour, lw=1, alpha=0.4)
            axis.plot([x], [excess.max], marker, color=colour, ms=8)
            axis.annotate(f" {trial.settings.s_min}", (x, excess.max), fontsize=9)
            if trial is best:
                axis.plot([x], [excess.max], "o", ms=18, mfc="none", mec=GOOD, mew=2)
        if thresholds.max_seam_excess >= 0:
            axis.axhline(thresholds.max_seam_excess, color=STARVED, lw=1.2, ls="--")
        axis.set_xlabel(label)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("seam's excess, median to worst\n[fast ordinary steps]")
    for i, beta in enumerate(betas):
        axes[1].plot([], [], "s", color=JOINT_COLOURS[i % len(JOINT_COLOURS)], label=f"β {beta:g}")
    for i, schedule in enumerate(schedules):
        axes[1].plot([], [], "osD^v<"[i % 6], color="#888888", label=schedule)
    axes[1].plot([], [], "o", ms=12, mfc="none", mec=GOOD, label="recommended")
    axes[1].legend(fontsize=9, frameon=False, title="number at the mark: s_min")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _age_ms(trial: Trial) -> float | None:
    return None if trial.shadow is None or trial.shadow.age_s is None else trial.shadow.age_s * 1e3


def _held_back(trial: Trial) -> float | None:
    return None if trial.shadow is None else trial.shadow.held_back
