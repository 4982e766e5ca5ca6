"""How sure a proportion is."""

from __future__ import annotations

import math

_Z = 1.96


def wilson(passed: int, episodes: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the proportion ``passed / episodes``."""
    n, p = episodes, passed / episodes
    middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
    return (max(0.0, middle - half), min(1.0, middle + half))
