"""Velocity, acceleration and position limits of commands, whatever is asked for and whenever."""

import numpy as np
import pytest
from algorithm import Bench
from arms import guards_of, seen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, ahead
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import (
    JointLimits,
    brake_rows,
    limit_row,
    limit_rows,
    soft_start_scale,
)

A = 3
TINY = 1e-12
FREE = np.full(A, np.inf)

bends = st.sampled_from([1e-3, 0.01, 0.07, np.inf])
twists = st.sampled_from([1e-3, 0.02, np.inf, np.inf])
limits = st.builds(
    lambda step, bend, coherent, twist: JointLimits(
        np.array([-1.0, -0.3, -np.inf]),
        np.array([1.0, 2.0, np.inf]),
        np.array(step),
        np.array(bend),
        coherent=coherent,
        max_twist=np.array(twist),
    ),
    st.lists(st.sampled_from([0.02, 0.1, 0.5]), min_size=A, max_size=A),
    st.lists(bends, min_size=A, max_size=A),
    st.booleans(),
    st.lists(twists, min_size=A, max_size=A),
)
rows = arrays(float, st.tuples(st.integers(1, 25), st.just(A)), elements=st.floats(-4, 4))
counts = st.sampled_from([1, 1, 2, 3, 5, 10])
events = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.integers(1, 12)),
        st.tuples(st.just("chunk"), rows, st.integers(-5, 2)),
        st.tuples(st.sampled_from(["fault", "stop", "latch", "clear", "start"])),
    ),
    min_size=5,
    max_size=20,
)


def within(limits, before, last_step, last_bend, row, scale=1.0):
    """Check one command, and return the change that led to it and that change's change."""
    step = row - before
    bend = step - last_step
    assert (np.abs(step) <= limits.max_step * scale + TINY).all()
    assert (np.abs(bend) <= limits.max_bend + TINY).all()
    assert (np.abs(bend - last_bend) <= limits.max_twist + TINY).all()
    assert (row >= np.minimum(limits.lower, before)).all()
    assert (row <= np.maximum(limits.upper, before)).all()
    return step, bend


def has_jerk_alone(limits):
    return (np.isfinite(limits.max_twist) & np.isinf(limits.max_bend)).any()


@settings(max_examples=200, deadline=None)
@given(limits, events, st.integers(0, 10), counts)
def test_no_sequence_of_chunks_losses_faults_stops_and_starts_breaks_a_limit(
    limits, sequence, soft, count
):
    assume(count == 1 or not has_jerk_alone(limits))
    controller = Controller(limits, soft, guards_of(limits), count)
    limits = limits.per_point(count)
    epoch, seq, fault = 1, 0, ""
    pose, step, bend = np.zeros(A), np.zeros(A), np.zeros(A)
    controller.start(epoch, pose)

    def tick():
        nonlocal pose, step, bend
        k = controller.state.player.step
        scale = soft_start_scale(k, soft)
        command = controller.tick(seen(pose, fault))
        if command is None or not command.sends:
            # Nothing is sent, so the arm must be able to stand still.
            step, bend = within(limits, pose, step, bend, pose)
            return
        for point in command.points:
            step, bend = within(limits, pose, step, bend, point, scale)
            pose = point
        assert (command.target == pose).all() and (command.row == command.path[-1]).all()
        assert controller.state.player.step == k + (command.wanted is not None)

    for event in sequence:
        if event[0] == "tick":
            for _ in range(event[1]):
                tick()
        elif event[0] == "chunk":
            seq += 1
            origin = max(0, controller.state.player.step + event[2])
            controller.offer(ActionChunk(event[1], origin, step_epoch=epoch, epoch=1, seq=seq))
        elif event[0] == "fault":
            fault = "" if fault else "stale"
        elif event[0] == "start":
            if controller.state.mode is Mode.STOPPED and controller.settled:
                epoch += 1
                controller.start(epoch, pose)
                step = bend = np.zeros(A)
        elif event[0] == "clear":
            controller.clear()
        else:
            controller.stop(latch=event[0] == "latch")
    # Braking always ends, in the time that the slowest joint needs.
    slowest = np.abs(controller.state.last_step) / np.minimum(limits.max_bend, 1e9)
    longest = int(np.ceil((np.max(slowest) + controller.settings.window) / count)) + 1
    controller.stop()
    for _ in range(longest):
        tick()
    assert controller.tick() is None


@settings(max_examples=80, deadline=None)
@given(
    limits, st.lists(rows, min_size=2, max_size=4), st.integers(0, 12), st.integers(0, 6), counts
)
def test_a_prev_is_what_the_controller_lets_out_row_by_row(limits, chunks, soft, before, count):
    """At every tick, the look-ahead from the cursor and the ticks that follow are the same."""
    assume(count == 1 or not has_jerk_alone(limits))
    controller = Controller(limits, soft, points=count)
    controller.start(1, np.array([0.1, 0.0, 5.0]))
    for seq, actions in enumerate(chunks, 1):
        origin = controller.state.player.step
        chunk = ActionChunk(actions, origin, step_epoch=1, epoch=1, seq=seq)
        controller.offer(chunk)
        for _ in range(before):
            controller.tick()
        cursor = controller.cursor(0)
        forecast = Bench(A).loop._will_be_executed(cursor, min(cursor.step, chunk.end_step), chunk)
        in_use = controller.state.mode is Mode.RUNNING and controller.state.player.current is chunk
        told = ahead(controller.settings, controller.state) if in_use else None
        commands = [controller.tick() for _ in range(len(forecast))]
        out = [c.row for c in commands]
        np.testing.assert_array_equal(forecast, np.reshape(out, forecast.shape))
        if told is not None:  # what a driver is sent beforehand: what goes out, down to rest
            commands += [controller.tick() for _ in range(len(told) - 1 - len(forecast))]
            out = [c.target for c in commands]
            np.testing.assert_array_equal(told[1:], np.reshape(out, (-1, A)))


@settings(max_examples=40, deadline=None)
@given(limits, arrays(float, A, elements=st.floats(-0.25, 0.25)))
def test_a_row_that_is_held_is_reached_and_kept_without_going_past(limits, goal):
    wanted = np.tile(goal, (1200, 1))
    out = limit_rows(wanted, np.zeros(A), limits)
    np.testing.assert_array_equal(out[-1], goal)
    assert (np.abs(out) <= np.abs(goal) + TINY).all()
    assert (np.diff(out * np.sign(goal), axis=0) >= -TINY).all()


@settings(max_examples=40, deadline=None)
@given(arrays(float, (30, A), elements=st.floats(-0.01, 0.01)), st.booleans())
def test_a_motion_within_the_limits_goes_out_to_the_bit(changes, coherent):
    speeds = np.clip(np.cumsum(changes, axis=0), -0.1, 0.1)
    wanted = np.cumsum(speeds, axis=0)
    limits = JointLimits(-FREE, FREE, np.full(A, 0.11), np.full(A, 0.011), coherent=coherent)
    out = limit_rows(wanted, np.zeros(A), limits)
    # The last row is the one after which nothing is known: the arm must not rush through it.
    np.testing.assert_array_equal(out[:-1], wanted[:-1])


def test_it_takes_the_quickest_way_that_the_limits_allow():
    limits = JointLimits(np.array([-9.0]), np.array([9.0]), np.array([0.1]), np.array([0.01]))
    out = limit_rows(np.ones((30, 1)), np.zeros(1), limits)[:, 0]
    speeds = np.diff(out, prepend=0.0)
    up, down = np.arange(1, 11) / 100, np.arange(9, 0, -1) / 100
    np.testing.assert_allclose(speeds, np.concatenate([up, down, np.zeros(11)])[:30], atol=1e-9)
    # 1.0 in 19 steps: 10 to get to full speed, 9 to get rid of it.
    np.testing.assert_allclose(out[18:], 1.0)


@pytest.mark.parametrize("coherent", [False, True])
def test_it_stops_before_a_position_limit_however_fast_it_was_asked_to_go(coherent):
    limits = JointLimits(
        np.full(2, -4.0), np.full(2, 4.0), np.full(2, 0.2), np.full(2, 0.003), coherent=coherent
    )
    # Up to speed as slowly as it may, so that the arm is where it should be, then past the limit.
    speed = np.minimum(0.0029 * np.arange(1, 121), 0.12)[:, None]
    wanted = np.cumsum(speed * [1.0, -0.9], axis=0)
    out = limit_rows(wanted, np.zeros(2), limits)
    np.testing.assert_array_equal(out[:30], wanted[:30])
    assert np.abs(out).max() <= 4.0 and (out[-1] == [4.0, -4.0]).all()
    assert np.abs(np.diff(out, 2, axis=0)).max() <= 0.003 + TINY


def test_braking_takes_each_joint_down_as_fast_as_it_may_or_all_by_one_factor():
    ends = np.full(2, 9.0)
    last = np.array([0.1, -0.1])
    bend = np.array([0.01, 0.05])
    alone = brake_rows(np.zeros(2), last, JointLimits(-ends, ends, ends, bend))
    together = brake_rows(np.zeros(2), last, JointLimits(-ends, ends, ends, bend, coherent=True))
    assert len(alone) == len(together) == 9
    np.testing.assert_allclose(alone[-1], [0.45, -0.05])
    np.testing.assert_allclose(together[:, 0], -together[:, 1])  # one line in joint space


def test_one_factor_for_both_arms_keeps_their_path():
    ends = np.full(2, 9.0)
    wanted = np.cumsum(np.tile([0.02, 0.2], (20, 1)), axis=0)
    alone, together = (
        limit_rows(wanted, np.zeros(2), JointLimits(-ends, ends, np.full(2, 0.1), coherent=c))
        for c in (False, True)
    )
    np.testing.assert_array_equal(alone[:, 0], wanted[:, 0])  # runs ahead of its companion
    np.testing.assert_allclose(together[:, 0] * 10, together[:, 1])
    np.testing.assert_allclose(np.diff(together[:, 1]), 0.1)
    # Once the other may, both are there again.
    rest = np.tile(wanted[-1], (40, 1))
    out = limit_rows(rest, together[-1], JointLimits(-ends, ends, np.full(2, 0.1), coherent=True))
    np.testing.assert_array_equal(out[-1], wanted[-1])


def test_starved_brakes_while_k_stands_still_and_goes_on_from_there():
    limits = JointLimits(-FREE, FREE, np.full(A, 0.2), np.full(A, 0.02))
    controller = Controller(limits)
    controller.start(1, np.zeros(A))
    ramp = np.cumsum(np.full((20, A), 0.08), axis=0)
    controller.offer(ActionChunk(ramp, 0, step_epoch=1))
    last = [controller.tick() for _ in range(20)][-1]
    held = [controller.tick() for _ in range(6)]
    assert {(h.mode, h.reason, h.played.step) for h in held} == {
        (Mode.STARVED, "hold: starved", 20)
    }
    speeds = np.diff([c.target[0] for c in (last, *held)])
    np.testing.assert_allclose(speeds[:3], [0.04, 0.02, 0.0], atol=1e-12)
    assert (speeds[3:] == 0).all()
    cursor = controller.cursor(0)
    np.testing.assert_array_equal(cursor.command, held[-1].target)
    np.testing.assert_array_equal(cursor.last_step, np.zeros(A))
    onward = ActionChunk(np.tile(held[-1].target + 0.1, (9, 1)), 20, step_epoch=1, seq=1)
    controller.offer(onward)
    again = controller.tick()
    assert (again.mode, again.played.step) == (Mode.RUNNING, 20)
    np.testing.assert_allclose(again.target - held[-1].target, 0.02)


def test_a_stop_brakes_and_says_so_until_the_arm_stands():
    limits = JointLimits(-FREE, FREE, np.full(A, 0.2), np.full(A, 0.01))
    controller = Controller(limits)
    controller.start(1, np.zeros(A))
    controller.offer(ActionChunk(np.ones((30, A)), 0, step_epoch=1))
    for _ in range(6):
        controller.tick()
    controller.stop()
    assert controller.state.mode is Mode.STOPPED and not controller.settled
    with pytest.raises(ValueError, match="still being braked"):
        controller.start(2, np.zeros(A))
    reasons = []
    while (command := controller.tick()) is not None:
        reasons.append((command.reason, command.played.step, int(command.mode)))
    assert reasons == [("hold: stopped", 6, 0)] * 5
    controller.start(2, np.zeros(A))


def test_a_latched_stop_is_lifted_by_clear_alone():
    controller = Controller(JointLimits.none(A))
    controller.start(1, np.zeros(A))
    controller.stop(latch=True)
    controller.stop()
    with pytest.raises(ValueError, match="latched"):
        controller.start(2, np.zeros(A))
    assert controller.tick() is None and controller.cursor(0).mode is Mode.LATCHED
    controller.clear()
    assert controller.state.mode is Mode.STOPPED
    controller.start(2, np.zeros(A))
    controller.clear()  # nothing to lift: the gate stays as it is
    assert controller.state.mode is Mode.WAITING


def test_an_endless_joint_goes_the_short_way_and_a_prev_stays_in_the_chunk_s_turn():
    turn = np.array([2 * np.pi, 0.0])
    ends = np.array([np.inf, 4.0])
    limits = JointLimits(-ends, ends, np.full(2, 0.1), turn=turn)
    bench = Bench(action_dim=2, initial_delay=3, s_min=4, limits=limits)
    bench.controller.start(1, np.array([3.0, 3.0]))
    bench.begin(0)
    goal = np.tile([3.0 + 0.5 - 2 * np.pi, 3.0], (10, 1))
    bench.finish(goal)
    out = [bench.tick().target for _ in range(4)]
    np.testing.assert_allclose(np.array(out)[:, 0], [3.1, 3.2, 3.3, 3.4])
    request = bench.begin(9)
    np.testing.assert_allclose(request.prev[:, 0], 3.5 - 2 * np.pi)
    np.testing.assert_allclose(bench.tick().target, [3.5, 3.0])
    with pytest.raises(ValueError, match="turns endlessly and has a position limit"):
        JointLimits(-np.ones(2), np.ones(2), np.ones(2), turn=turn)


def test_a_joint_that_is_where_it_should_be_but_moves_too_fast_to_stay_divides_nothing_by_zero():
    limits = JointLimits(-FREE, FREE, np.full(A, 0.2), np.full(A, 0.01), coherent=True)
    with np.errstate(all="raise"):
        row = limit_row(np.zeros(A), np.zeros(A), limits, 1.0, np.array([0.1, 0.0, 0.0]))
    np.testing.assert_allclose(row, [0.09, 0.0, 0.0])
