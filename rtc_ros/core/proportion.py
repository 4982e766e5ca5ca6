"""How sure a proportion is."""

from __future__ import annotations

import math

import numpy as np

_Z = 1.96


def wilson(passed: int, episodes: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the proportion ``passed / episodes``."""
    n, p = episodes, passed / episodes
    middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
    return (max(0.0, middle - half), min(1.0, middle + half))


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return by how much more ``one`` passed than ``other`` did, with its 95 % interval.

    Both are bool[N], pair by pair the same episode (starts, disturbances, noise): what both pass
    or both fail says nothing about the difference, so it is surer than two proportions are.
    The normal interval of the mean of the pairs' differences: for N of hundreds.
    """
    apart = one.astype(np.float64) - other
    middle = float(apart.mean())
    half = _Z * float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else 1.0
    return (middle, max(-1.0, middle - half), min(1.0, middle + half))
