"""A driver that was sent a chunk goes on by itself: the controller follows it, then stops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.command import without
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits

A = 3
TINY = 1e-12
FREE = np.full(A, np.inf)
LIMITS = JointLimits(
    np.full(A, -3.0),
    np.full(A, 3.0),
    np.full(A, 0.2),
    np.full(A, 0.02),
    max_twist=np.full(A, 0.01),
)
rows = arrays(float, st.tuples(st.integers(4, 30), st.just(A)), elements=st.floats(-2, 2))


def moving(actions, ticks, limits=LIMITS):
    controller = Controller(A, limits)
    controller.start(1, np.zeros(A))
    controller.offer(ActionChunk(actions, 0, step_epoch=1))
    for _ in range(ticks):
        controller.tick()
    return controller


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 4), st.integers(1, 60), st.sampled_from(["", "stop", "latch"]))
def test_what_was_told_is_what_is_played_whether_or_not_the_gate_was_closed(
    actions, ticks, missed, event
):
    controller = moving(actions, ticks)
    told, _ = controller.ahead()
    if event:
        getattr(controller, event)()
    closed = controller.mode
    played = [controller.play_on() for _ in range(min(missed, len(told) - 1))]
    np.testing.assert_array_equal([c.target for c in played], told[1 : 1 + len(played)])
    if event:
        assert controller.mode is closed in (Mode.STOPPED, Mode.LATCHED)
    # The stop begins where the driver is by then, and goes on as it went.
    before = played[-1].target - (played[-2].target if len(played) > 1 else told[0])
    way, _ = controller.ahead()
    np.testing.assert_array_equal(way[0], played[-1].target)
    assert np.abs(np.diff(way[:2], axis=0) - before).max(initial=0) <= 0.02 + TINY


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 40), st.booleans())
def test_joints_that_stood_still_begin_there_again_within_the_limits(actions, missed, coherent):
    limits = JointLimits(
        LIMITS.lower, LIMITS.upper, LIMITS.max_step, LIMITS.max_bend,
        coherent=coherent, max_twist=LIMITS.max_twist,
    )  # fmt: skip
    controller = moving(actions, 3, limits)
    at, step = controller.target, controller.player.step
    played = [controller.play_on() for _ in range(missed)]
    went_on = controller.target[:1].copy()
    controller.stood_still([1, 2], at, step)
    np.testing.assert_array_equal(controller.target[1:], at[1:])
    np.testing.assert_array_equal(controller.target[:1], went_on)
    for command in (without(c, [1, 2], at) for c in played):
        np.testing.assert_array_equal(command.target[1:], at[1:])
        np.testing.assert_array_equal(command.row[1:], at[1:])
    cursor = controller.cursor(0)
    for past in range(step, controller.player.step):
        executed = cursor.executed(past)
        assert executed is None or (executed[1:] == at[1:]).all()
    controller.offer(ActionChunk(actions, controller.player.step, step_epoch=1, seq=1))
    targets, steps = [at], [np.zeros(A)]
    for _ in range(60):
        targets.append(controller.tick().target)
        steps.append(targets[-1] - targets[-2])
    standing = np.array(steps)[:, 1:]
    assert np.abs(standing).max() <= 0.2 + TINY
    assert np.abs(np.diff(standing, axis=0)).max() <= 0.02 + TINY
    assert np.abs(np.diff(standing, 2, axis=0)).max() <= 0.01 + TINY


def test_beyond_the_chunk_it_is_at_rest_and_k_waits():
    controller = moving(np.cumsum(np.full((8, A), 0.01), axis=0), 4)
    told, _ = controller.ahead()
    for _ in range(len(told) + 5):
        last = controller.play_on()
    assert controller.settled and controller.player.step == 8 and last.wanted is None
    np.testing.assert_array_equal(last.target, told[-1])
    with pytest.raises(ValueError, match="nothing was commanded"):
        Controller(A, LIMITS).ahead()


def test_a_chunk_that_waits_for_its_first_step_was_not_sent_and_is_not_played():
    controller = moving(np.cumsum(np.full((20, A), 0.01), axis=0), 4)
    early = ActionChunk(np.ones((20, A)), 8, step_epoch=1, seq=1)
    controller.offer(early)
    told, _ = controller.ahead()
    played = [controller.play_on() for _ in range(8)]
    np.testing.assert_array_equal([c.target for c in played], told[1:9])
    assert controller.tick().played.chunk is early


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 30), st.sampled_from(["", "stop", "fault", "swap"]))
def test_a_decision_that_is_taken_back_leaves_nothing_behind(actions, ticks, event):
    taken_back, untouched = (moving(actions, ticks) for _ in range(2))
    for controller in (taken_back, untouched):
        if event == "swap":
            step = controller.player.step
            controller.offer(ActionChunk(-actions, step, step_epoch=1, seq=1))
    before = taken_back.snapshot()
    if event == "stop":
        taken_back.stop()
    elif event == "fault":
        taken_back.set_fault("the arm is elsewhere")
    taken_back.tick()
    taken_back.restore(before)
    for controller in (taken_back, untouched):
        if controller.row is not None:
            controller.play_on()
    for _ in range(20):
        commands = [controller.tick() for controller in (taken_back, untouched)]
        np.testing.assert_array_equal(*(c.target for c in commands))
        np.testing.assert_array_equal(*(c.wanted for c in commands))
        assert commands[0].reason == commands[1].reason
        assert commands[0].played.step == commands[1].played.step
    assert taken_back.counts == untouched.counts
    cursors = [controller.cursor(0) for controller in (taken_back, untouched)]
    np.testing.assert_array_equal(*(c.history for c in cursors))
    assert cursors[0].swaps == cursors[1].swaps and cursors[0].seen_seq == cursors[1].seen_seq
