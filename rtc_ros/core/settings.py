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
