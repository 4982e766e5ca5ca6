"""Which points the comparison of strategies is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtc_ros.core.settings import RtcSettings

DELAYS = (0, 1, 2, 3, 4)
STRIDES = (1, 2, 3, 4, 6)
STRIDE_DELAY = 1
SETTINGS_DELAYS = (1, 3)

METHODS: dict[str, dict[str, Any]] = {
    "rtc": {"strategy": "rtc"},
    "rtc_hard": {"strategy": "rtc_hard"},
    "naive_async": {"strategy": "naive_async"},
    "synchronous": {"strategy": "synchronous"},
    "temporal_ensembling": {"strategy": "temporal_ensembling"},
    "prefix_overwrite": {"strategy": "prefix_overwrite"},
    "bid": {"strategy": "bid", "bid_contrast": 0},
    "bid_contrast": {"strategy": "bid", "bid_candidates": 16, "bid_contrast": 3},
}
"""What is compared, by name: settings. With s = max(d, 1) sparse temporal ensembling infers as
often as dense does; over s, dense is the point s = 1."""

DEFAULTS = "defaults"

_GUIDANCE: dict[str, dict[str, Any]] = {
    **{f"β {b}": {"beta": float(b)} for b in (1, 2, 10, 20, 40)},
    **{f"σ_d {x}": {"sigma_d": x} for x in (0.2, 0.5)},
    "n 10": {"num_steps": 10},
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "rtc": {
        **{f"schedule {g}": {"schedule": g} for g in ("exp_shifted", "linear", "cosine", "ones")},
        **_GUIDANCE,
        "Jacobian identity": {"jacobian": "identity"},
    },
    "rtc_hard": {**_GUIDANCE, "Jacobian identity": {"jacobian": "identity"}},
    "naive_async": {"n 10": {"num_steps": 10}},
    "temporal_ensembling": {f"m {m}": {"ensemble_decay": m} for m in (-1.0, -0.3, 0.3, 1.0)},
    "prefix_overwrite": {"n 10": {"num_steps": 10}},
    "bid": {f"N {n}": {"bid_candidates": n} for n in (4, 8)},
    "bid_contrast": {f"K {k}": {"bid_contrast": k} for k in (1, 8, 16)},
}
"""Changes to the defaults (exp, β 5, n 5, vjp, σ_d 1, m 0, N 16, K 3) that each method
is tried with, by name. ``synchronous`` has s alone, which the strides are a sweep of."""


@dataclass(frozen=True)
class Point:
    """One measurement: a task (a level and the number of a training), a method, d and s.

    ``sweep`` names its table.

    ``line`` is what it is called there: the method, and what is tried in place of its defaults.
    """

    sweep: str
    task: str
    method: str
    delay: int
    stride: int
    settings: RtcSettings
    variant: str = DEFAULTS

    @property
    def line(self) -> str:
        """What it is called in its table."""
        return told_as(self.sweep, self.method, self.variant)

    @property
    def choosing(self) -> bool:
        """Whether it is there to choose a setting: on other episodes than those compared."""
        return self.sweep == "settings"

    @property
    def key(self) -> str:
        """What this point is, in one line: where it is found again in the results."""
        changed = {
            k: v for k, v in asdict(self.settings).items() if v != getattr(RtcSettings(), k)
        }
        return f"{'choosing ' * self.choosing}{self.task} d={self.delay} {changed}"


def told_as(sweep: str, method: str, variant: str) -> str:
    """Return what a point is called in its table; what was chosen is in a table of its own."""
    tried = sweep == "settings" and variant != DEFAULTS
    return f"{method}, {variant}" if tried else method


def points(
    tasks: Iterable[str],
    sweeps: Sequence[str],
    methods: Iterable[str],
    delays: Sequence[int] = DELAYS,
    strides: Sequence[int] = STRIDES,
    settings_delays: Sequence[int] = SETTINGS_DELAYS,
) -> list[Point]:
    """Return the points of the chosen sweeps ("delay", "stride", "settings"), task by task."""
    methods = list(methods)
    found = []
    for task in tasks:
        if "delay" in sweeps:
            found += [_point("delay", task, m, d, max(d, 1)) for m in methods for d in delays]
        if "stride" in sweeps:
            found += [_point("stride", task, m, STRIDE_DELAY, s) for m in methods for s in strides]
        if "settings" in sweeps:
            found += [
                _point("settings", task, m, d, max(d, 1), variant)
                for m in methods
                if m in SETTINGS
                for variant in (DEFAULTS, *SETTINGS[m])
                for d in settings_delays
            ]
    return found


def chosen_points(
    tasks: Iterable[str],
    chosen: Mapping[tuple[str, str], str],
    methods: Iterable[str],
    delays: Sequence[int] = DELAYS,
) -> list[Point]:
    """Return the points over d with the variant ``chosen`` for each task and method."""
    methods = list(methods)
    return [
        _point("chosen", task, m, d, max(d, 1), chosen.get((task, m), DEFAULTS))
        for task in tasks
        for m in methods
        for d in delays
    ]


def _point(
    sweep: str, task: str, method: str, delay: int, stride: int, variant: str = DEFAULTS
) -> Point:
    change = {} if variant == DEFAULTS else SETTINGS[method][variant]
    settings = RtcSettings(s_min=stride, **{**METHODS[method], **change})
    return Point(sweep, task, method, delay, stride, settings, variant)
