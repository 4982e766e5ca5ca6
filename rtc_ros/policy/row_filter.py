"""A low-pass along a chunk, for what a policy itself shakes (``filter_cutoff``).

A chunk is known as a whole, so the filter looks both ways and adds no phase: scipy's Butterworth
filter of second order, once forward and once backward. It comes before the limits, and A_prev is
made of the rows that it leaves.
"""

from __future__ import annotations

import functools

import numpy as np

from rtc_ros.core.inference_loop import RowFilter
from rtc_ros.core.limits import JointLimits

_ORDER = 2


def load_filters() -> None:
    """Import scipy's filters, which takes a second: not while a chunk waits for them."""
    import scipy.signal  # noqa: F401


def row_filter(period_s: float) -> RowFilter:
    """Return the filter of rows that are ``period_s`` apart."""
    return functools.partial(filtered_rows, period_s)


def filtered_rows(
    period_s: float,
    rows: np.ndarray,
    cutoff_hz: float,
    frozen: int = 0,
    limits: JointLimits | None = None,
) -> np.ndarray:
    """Return ``rows`` [H, A] without what is faster than ``cutoff_hz`` (half its amplitude left).

    The first ``frozen`` rows stay to the bit: they are executed already, or will be. What follows
    goes on from the last of them: they are the filter's past, and where its response there is
    off by c, c is taken away from it as the filter itself lets go of a step. Endless joints, by
    ``limits``, are filtered along the way that they go.
    """
    count = len(rows)
    if not cutoff_hz or count - frozen < 2 or count < 3 or not np.isfinite(rows).all():
        return rows
    from scipy.signal import butter, sosfiltfilt

    sections = butter(_ORDER, cutoff_hz, fs=1 / period_s, output="sos")

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.asarray(sosfiltfilt(sections, values, axis=0, padlen=count - 1))

    way = np.array(rows, dtype=np.float64)
    if limits is not None and limits.turns:
        for i in range(1, count):
            way[i] = limits.nearest(way[i], way[i - 1])
    out = smooth(way)
    if frozen:
        step = smooth((np.arange(count) < frozen).astype(np.float64))
        off = way[frozen - 1] - out[frozen - 1]
        out += off * (step / step[frozen - 1])[:, None]
    if limits is not None and limits.turns:
        out = limits.nearest(out, rows)
    out[:frozen] = rows[:frozen]
    return out
