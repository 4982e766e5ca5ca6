"""Spreads: exact while few, near enough and bounded when many."""

import numpy as np
import pytest

from rtc_ros.core.continuity.spread import EXACT, Spread, SpreadSum


def test_few_values_are_exact_and_nan_is_none():
    total = SpreadSum(2)
    total.add(np.array([[1.0, np.nan], [3.0, 5.0]]))
    total.add(np.array([[2.0, np.nan]]))
    assert total.spread(0) == Spread(3, 2.0, *np.percentile([1, 2, 3], (95, 99)), 3.0)
    assert total.spread(1) == Spread(1, 5.0, 5.0, 5.0, 5.0)
    assert SpreadSum().spread() is None


def test_many_values_are_counted_in_bins_that_do_not_grow():
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(0, 1, (40, EXACT // 8, 2))) * [1e-6, 30.0]
    values[0, 0, 1] = np.nan
    values[3, :50] = 0.0
    total = SpreadSum(2)
    for block in values:
        total.add(block)
    for kind in range(2):
        exact, found = Spread.of(values[..., kind]), total.spread(kind)
        assert (found.count, found.max) == (exact.count, exact.max)
        for name in ("median", "p95", "p99"):
            assert getattr(found, name) == pytest.approx(getattr(exact, name), rel=0.006)
    held = sum(b.size for b in total._blocks)
    assert held == 0


def test_all_zeros_stay_zero():
    total = SpreadSum()
    for _ in range(3):
        total.add(np.zeros(EXACT))
    assert total.spread() == Spread(3 * EXACT, 0.0, 0.0, 0.0, 0.0)


def test_a_block_of_another_width_is_refused():
    with pytest.raises(ValueError, match="3 kinds, expected 2"):
        SpreadSum(2).add(np.zeros((4, 3)))
