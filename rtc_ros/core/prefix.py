"""The soft mask of equation 5: how strongly each row is guided to the previous chunk."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rtc_ros.core.horizons import check_horizon

_E1 = math.e - 1.0

SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": lambda c: c * np.expm1(c) / _E1,
    "exp_shifted": lambda c: c * np.exp(c - 1.0) / _E1,
    "linear": lambda c: c,
    "cosine": lambda c: 0.5 * (1.0 - np.cos(np.pi * c)),
    "ones": np.ones_like,
    "zeros": np.zeros_like,
}
"""g(c) per schedule: ``exp`` is the paper's, ``exp_shifted`` the SmolVLA RTC README's,
``linear`` and ``cosine`` are ablations, ``ones`` freezes the whole overlap and ``zeros`` leaves
only the first d rows (RTC with a hard mask)."""


def prefix_weights(horizon: int, delay: int, stride: int, schedule: str = "exp") -> np.ndarray:
    """Return W, the weight of each row in the guidance (equation 5).

    The first ``delay`` rows will have been executed before the new chunk is used, so they are
    frozen; the last ``stride`` rows have no counterpart in the previous chunk, so they are free::

        row     0 … d-1    d … H-s-1     H-s … H-1
        W          1         g(c_i)          0         c_i = (H-s-i) / (H-s-d+1)

    Args:
        horizon: H, rows in a chunk.
        delay: d, rows executed until the new chunk is used. More than H − s is cut to H − s.
        stride: s, rows of the previous chunk executed when the inference starts.
        schedule: g, one of ``SCHEDULES``.

    Returns:
        float64[H], non-increasing, within [0, 1].

    Raises:
        ValueError: a number is out of range, or the schedule is unknown.
    """
    check_horizon(horizon, delay, stride)
    try:
        decay = SCHEDULES[schedule]
    except KeyError:
        raise ValueError(
            f"schedule is {schedule!r}; it must be one of {', '.join(SCHEDULES)}"
        ) from None
    end = horizon - stride
    frozen = min(delay, end)
    rows = np.arange(frozen, end)
    weights = np.zeros(horizon)
    weights[:frozen] = 1.0
    weights[frozen:end] = decay((end - rows) / (end - frozen + 1.0))
    return weights
