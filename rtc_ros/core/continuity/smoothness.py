"""How smooth a motion is, as one number: spectral arc length and log dimensionless jerk.

Both are those of Balasubramanian et al., "On the analysis of movement smoothness" (2015), on a
speed profile; both are at most 0 in practice, and nearer to 0 is smoother. They depend on the
movement as a whole, so only figures of like motions compare.
"""

from __future__ import annotations

import numpy as np

SPARC_CUTOFF_HZ = 10.0
SPARC_AMPLITUDE = 0.05
SPARC_PADDING = 4
"""The paper's parameters: cutoff, relative amplitude threshold, zero padding in powers of two."""


def spectral_arc_length(speed: np.ndarray, rate_hz: float) -> float:
    """Return SPARC of ``speed`` [N] sampled at ``rate_hz``; NaN where nothing moves.

    The negative length of the speed's normalised magnitude spectrum, up to the last frequency
    below 10 Hz whose amplitude is at least 5 % of the largest.
    """
    speed = np.asarray(speed, dtype=np.float64)
    if len(speed) < 2 or not np.isfinite(speed).all() or not speed.any():
        return float("nan")
    size = int(2 ** (np.ceil(np.log2(len(speed))) + SPARC_PADDING))
    frequency = np.arange(size // 2 + 1) * (rate_hz / size)
    spectrum = np.abs(np.fft.rfft(speed, size))
    spectrum /= spectrum.max()
    below = frequency <= SPARC_CUTOFF_HZ
    frequency, spectrum = frequency[below], spectrum[below]
    loud = np.flatnonzero(spectrum >= SPARC_AMPLITUDE)
    if loud[-1] == loud[0]:
        return float("nan")
    frequency, spectrum = (x[loud[0] : loud[-1] + 1] for x in (frequency, spectrum))
    run = np.diff(frequency) / (frequency[-1] - frequency[0])
    return -float(np.hypot(run, np.diff(spectrum)).sum())


def log_dimensionless_jerk(speed: np.ndarray, rate_hz: float) -> float:
    """Return LDLJ of ``speed`` [N] sampled at ``rate_hz``; NaN where nothing moves or jerks.

    −ln( T³ / v_max² · ∫ (d²v/dt²)² dt ), the derivative by second differences.
    """
    speed = np.asarray(speed, dtype=np.float64)
    if len(speed) < 3 or not np.isfinite(speed).all():
        return float("nan")
    peak = np.abs(speed).max()
    duration = len(speed) / rate_hz
    jerk = np.diff(speed, 2) * rate_hz**2
    integral = (jerk**2).sum() / rate_hz
    if peak == 0 or integral == 0:
        return float("nan")
    return -float(np.log(duration**3 / peak**2 * integral))
