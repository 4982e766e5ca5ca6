"""Which points the comparison of strategies is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtc_ros.core.settings import RtcSettings

DELAYS = (0, 1, 2, 3, 4)
STRIDES = (1, 2, 3, 4, 6, 8)
STRIDE_DELAY = 1
ABLATION_DELAYS = (2, 4)

METHODS: dict[str, dict[str, Any]] = {
    "rtc": {"strategy": "rtc"},
    "rtc_hard": {"strategy": "rtc_hard"},
    "naive_async": {"strategy": "naive_async"},
    "synchronous": {"strategy": "synchronous"},
    "temporal_ensembling": {"strategy": "temporal_ensembling"},
    "weighted_average": {"strategy": "weighted_average"},
    "prefix_overwrite": {"strategy": "prefix_overwrite"},
    "bid": {"strategy": "bid", "bid_contrast": 0},
    "bid_contrast": {"strategy": "bid", "bid_candidates": 16, "bid_contrast": 3},
}
"""What is compared, by name: settings. With s = max(d, 1) sparse temporal ensembling infers as
often as dense does; over s, dense is the point s = 1."""

ABLATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("defaults", {}),
    *((f"schedule {g}", {"schedule": g}) for g in ("exp_shifted", "linear", "cosine", "ones")),
    ("schedule zeros", {"schedule": "zeros"}),
    *((f"β {b}", {"beta": float(b)}) for b in (1, 2, 10, 20)),
    ("n 10", {"num_steps": 10}),
    ("n 10, β 10", {"num_steps": 10, "beta": 10.0}),
    ("Jacobian identity", {"jacobian": "identity"}),
    ("σ_d 0.2", {"sigma_d": 0.2}),
    ("σ_d 0.5", {"sigma_d": 0.5}),
)
"""Changes to the defaults of ``rtc`` (exp, β 5, n 5, vjp, σ_d 1)."""


@dataclass(frozen=True)
class Point:
    """One measurement: a task, a method with its settings, d and s. ``sweep`` names its table."""

    sweep: str
    task: str
    method: str
    delay: int
    stride: int
    settings: RtcSettings

    @property
    def key(self) -> str:
        """What this point is, in one line: where it is found again in the results."""
        changed = {
            k: v for k, v in asdict(self.settings).items() if v != getattr(RtcSettings(), k)
        }
        return f"{self.task} d={self.delay} {changed}"


def points(
    tasks: Iterable[str],
    sweeps: Sequence[str],
    methods: Iterable[str],
    delays: Sequence[int] = DELAYS,
    strides: Sequence[int] = STRIDES,
    ablation_delays: Sequence[int] = ABLATION_DELAYS,
) -> list[Point]:
    """Return the points of the chosen sweeps ("delay", "stride", "ablation"), task by task."""
    methods = list(methods)
    found = []
    for task in tasks:
        if "delay" in sweeps:
            found += [_point("delay", task, m, d, max(d, 1)) for m in methods for d in delays]
        if "stride" in sweeps:
            found += [_point("stride", task, m, STRIDE_DELAY, s) for m in methods for s in strides]
        if "ablation" in sweeps:
            found += [
                Point("ablation", task, name, d, max(d, 1), RtcSettings(s_min=max(d, 1), **change))
                for name, change in ABLATIONS
                for d in ablation_delays
            ]
    return found


def _point(sweep: str, task: str, method: str, delay: int, stride: int) -> Point:
    return Point(sweep, task, method, delay, stride, RtcSettings(s_min=stride, **METHODS[method]))
