"""Set points between two rows: on one smooth curve, through the rows, within the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acceleration import limits, rows

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, cut
from rtc_ros.core.cursor import HISTORY_ROWS
from rtc_ros.core.limits import JointLimits, brake_row, limit_rows
from rtc_ros.core.set_points import Motion, SetPoints, ratio

DT, M = 0.04, 10
WIDE = JointLimits.from_velocity([-3.0], [3.0], [4.0], DT, [30.0])


def controller_of(limits, count=M, pose=(0.0,)):
    controller = Controller(limits, points=count)
    controller.start(1, np.array(pose))
    return controller


def offered(controller, actions, seq, origin=None):
    origin = controller.state.player.step if origin is None else origin
    controller.offer(ActionChunk(np.asarray(actions), origin, step_epoch=1, epoch=1, seq=seq))


def sent(controller, ticks):
    return np.concatenate([controller.tick().points for _ in range(ticks)])


def wave(ticks):
    """Rows [ticks, 1] of a motion that begins at rest: 0.4 rad at 0.5 Hz."""
    at_s = np.arange(1, ticks + 1) * DT
    return (0.2 - 0.2 * np.cos(np.pi * at_s))[:, None]


@settings(max_examples=100, deadline=None)
@given(limits, rows, st.floats(0.1, 1.0))
def test_one_set_point_in_a_period_is_the_limited_row_and_the_braking_row(limits, actions, scale):
    path, motion = SetPoints(limits), Motion.resting(np.array([0.1, 0.0, 5.0]))
    rows, after = path.play_all(actions, 0, motion, scale)
    zero = np.zeros(3)
    np.testing.assert_array_equal(rows, limit_rows(actions, motion.at, limits, scale, zero))
    np.testing.assert_array_equal(after.at, rows[-1])
    before = rows[-2] if len(rows) > 1 else motion.at
    np.testing.assert_array_equal(after.step, rows[-1] - before)
    np.testing.assert_array_equal(path.brake(after)[0], brake_row(after.at, after.step, limits))


@pytest.mark.parametrize("count", [2, 5, 10, 20])
def test_the_last_set_point_is_the_row_to_the_bit_where_the_limits_let_it(count):
    controller, actions = controller_of(WIDE, count), wave(60)
    offered(controller, actions, 1)
    points = sent(controller, 50)
    np.testing.assert_array_equal(points[count - 1 :: count], actions[:50])
    assert controller.state.counts == {"steps": 50}, "no limit changed a row"


def test_acceleration_is_continuous_across_rows_and_across_swaps():
    """In what is sent the jerk stays what the motion's own is; steps and lines have far more."""
    controller, parts = controller_of(WIDE), []
    for seq, first in enumerate(range(0, 100, 20), 1):  # of one motion, in five chunks
        offered(controller, wave(120)[first : first + 30], seq)
        parts.append(sent(controller, 20))
    points = np.concatenate(parts)
    h = DT / M
    jerk = np.abs(np.diff(points[2 * M :, 0], 3)).max() / h**3
    lines = np.interp(np.arange(1000), np.arange(100) * M + M - 1, wave(100)[:, 0])
    assert jerk < 60, "the motion's own is 6.2 rad/s³, and its acceleration 2 rad/s²"
    assert np.abs(np.diff(lines, 3)).max() / h**3 > 7000, "lines between the same rows"


def test_a_seam_is_crossed_smoothly_in_as_many_periods_as_the_limits_ask_for():
    """A new chunk that is 0.1 rad away: the acceleration rises to its limit, it doesn't jump."""
    tight = JointLimits.from_velocity([-3.0], [3.0], [4.0], DT, [8.0])
    controller = controller_of(tight)
    offered(controller, np.zeros((40, 1)), 1)
    points = [sent(controller, 20)]
    offered(controller, np.full((40, 1), 0.1), 2)
    points.append(sent(controller, 20))
    way = np.concatenate(points)[:, 0]
    h = DT / M
    acceleration = np.diff(way, 2) / h**2
    assert np.abs(acceleration).max() <= 8.0 + 1e-6
    assert np.abs(np.diff(acceleration)).max() < 4.0, "bang-bang jumps by 8 and by 16"
    periods = np.argmax(way == 0.1) / M - 20
    assert 5 < periods < 9, "0.1 rad by 8 rad/s² take 0.22 s at the least: 5.6 periods"
    assert way.max() <= 0.1 + 1e-12, "and nothing overshoots"


def test_rows_that_shake_are_followed_within_the_limits_without_being_shaken_by_them():
    """5 mrad of noise at 25 Hz asks for up to 20 rad/s²; the arm may have 8."""
    tight = JointLimits.from_velocity([-3.0], [3.0], [4.0], DT, [8.0])
    actions = wave(200) + np.random.default_rng(0).normal(0, 0.005, (200, 1))
    controller = controller_of(tight)
    offered(controller, actions, 1)
    points = sent(controller, 190)
    h = DT / M
    acceleration = np.diff(points[:, 0], 2) / h**2
    assert np.abs(acceleration).max() <= 8.0 + 1e-6
    off = points[M - 1 :: M] - actions[:190]
    assert np.sqrt((off**2).mean()) < 0.01
    assert np.sqrt((np.diff(acceleration) ** 2).mean()) / h < 400, "bang-bang has 1000 rad/s³"


def test_what_was_not_sent_is_taken_back_to_the_last_set_point_that_was():
    controller, mirror = controller_of(WIDE), controller_of(WIDE)
    for each in (controller, mirror):
        offered(each, wave(50), 1)
        sent(each, 10)
    before = mirror.state.row
    command = controller.tick()
    controller.state, told = cut(controller.settings, controller.state, command, 4)
    np.testing.assert_array_equal(told.points, command.points[:4])
    for place in (told.row, told.target, controller.state.row, controller.state.targets[-1]):
        np.testing.assert_array_equal(place, command.points[3])
    cursor = controller.cursor(0)
    np.testing.assert_array_equal(cursor.executed(10), command.points[3])
    np.testing.assert_array_equal(cursor.last_step, command.points[3] - command.points[2])
    assert cursor.step == 11, "the step was executed, as far as it came"
    # And goes on from there, within the limits per set point.
    rows = cursor.next_rows(wave(50), 11)
    points = np.concatenate([command.points[:4], sent(controller, 39)])
    np.testing.assert_array_equal(points[4:][M - 1 :: M], rows)
    fine = WIDE.per_point(M)
    assert (np.abs(np.diff(points, 2, axis=0)) <= fine.max_bend * (1 + 1e-9)).all()
    off = np.abs(points[4:][M - 1 :: M] - wave(50)[11:])
    assert (off[1:-2] == 0).all(), "two rows later it is on its way again"
    # None of them: it stands where it was.
    command = mirror.tick()
    mirror.state, told = cut(mirror.settings, mirror.state, command, 0)
    np.testing.assert_array_equal(mirror.state.row, before)
    np.testing.assert_array_equal(mirror.cursor(0).executed(10 % HISTORY_ROWS), before)
    assert not len(told.points)


def test_a_joint_that_rests_stays_to_the_bit_while_others_move():
    limits = JointLimits.from_velocity([-3.0] * 2, [3.0] * 2, [4.0] * 2, DT, [30.0] * 2)
    controller = controller_of(limits, pose=(0.0, 0.1234567))
    actions = np.concatenate([wave(50), np.full((50, 1), 0.1234567)], axis=1)
    offered(controller, actions, 1)
    assert (sent(controller, 40)[:, 1] == 0.1234567).all()


def test_endless_joints_go_the_short_way_between_rows_too():
    turn = np.array([2 * np.pi])
    limits = JointLimits.from_velocity([-np.inf], [np.inf], [4.0], DT, [30.0], turn)
    controller = controller_of(limits, pose=(3.0,))
    actions = 3.0 + np.arange(1, 41)[:, None] * 0.02
    wrapped = (actions + np.pi) % (2 * np.pi) - np.pi
    offered(controller, wrapped, 1)
    points = sent(controller, 30)
    assert (np.abs(np.diff(points[:, 0])) <= limits.max_step / M + 1e-12).all()
    np.testing.assert_allclose(points[M * 20 - 1 :: M], actions[19:30], atol=1e-9)


@pytest.mark.parametrize(
    ("hz", "period", "count"), [(0, 0.02, 1), (50, 0.02, 1), (250, 0.02, 5), (500, 0.04, 20)]
)
def test_a_command_rate_is_a_multiple_of_the_rows_rate(hz, period, count):
    assert ratio(hz, period) == count


@pytest.mark.parametrize(
    ("hz", "period", "sentence"),
    [
        (120, 0.02, "command_rate is 120 Hz, no multiple of the 50 Hz of the rows .* 100 or 150"),
        (30, 0.02, "30 Hz, no multiple .* 50 or 100 Hz"),
        (10000, 0.02, "200 set points in each period of 0.02 s; 100 .5000 Hz. is the most"),
    ],
)
def test_another_rate_is_refused_by_the_numbers(hz, period, sentence):
    with pytest.raises(ValueError, match=sentence):
        ratio(hz, period)


def test_a_jerk_limit_between_rows_needs_an_acceleration_limit():
    limits = JointLimits.from_velocity([-1.0], [1.0], [1.0], DT, max_jerk=[10.0])
    Controller(limits)
    with pytest.raises(ValueError, match="jerk limit and no acceleration limit.*10 in each"):
        Controller(limits, points=10)
