"""Everything about RTC that may change while the arm moves, validated as a whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rtc_ros.core.horizons import refusal
from rtc_ros.core.prefix import SCHEDULES
from rtc_ros.core.strategies import STRATEGIES, Strategy

JACOBIANS = ("vjp", "identity")
COUNT_FROM = ("inference_start", "swap")
ANCHORS = ("inference_start", "observation")


@dataclass(frozen=True)
class RtcSettings:
    """The live settings; the words are those of docs/parameters.md.

    ``s_min`` [steps], ``beta`` (β), ``sigma_d`` (σ_d), ``num_steps`` (n, 0 = the
    checkpoint's), ``inject_latency_ms`` [ms].
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

    def problems(self, horizon: int, delay: int) -> list[str]:
        """Say, a sentence each, why these settings can't be used with H and the forecast d."""
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
        if found:
            return found
        # A pausing strategy executes s_min rows and has no delay to cover.
        conflict = refusal(horizon, self.s_min, 0 if self.plan.pauses else delay)
        return [conflict] if conflict else []

    def rows_needed(self, delay: int) -> int:
        """Rows a chunk must have for these settings and d: s + d, s = max(d, s_min)."""
        return self.s_min if self.plan.pauses else max(delay, self.s_min) + delay

    def problems_after(
        self, before: RtcSettings, horizon: int, delay: int, delay_before: int
    ) -> list[str]:
        """Say why the settings ``before`` can't be changed to these.

        A slow inference may bring d over the budget at any time. Then a change that doesn't
        touch the conflict, or eases it, must still be possible.
        """
        found = self.problems(horizon, delay)
        conflict = found and not self.problems(horizon, 0)  # each value is good by itself
        worse = self.rows_needed(delay) > before.rows_needed(delay_before)
        return [] if conflict and not worse else found

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
