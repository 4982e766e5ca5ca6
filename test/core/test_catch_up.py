"""A driver that stood still comes back to its rows within its limits, and then gets them as is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.catch_up import CatchUp
from rtc_ros.core.limits import JointLimits

FREE = np.full(2, np.inf)
LIMITS = JointLimits(-FREE, FREE, np.full(2, 0.1), np.full(2, 0.01))
TINY = 1e-12


def test_without_a_stall_every_row_goes_out_as_it_is():
    rows = np.random.default_rng(1).normal(size=(30, 2))
    made = CatchUp(LIMITS, [0, 1])
    out = [made.row(r, stalled=False) for r in rows]
    np.testing.assert_array_equal(out, rows)
    assert made.onward() is None


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.floats(-0.08, 0.08), st.integers(0, 40))
def test_after_one_no_limit_is_broken_and_the_rows_are_reached(missed, speed, more):
    made = CatchUp(LIMITS, [0, 1])
    rows = np.cumsum(np.full((10 + missed + more, 2), [speed, -0.5 * speed]), axis=0)
    for row in rows[:10]:
        made.row(row, stalled=False)
    sent, step = rows[9], np.zeros(2)  # it stood still meanwhile

    def check(row):
        nonlocal sent, step
        assert np.abs(row - sent).max() <= 0.1 + TINY
        assert np.abs(row - sent - step).max() <= 0.01 + TINY
        sent, step = row, row - sent

    for i, row in enumerate(rows[9 + missed :]):
        check(made.row(row, stalled=i == 0))
    last = rows[-1]
    if made.behind:  # the rows themselves end at speed
        for _ in range(400):
            row = made.onward()
            if row is None:
                break
            check(row)
    np.testing.assert_array_equal(sent, last)


def test_only_its_own_joints_limits_count():
    limits = JointLimits(-FREE, FREE, np.array([9.0, 0.1]), np.array([9.0, 0.01]))
    made = CatchUp(limits, [1])
    made.row(np.zeros(1), stalled=False)
    np.testing.assert_allclose(made.row(np.ones(1), stalled=True), 0.01)
