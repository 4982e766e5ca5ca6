"""Everything about RTC that may change while the arm moves, validated as a whole."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np

from rtc_ros.core.horizons import refusal
from rtc_ros.core.prefix import SCHEDULES, prefix_weights
from rtc_ros.core.strategies import CHOOSE, ENSEMBLE, STRATEGIES, TRAINED, Strategy

JACOBIANS = ("vjp", "identity")
COUNT_FROM = ("inference_start", "swap")
ANCHORS = ("inference_start", "observation")


@dataclass(frozen=True)
class RtcSettings:
    """The live settings; the words are those of docs/parameters.md.

    ``s_min`` [steps], ``beta`` (β), ``sigma_d`` (σ_d), ``num_steps`` (n, 0 = the
    checkpoint's), ``inject_latency_ms`` [ms]; of single strategies: ``ensemble_decay`` (m),
    ``average_new`` (the new chunk's share), ``bid_candidates`` (N), ``bid_contrast`` (K);
    ``filter_cutoff`` [Hz], 0: none.
    """

    s_min: int = 10
    beta: float = 5.0
    schedule: str = "exp"
    jacobian: str = "vjp"
    sigma_d: float = 1.0
    num_steps: int = 0
    strategy: str = "rtc"
    count_from: str = "inference_start"
    anchor: str = "inference_start"
    inject_latency_ms: float = 0.0
    ensemble_decay: float = 0.0
    average_new: float = 0.7
    bid_candidates: int = 16
    bid_contrast: int = 3
    filter_cutoff: float = 0.0

    def problems(
        self,
        horizon: int,
        delay: int,
        max_candidates: int | None = None,
        trained_delay: int | None = None,
    ) -> list[str]:
        """Say, a sentence each, why these settings can't be used with H and the forecast d.

        ``max_candidates`` is how many chunks the policy can make in one batch and
        ``trained_delay`` up to which d it was trained to go on from given rows (0: it wasn't),
        where that is known.
        """
        found = [
            f"{name} is {value!r}; it must be one of {', '.join(allowed)}"
            for name, value, allowed in (
                ("schedule", self.schedule, SCHEDULES),
                ("jacobian", self.jacobian, JACOBIANS),
                ("strategy", self.strategy, STRATEGIES),
                ("count_from", self.count_from, COUNT_FROM),
                ("anchor", self.anchor, ANCHORS),
            )
            if value not in allowed
        ]
        if not (math.isfinite(self.beta) and self.beta >= 0):
            found.append(f"beta is {self.beta:g}; it must be a finite number from 0 up")
        if not (math.isfinite(self.sigma_d) and self.sigma_d > 0):
            found.append(f"sigma_d is {self.sigma_d:g}; it must be a finite number above 0")
        if self.num_steps < 0:
            found.append(f"num_steps is {self.num_steps}; it must be 0 (the checkpoint's) or more")
        if not (math.isfinite(self.inject_latency_ms) and self.inject_latency_ms >= 0):
            found.append(f"inject_latency_ms is {self.inject_latency_ms:g}; it can't be negative")
        if not -10.0 <= self.ensemble_decay <= 10.0:
            decay = f"{self.ensemble_decay:g}"
            found.append(f"ensemble_decay is {decay}; it must be within -10 and 10")
        if not 0.0 <= self.average_new <= 1.0:
            found.append(f"average_new is {self.average_new:g}; it must be within 0 and 1")
        if not (math.isfinite(self.filter_cutoff) and self.filter_cutoff >= 0):
            found.append(f"filter_cutoff is {self.filter_cutoff:g}; it must be 0 or a frequency")
        if self.bid_candidates < 1:
            found.append(f"bid_candidates is {self.bid_candidates}; at least one chunk is made")
        elif not 0 <= self.bid_contrast <= self.bid_candidates:
            found.append(
                f"bid_contrast is {self.bid_contrast}; it must be within 0 and bid_candidates = "
                f"{self.bid_candidates}"
            )
        if found:
            return found
        found = self._beyond_the_policy(max_candidates)
        if self.plan.prefix == TRAINED and trained_delay is not None:
            beyond = beyond_training(delay, trained_delay)
            found += [beyond] if beyond else []
        # A pausing strategy executes s_min rows and has no delay to cover.
        conflict = refusal(horizon, self.least_stride, 0 if self.plan.pauses else delay)
        return found + ([conflict] if conflict else self._without_overlap(horizon, delay))

    def _beyond_the_policy(self, max_candidates: int | None) -> list[str]:
        n = self.bid_candidates
        if self.plan.prefix != CHOOSE or max_candidates is None or n <= max_candidates:
            return []
        return [
            f"{self.strategy} makes bid_candidates = {n} chunks in one batch, but this policy has "
            f"memory for {max_candidates} on its device: choose fewer, or another strategy"
        ]

    def _without_overlap(self, horizon: int, delay: int) -> list[str]:
        needed = self.rows_needed(delay)
        if self.plan.blend != ENSEMBLE or needed <= horizon:
            return []
        return [
            f"{self.strategy} averages the predictions for a step, but with s = "
            f"{max(delay, self.least_stride)} and d = {delay} no step that is executed has two: "
            f"s + d must be at most H - 1 = {horizon - 1}"
        ]

    @property
    def least_stride(self) -> int:
        """s_min as the strategy has it: 1 where inferences go back to back."""
        return 1 if self.plan.dense else self.s_min

    def rows_needed(self, delay: int) -> int:
        """Rows a chunk must have for these settings and d: s + d, s = max(d, s_min).

        One more where two predictions of a step are averaged.
        """
        if self.plan.pauses:
            return self.s_min
        return max(delay, self.least_stride) + delay + (self.plan.blend == ENSEMBLE)

    def problems_after(
        self,
        before: RtcSettings,
        horizon: int,
        delay: int,
        delay_before: int,
        max_candidates: int | None = None,
        trained_delay: int | None = None,
    ) -> list[str]:
        """Say why the settings ``before`` can't be changed to these.

        A slow inference may bring d over the budget at any time. Then a change that doesn't
        touch the conflict, or eases it, must still be possible.
        """
        found = self.problems(horizon, delay, max_candidates, trained_delay)
        # Each value is good by itself.
        conflict = found and not self.problems(horizon, 0, max_candidates, trained_delay)
        worse = self.rows_needed(delay) > before.rows_needed(delay_before)
        trained = trained_delay or 0
        worse |= self.rows_cut(delay, trained) > before.rows_cut(delay_before, trained)
        return [] if conflict and not worse else found

    def rows_cut(self, delay: int, trained_delay: int) -> int:
        """Rows of d that aren't frozen, because the policy was trained for fewer."""
        return max(0, delay - trained_delay) if self.plan.prefix == TRAINED else 0

    def weights(
        self, horizon: int, delay: int, stride: int, rows: int, trained_delay: int | None = None
    ) -> np.ndarray | None:
        """Return W float64[H] for a previous chunk of ``rows`` rows; None where there is none.

        Rows that it doesn't have are free, and so are those beyond what the policy was trained
        for, where that is known and counts.
        """
        if self.plan.prefix is None:
            return None
        cut = 0 if trained_delay is None else self.rows_cut(delay, trained_delay)
        weights = prefix_weights(horizon, delay - cut, stride, self.mask_schedule)
        weights[rows:] = 0.0
        return weights

    @property
    def plan(self) -> Strategy:
        """The strategy's definition."""
        return STRATEGIES[self.strategy]

    @property
    def mask_schedule(self) -> str:
        """The schedule in effect: the strategy's own, or the ``schedule`` parameter."""
        return self.plan.schedule or self.schedule

    def changed(self, **changes: object) -> RtcSettings:
        """Return a copy with some values changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def beyond_rows(cutoff_hz: float, control_period_s: float) -> str:
    """Say why rows so far apart can't be filtered at ``cutoff_hz``, or ""."""
    most_hz = 0.5 / control_period_s
    if cutoff_hz < most_hz:
        return ""
    return (
        f"filter_cutoff is {cutoff_hz:g} Hz, and {1 / control_period_s:g} rows a second hold "
        f"nothing from {most_hz:g} Hz up: give less, or 0 for no filter"
    )


def beyond_training(delay: int, trained_delay: int) -> str:
    """Say why ``delay`` rows can't be given to a policy trained for ``trained_delay``, or ""."""
    how = "`rtc_ros finetune CHECKPOINT DATASET --max-delay {}` trains a SmolVLA"
    if trained_delay == 0:
        return (
            "rtc_trained is for a SmolVLA or pi0.5 that was trained to go on from given rows, and "
            "this policy says nothing of it (rtc_training_max_delay in config.json or "
            f"trained_with.json): choose rtc, or another policy: {how.format('D')}"
        )
    if delay > trained_delay:
        return (
            f"rtc_trained gives the first d = {delay} rows, but this policy was trained for "
            f"rtc_training_max_delay = {trained_delay}: infer faster, choose rtc, or another "
            f"policy: {how.format(delay)}"
        )
    return ""


def task_mark(task: str) -> str:
    """Return eight letters that tell a sentence from others, for a chunk's header."""
    return f"{zlib.crc32(task.encode()):08x}"
