"""How values are spread: percentiles, exact for few values and in bounded memory for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXACT = 1 << 15
"""Rows of values that are kept as they are. Beyond, they are counted in bins."""

PERCENTILES = (50, 95, 99, 100)
_WIDTH = 0.005
"""A bin's width relative to its value: a percentile from bins is within 0.25 % of the exact."""

_LEAST, _MOST = 1e-15, 1e12
_BINS = int(np.ceil(np.log(_MOST / _LEAST) / _WIDTH)) + 2


@dataclass(frozen=True)
class Spread:
    """How a magnitude is spread over ``count`` values."""

    count: int
    median: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread | None:
        """Return the spread of the values that are not NaN, None where there are none."""
        values = np.asarray(values, dtype=np.float64).ravel()
        values = values[~np.isnan(values)]
        if not len(values):
            return None
        return cls(len(values), *(float(x) for x in np.percentile(values, PERCENTILES)))

    def scaled(self, factor: float) -> Spread:
        """Return the spread of the values times ``factor`` > 0."""
        sizes = (self.median, self.p95, self.p99, self.max)
        return Spread(self.count, *(x * factor for x in sizes))


@dataclass(frozen=True)
class Ratio:
    """One spread over another: their medians, and their p95."""

    median: float
    p95: float

    @classmethod
    def of(cls, above: Spread | None, below: Spread | None) -> Ratio | None:
        """Return ``above`` ÷ ``below``; None where one isn't there, or a divisor is 0."""
        if above is None or below is None or not (below.median > 0 and below.p95 > 0):
            return None
        return cls(above.median / below.median, above.p95 / below.p95)


class SpreadSum:
    """Collects values of ``width`` kinds, block by block, in memory that doesn't grow.

    Up to ``EXACT`` rows the spreads are those of ``Spread.of``. Beyond, values ≥ 0 are counted
    in bins 0.5 % wide: percentiles are within 0.25 %, counts and maxima stay exact.
    """

    def __init__(self, width: int = 1) -> None:
        self._width = width
        self._blocks: list[np.ndarray] = []
        self._rows = 0
        self._bins: np.ndarray | None = None
        self._max = np.full(width, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Take values [N] or [N, width]; NaN is no value.

        Raises:
            ValueError: the block has another width.
        """
        block = np.array(values, dtype=np.float64)
        block = block[:, None] if block.ndim == 1 else block
        if block.shape[1] != self._width:
            raise ValueError(f"values of {block.shape[1]} kinds, expected {self._width}")
        block = block[~np.isnan(block).all(axis=1)]
        if not len(block):
            return
        self._max = np.fmax(self._max, np.fmax.reduce(block, axis=0))
        self._blocks.append(block)
        self._rows += len(block)
        if self._bins is not None or self._rows > EXACT:
            self._count()

    def spread(self, kind: int = 0) -> Spread | None:
        """Return the spread of one kind of values, None where there are none."""
        if self._bins is None:
            values = [block[:, kind] for block in self._blocks]
            return Spread.of(np.concatenate(values)) if values else None
        counts = self._bins[kind].cumsum()
        total = int(counts[-1])
        if not total:
            return None
        top = float(self._max[kind])
        ranks = [(total - 1) * p / 100 for p in PERCENTILES[:-1]]
        found = np.searchsorted(counts, ranks, side="right")
        median, p95, p99 = (min(_middle(int(i)), top) for i in found)
        return Spread(total, median, p95, p99, top)

    def _count(self) -> None:
        if self._bins is None:
            self._bins = np.zeros((self._width, _BINS), dtype=np.int64)
        for block in self._blocks:
            for kind in range(self._width):
                column = block[:, kind]
                column = column[~np.isnan(column)]
                place = np.log(np.clip(column, _LEAST, _MOST) / _LEAST) / _WIDTH
                index = np.where(column < _LEAST, 0, place.astype(np.int64) + 1)
                self._bins[kind] += np.bincount(index, minlength=_BINS)
        self._blocks = []


def _middle(index: int) -> float:
    """Return the value that a bin stands for; bin 0 is for 0."""
    return 0.0 if index == 0 else float(_LEAST * np.exp((index - 0.5) * _WIDTH))
