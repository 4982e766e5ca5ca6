"""The jerk limit: the mean of the last rows, what it costs, and where it ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.jerk import RowMean, jerk_window, jerk_windows
from rtc_ros.core.limits import JointLimits

FREE = np.full(2, np.inf)


def limits(step, bend, twist, **options):
    step, bend, twist = (np.array(x, float) for x in (step, bend, twist))
    return JointLimits(-FREE, FREE, step, bend, max_twist=twist, **options)


def to(goal, limit, ticks):
    """Return the rows and what goes out on the way from 0 to a goal, or along rows to it."""
    controller = Controller(limit)
    controller.start(1, np.zeros(2))
    controller.offer(ActionChunk(np.broadcast_to(goal, (ticks, 2)), 0, step_epoch=1))
    commands = [controller.tick() for _ in range(ticks)]
    return np.array([c.row for c in commands]), np.array([c.target for c in commands])


def test_as_many_rows_as_the_joint_needs_that_needs_most():
    few = limits([0.5, 0.5], [0.02, 0.02], [0.01, np.inf])
    np.testing.assert_array_equal(jerk_windows(few), [4.0, 1.0])
    assert jerk_window(few) == 4
    # 0.06 / 0.02 is 3.0000000000000004 rows; without acceleration limit it is the velocity's.
    assert jerk_window(limits([0.5, 0.5], [0.03, 0.03], [0.02, 0.02])) == 3
    assert jerk_window(limits([0.01, 0.5], [np.inf, 0.02], [0.01, 0.05])) == 4
    assert jerk_window(limits([0.1, 0.1], [np.inf, np.inf], [np.inf, np.inf])) == 1
    with pytest.raises(ValueError, match="needs an acceleration limit or a velocity limit"):
        Controller(limits([np.inf, 0.1], [np.inf, 0.1], [0.01, np.inf]))
    with pytest.raises(ValueError, match="a jerk limit is zero or negative"):
        limits([0.1, 0.1], [0.1, 0.1], [0.0, 0.1])


def test_a_far_goal_is_reached_along_an_s_curve():
    limit = limits([0.1, 0.1], [0.01, 0.01], [0.002, 0.002])
    rows, out = to([2.0, -2.0], limit, 60)
    n = jerk_window(limit)
    assert n == 10
    twist = np.diff(np.concatenate([np.zeros((3, 2)), out]), 3, axis=0)
    # Between speeding up and braking lie more than n steps, so it never changes by 2 max_bend.
    np.testing.assert_allclose(np.abs(twist).max(), 0.01 / n)
    np.testing.assert_array_equal(out[-1], [2.0, -2.0])
    # 10 steps to get to full speed, 10 at it, 9 to get rid of it; then n − 1 for the mean.
    arrived = [int(np.argmax(np.isclose(x, x[-1]).all(axis=1))) for x in (rows, out)]
    assert arrived == [28, 28 + n - 1]
    np.testing.assert_allclose(rows[19, 0] - out[19, 0], 0.1 * (n - 1) / 2)


def test_turning_round_at_full_acceleration_takes_all_of_the_limit():
    limit = limits([1.0, 1.0], [0.01, 0.01], [0.002, 0.002])
    goal = np.concatenate([np.full((15, 2), 9.0), np.full((40, 2), -9.0)])
    controller = Controller(limit)
    controller.start(1, np.zeros(2))
    controller.offer(ActionChunk(goal, 0, step_epoch=1))
    out = np.array([controller.tick().target for _ in range(55)])
    twist = np.diff(out, 3, axis=0)
    np.testing.assert_allclose(np.abs(twist).max(), 0.002)


def test_without_a_limit_the_row_itself_goes_out():
    rng = np.random.default_rng(1)
    mean = RowMean.resting(np.zeros(3), 1)
    for row in rng.normal(size=(20, 3)):
        mean, out = mean.push(row)
        np.testing.assert_array_equal(out, row)
        assert mean.settled and mean.window == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
)
def test_after_n_equal_rows_it_rests_at_that_very_row_and_never_went_past(n, before, after):
    one, other = np.array(before), np.array(after)
    mean = RowMean.resting(one, n)
    assert mean.settled
    pushed = []
    for _ in range(n):
        mean, target = mean.push(other)
        pushed.append(target)
    out = np.array(pushed)
    assert mean.settled
    np.testing.assert_array_equal(out[-1], other)
    assert (out >= np.minimum(one, other)).all() and (out <= np.maximum(one, other)).all()
    assert (np.diff(out, axis=0) * np.sign(other - one) >= 0).all()


def test_both_arms_stay_on_their_common_path():
    limit = limits([0.1, 0.1], [np.inf, np.inf], [0.05, np.inf], coherent=True)
    ramp = np.cumsum(np.tile([0.02, 0.2], (40, 1)), axis=0)
    rows, out = to(ramp, limit, 40)
    assert jerk_window(limit) == 8
    np.testing.assert_allclose(rows[:, 0] * 10, rows[:, 1])
    np.testing.assert_allclose(out[:, 0] * 10, out[:, 1])


def test_a_stop_is_over_when_the_mean_rests():
    limit = limits([0.2, 0.2], [0.01, 0.01], [0.002, 0.002])
    controller = Controller(limit)
    controller.start(1, np.zeros(2))
    controller.offer(ActionChunk(np.ones((30, 2)), 0, step_epoch=1))
    for _ in range(6):
        last = controller.tick()
    controller.stop()
    out = []
    while (command := controller.tick()) is not None:
        assert (command.reason, command.played.step) == ("hold: stopped", 6)
        out.append(command)
        if not controller.settled:
            with pytest.raises(ValueError, match="still being braked"):
                controller.start(2, np.zeros(2))
    # 5 steps of braking, of which the last doesn't move the row any more, and 9 of the mean.
    assert len(out) == 5 + 9 and all(command.sends for command in out)
    np.testing.assert_array_equal(out[-1].target, out[-1].row)
    assert (out[-1].target > last.target).all()
    np.testing.assert_array_equal(controller.state.target, out[-1].target)
    controller.start(2, controller.state.target)
    assert controller.settled and controller.state.target is None


@pytest.mark.parametrize("window", [1, 2, 5, 400])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_many_rows_at_once_are_the_same_to_the_bit_as_one_by_one(window, count):
    chance = np.random.default_rng(window)
    mean = RowMean(chance.normal(size=(window, 14)))
    rows = chance.normal(size=(count, 14))
    after, means = mean.push_all(rows)
    assert means.shape == rows.shape
    for row, made in zip(rows, means, strict=True):
        mean, out = mean.push(row)
        np.testing.assert_array_equal(made, out)
    np.testing.assert_array_equal(after.rows, mean.rows)
