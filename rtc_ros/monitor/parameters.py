"""The parameters of the monitor."""

from __future__ import annotations

from rtc_ros.core.continuity import Thresholds
from rtc_ros.ros.parameter_table import Parameter

_DEFAULT = Thresholds()

MONITOR = (
    Parameter("window", 60.0, "How far back the figures reach.", "s", 1.0, 600.0),
    Parameter(
        "max_starved",
        _DEFAULT.max_starved,
        "Ticks held without a row, in the window; negative: not judged.",
        "",
        -1,
        10**6,
    ),
    Parameter(
        "max_misplaced",
        _DEFAULT.max_misplaced,
        "Steps from a wrong row or out of order; negative: not judged.",
        "",
        -1,
        10**6,
    ),
    Parameter(
        "max_seam_excess",
        _DEFAULT.max_seam_excess,
        "The worst seam's excess, in fast ordinary steps; negative: not judged.",
        "",
        -1.0,
        1e6,
    ),
    Parameter(
        "max_lateness_ms",
        _DEFAULT.max_lateness_s * 1e3,
        "p99 of the tick's lateness; negative: not judged.",
        "ms",
        -1.0,
        1e6,
    ),
)
