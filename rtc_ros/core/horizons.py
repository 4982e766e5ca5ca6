"""The inequality that ties H, s and d together: d ≤ s ≤ H − d."""

from __future__ import annotations

from dataclasses import dataclass


def check_horizon(horizon: int, delay: int, stride: int) -> None:
    """Raise ValueError, with the numbers, unless 1 ≤ H, 0 ≤ d and 0 ≤ s ≤ H."""
    if horizon < 1:
        raise ValueError(f"the horizon H is {horizon}; a chunk has at least one row")
    if delay < 0:
        raise ValueError(f"the delay d is {delay}; it can't be negative")
    if not 0 <= stride <= horizon:
        raise ValueError(f"the stride s is {stride}; it must be within 0 and H = {horizon}")


@dataclass(frozen=True)
class Horizons:
    """The three regions of one new chunk, all in rows.

    ``frozen`` is d as far as the previous chunk reaches (d, cut to H − s); ``over_budget`` says
    that it was cut: the previous chunk runs out before the new one is expected.
    """

    horizon: int
    delay: int
    stride: int

    def __post_init__(self) -> None:
        check_horizon(self.horizon, self.delay, self.stride)

    @property
    def overlap(self) -> int:
        """H − s: rows that the previous chunk has too."""
        return self.horizon - self.stride

    @property
    def frozen(self) -> int:
        """Rows that will have been executed from the previous chunk."""
        return min(self.delay, self.overlap)

    @property
    def over_budget(self) -> bool:
        """Whether the previous chunk ends before the forecast delay does (d > H − s)."""
        return self.delay > self.overlap


def refusal(horizon: int, s_min: int, delay: int) -> str | None:
    """Say why (H, s_min, d) can't work, or return None where it can.

    The stride will be s = max(d, s_min), which must satisfy d ≤ s ≤ H − d: a chunk of which s
    rows are executed before the next inference starts must still cover that inference's d.
    """
    if s_min < 1:
        return f"s_min is {s_min}; at least one action must be executed between two inferences"
    if s_min >= horizon:
        return (
            f"s_min is {s_min}, but a chunk has only H = {horizon} rows: the next inference "
            f"would start after its end; s_min must be at most {horizon - 1}"
        )
    stride = max(delay, s_min)
    if stride + delay > horizon:
        largest = horizon - delay
        hint = (
            f"s_min must be at most H - d = {largest}"
            if delay <= largest
            else f"no s_min works: d must be at most H / 2 = {horizon // 2}, so infer faster, "
            "lengthen the control period, or train with a longer horizon"
        )
        return (
            f"s = max(d, s_min) = {stride} and d = {delay} need {stride + delay} rows, but a "
            f"chunk has H = {horizon} (d ≤ s ≤ H - d); {hint}"
        )
    return None
