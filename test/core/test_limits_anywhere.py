"""Limits whatever comes in: all of float64 out to 1.8e308, and every state that can be reached."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.limits import (
    BRAKE_ROWS,
    JointLimits,
    at_rest,
    brake_row,
    brake_rows,
    limit_row,
    limit_rows,
)

A = 3
HUGE = float(np.finfo(float).max)
FINITE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e308, -1e308, HUGE, -HUGE, 5e-324, -5e-324, 0.0, -0.0, 1e16, 1e300, -1e290]),
    st.floats(-4, 4),
)
ROW = arrays(float, A, elements=FINITE)
SIZES = st.one_of(
    st.floats(1e-100, 1e100), st.sampled_from([1e-100, 1e100, np.inf]), st.floats(1e-3, 1.0)
)
SIZE = arrays(float, A, elements=SIZES)
TURN = 2 * np.pi


@st.composite
def any_limits(draw):
    ends = arrays(float, A, elements=st.one_of(st.floats(-1e100, 1e100), st.floats(-4, 4)))
    one, other = draw(ends), draw(ends)
    free = draw(arrays(bool, A))
    lower = np.where(free, -np.inf, np.minimum(one, other))
    upper = np.where(free, np.inf, np.maximum(one, other))
    assume((lower < upper).all())
    turn = np.where(free & draw(arrays(bool, A)), TURN, 0.0)
    coherent = draw(st.booleans())
    return JointLimits(lower, upper, draw(SIZE), draw(SIZE), turn=turn, coherent=coherent)


def slack(*numbers):
    """What rounding may take away where these numbers are added."""
    return 4 * np.spacing(np.max(np.abs(numbers), axis=0) / 2)


@settings(max_examples=250, deadline=None)
@given(any_limits(), ROW, ROW, ROW, ROW, st.floats(0.01, 1.0))
@example(
    JointLimits(np.full(A, -np.inf), np.full(A, np.inf), np.ones(A), np.ones(A), np.full(A, TURN)),
    np.full(A, 1e308), np.full(A, -1e308), np.zeros(A), np.full(A, -1e308), 1.0,
)  # fmt: skip
def test_any_finite_numbers_give_a_finite_row_within_speed_and_position(
    limits, wanted, previous, last_step, following, scale
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an overflow isn't silent
        row = limit_row(wanted, previous, limits, scale, last_step, following)
        braked = brake_row(previous, last_step, limits)
    assert np.isfinite(row).all() and np.isfinite(braked).all()
    for out in (row, braked):
        assert (out >= np.minimum(limits.lower, previous)).all()
        assert (out <= np.maximum(limits.upper, previous)).all()
    reach = limits.max_step * scale
    assert (np.abs(row / 2 - previous / 2) <= reach / 2 + slack(row, previous)).all()
    # Braking never speeds up: whatever the step was, what follows is no longer.
    assert (np.abs(braked / 2 - previous / 2) <= np.abs(last_step) / 2 + slack(previous)).all()


@settings(max_examples=80, deadline=None)
@given(any_limits(), ROW, ROW)
@example(  # where numbers lie 2 apart, a step of 4 less 0.5 is rounded to 4 again
    JointLimits(np.full(A, -np.inf), np.full(A, np.inf), np.full(A, 4.0), np.full(A, 0.5)),
    np.full(A, 1e16), np.full(A, 4.0),
)  # fmt: skip
def test_braking_ends_wherever_it_begins(limits, previous, last_step):
    rows = brake_rows(previous, last_step, limits)
    assert np.isfinite(rows).all()
    with np.errstate(over="ignore"):
        needed = np.max(np.abs(last_step) / limits.max_bend, initial=0.0)
    assert len(rows) <= min(np.ceil(needed), BRAKE_ROWS)
    if len(rows) < BRAKE_ROWS:
        steps = np.diff(np.concatenate([previous[None], rows]), axis=0)
        assert at_rest(steps[-1] if len(rows) else last_step, limits)


def test_braking_is_given_up_where_the_limits_would_make_it_take_for_ever():
    ends = np.full(1, np.inf)
    limits = JointLimits(-ends, ends, ends, np.full(1, 1e-9))
    rows = brake_rows(np.zeros(1), np.ones(1), limits)
    assert len(rows) == BRAKE_ROWS


@settings(max_examples=150, deadline=None)
@given(ROW, ROW)
@example(np.full(A, 1e308), np.full(A, -1e308))
def test_the_nearest_turn_is_near_and_the_same_angle(wanted, to):
    limits = JointLimits(
        np.full(A, -np.inf), np.full(A, np.inf), np.ones(A), turn=np.array([TURN, TURN, 0.0])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = limits.nearest(wanted, to)
    assert near[2] == wanted[2]
    turning, at = near[:2], to[:2]
    fine = np.maximum(np.abs(wanted[:2]), np.abs(at)) < 1e6
    assert (np.abs(turning / 2 - at / 2) <= TURN / 4 + 0.01 + slack(at)).all()
    turns = (turning[fine] - wanted[:2][fine]) / TURN
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    # An angle that float64 can't tell leaves the joint where it is.
    far = np.abs(wanted[:2] / 2 - at / 2) > 1e15
    assert (turning[far] == at[far]).all()


@settings(max_examples=120, deadline=None)
@given(arrays(float, (2, A), elements=st.floats(-100, 100)))
def test_a_row_in_its_own_turn_is_the_same_to_the_bit(rows):
    limits = JointLimits(
        np.full(A, -np.inf), np.full(A, np.inf), np.ones(A), turn=np.full(A, TURN)
    )
    wanted, to = rows[0], np.clip(rows[1], rows[0] - 3.1, rows[0] + 3.1)
    np.testing.assert_array_equal(limits.nearest(wanted, to), wanted)
    np.testing.assert_allclose(limits.nearest(wanted, to + 5 * TURN), wanted + 5 * TURN)


# ------------------------------------------------------------------- what can be reached


STEPS = arrays(float, A, elements=st.sampled_from([0.01, 0.07, 0.3]))
BENDS = arrays(float, A, elements=st.sampled_from([5e-4, 3e-3, 0.02, 0.5, np.inf]))
WANTED = st.one_of(
    arrays(float, (40, A), elements=st.floats(-4, 4)),
    arrays(float, (40, A), elements=FINITE),
    arrays(float, (40, A), elements=st.floats(-0.02, 0.02)).map(lambda r: np.cumsum(r, axis=0)),
)


@settings(max_examples=120, deadline=None)
@given(STEPS, BENDS, st.booleans(), WANTED, st.integers(0, 39), st.integers(0, 20), ROW)
def test_every_reachable_state_keeps_all_limits_and_comes_to_rest(
    step, bend, coherent, wanted, until, soft, start
):
    """From rest anywhere, through any rows with a soft start, and then braked."""
    start = np.clip(start, -3.0, 3.0)  # outside the position limits, too
    lower, upper = np.array([-1.0, -0.3, -np.inf]), np.array([1.0, 2.0, np.inf])
    limits = JointLimits(lower, upper, step, bend, coherent=coherent)
    scales = np.minimum(1.0, np.arange(1, 41) / (soft + 1))
    rows = limit_rows(wanted, start, limits, scales)[: until + 1]
    stop = brake_rows(rows[-1], rows[-1] - (rows[-2] if until else start), limits)
    path = np.concatenate([start[None], start[None], rows, stop])
    steps = np.diff(path, axis=0)
    assert (np.abs(steps) <= step + 1e-12).all()
    assert (np.abs(steps[1 : until + 2]) <= step * scales[: until + 1, None] + 1e-12).all()
    assert (np.abs(np.diff(steps, axis=0)) <= bend + 1e-12).all()
    assert (path >= np.minimum(lower, start)).all() and (path <= np.maximum(upper, start)).all()
    assert len(stop) <= np.ceil(np.max(step / bend))
    assert at_rest(steps[-1], limits)


@settings(max_examples=80, deadline=None)
@given(STEPS, arrays(float, A, elements=st.floats(-3, 3)), st.integers(1, 60))
def test_path_mode_keeps_its_direction_under_a_velocity_limit(step, goal, ticks):
    assume(np.abs(goal).max() > 1e-3)
    ends = np.full(A, np.inf)
    limits = JointLimits(-ends, ends, step, coherent=True)
    out = limit_rows(np.tile(goal, (ticks, 1)), np.zeros(A), limits)
    length = np.abs(goal).max()
    along = np.max(np.abs(out), axis=1, keepdims=True) / length
    np.testing.assert_allclose(out, along * goal, atol=1e-9)
    # And takes no longer than the slowest joint needs.
    if ticks >= np.ceil(np.max(np.abs(goal) / step)) + 1:
        np.testing.assert_array_equal(out[-1], goal)


@settings(max_examples=80, deadline=None)
@given(
    arrays(float, A, elements=st.floats(-1, 1)), arrays(float, A, elements=st.floats(0.001, 0.1))
)
def test_path_mode_brakes_along_its_direction(direction, bend):
    assume(np.abs(direction).max() > 1e-3)
    ends = np.full(A, np.inf)
    limits = JointLimits(-ends, ends, np.ones(A), bend, coherent=True)
    rows = brake_rows(np.zeros(A), direction, limits)
    assume(len(rows))
    across = rows - np.outer(rows @ direction, direction) / (direction @ direction)
    np.testing.assert_allclose(across, 0.0, atol=1e-8)


def test_speed_and_position_come_before_acceleration_whatever_the_step_before_was():
    """A state that no command leads to, as after a fault of whatever told the last step."""
    ends = np.array([1.0])
    limits = JointLimits(-ends, ends, np.array([0.1]), np.array([0.01]))
    for last in (5.0, -5.0):
        for at in (0.0, 0.999, -0.999):
            row = limit_row(np.array([9.0]), np.array([at]), limits, 1.0, np.array([last]))
            assert abs(row[0] - at) <= 0.1 + 1e-12 and abs(row[0]) <= 1.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_step": 1e-101}, "a velocity limit is .* less than 1e-100"),
        ({"max_bend": 1e-200}, "an? acceleration limit is .* less than 1e-100"),
        ({"max_step": 1e101}, r"beyond 1e\+100; use \.inf"),
        ({"lower": -1e101}, r"beyond 1e\+100; use \.inf"),
    ],
)
def test_limits_that_no_arithmetic_could_keep_are_refused(values, sentence):
    stated = {"lower": -1.0, "upper": 1.0, "max_step": 0.1, "max_bend": 0.1} | values
    with pytest.raises(ValueError, match=sentence):
        JointLimits(**{name: np.array([value]) for name, value in stated.items()})
