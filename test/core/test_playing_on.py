"""A driver that was sent a chunk goes on by itself: the controller follows it, then stops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.command import without
from rtc_ros.core.controller import CONTROL_POINTS, Controller, ahead, follow, untold
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits

A = 3
TINY = 1e-12
LIMITS = JointLimits(
    np.full(A, -3.0),
    np.full(A, 3.0),
    np.full(A, 0.2),
    np.full(A, 0.02),
    max_twist=np.full(A, 0.01),
)
rows = arrays(float, st.tuples(st.integers(4, 30), st.just(A)), elements=st.floats(-2, 2))


def moving(actions, ticks, limits=LIMITS):
    controller = Controller(limits)
    controller.start(1, np.zeros(A))
    controller.offer(ActionChunk(actions, 0, step_epoch=1))
    for _ in range(ticks):
        controller.tick()
    return controller


def told(controller):
    return ahead(controller.settings, controller.state)


def follows(controller, ticks):
    controller.state, commands = follow(controller.settings, controller.state, ticks, True)
    return commands


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 4), st.integers(1, 60), st.sampled_from(["", "stop", "latch"]))
def test_what_was_told_is_what_is_played_whether_or_not_the_gate_was_closed(
    actions, ticks, missed, event
):
    controller = moving(actions, ticks)
    way = told(controller)
    if event:
        controller.stop(latch=event == "latch")
    closed = controller.state.mode
    played = follows(controller, missed)
    for unplayed in way[1 + len(played) : 1 + missed]:
        np.testing.assert_array_equal(unplayed, way[len(played)], "it was at rest by then")
    assert [c.target.tolist() for c in played] == way[1 : 1 + len(played)].tolist()
    if event:
        assert controller.state.mode is closed in (Mode.STOPPED, Mode.LATCHED)
    if not played:
        return  # it was at rest
    # The stop begins where the driver is by then, and goes on as it went.
    before = played[-1].target - (played[-2].target if len(played) > 1 else way[0])
    rest = told(controller)
    np.testing.assert_array_equal(rest[0], played[-1].target)
    assert np.abs(np.diff(rest[:2], axis=0) - before).max(initial=0) <= 0.02 + TINY


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 40), st.booleans())
def test_joints_that_stood_still_begin_there_again_within_the_limits(actions, missed, coherent):
    limits = JointLimits(
        LIMITS.lower, LIMITS.upper, LIMITS.max_step, LIMITS.max_bend,
        coherent=coherent, max_twist=LIMITS.max_twist,
    )  # fmt: skip
    controller = moving(actions, 3, limits)
    before = controller.state
    at, step = before.target, before.player.step
    played = follows(controller, missed)
    went_on = controller.state.target[:1].copy()
    controller.state = untold(controller.state, before, [1, 2], rests=True)
    np.testing.assert_array_equal(controller.state.target[1:], at[1:])
    np.testing.assert_array_equal(controller.state.target[:1], went_on)
    for command in (without(c, [1, 2], at) for c in played):
        np.testing.assert_array_equal(command.target[1:], at[1:])
        np.testing.assert_array_equal(command.row[1:], at[1:])
    cursor = controller.cursor(0)
    for past in range(step, controller.state.player.step):
        executed = cursor.executed(past)
        assert executed is None or (executed[1:] == at[1:]).all()
    controller.offer(ActionChunk(actions, controller.state.player.step, step_epoch=1, seq=1))
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
    way = told(controller)
    last = follows(controller, len(way) + 5)[-1]
    assert controller.settled and controller.state.player.step == 8 and last.wanted is None
    np.testing.assert_array_equal(last.target, way[-1])
    assert follows(controller, 3) == []
    assert controller.tick().sends is False


def test_a_chunk_that_waits_for_its_first_step_was_not_sent_and_is_not_played():
    controller = moving(np.cumsum(np.full((20, A), 0.01), axis=0), 4)
    early = ActionChunk(np.ones((20, A)), 8, step_epoch=1, seq=1)
    controller.offer(early)
    way = told(controller)
    played = follows(controller, 8)
    np.testing.assert_array_equal([c.target for c in played], way[1:9])
    assert controller.tick().played.chunk is early


def test_a_driver_that_brakes_is_followed_to_rest_and_no_farther():
    controller = moving(np.cumsum(np.full((20, A), 0.05), axis=0), 10)
    controller.stop()
    controller.tick()
    way = told(controller)
    controller.state, commands = follow(controller.settings, controller.state, 99, False)
    np.testing.assert_array_equal([c.target for c in commands], way[1:])
    assert controller.tick() is None


@pytest.mark.parametrize("event", ["", "stop", "swap"])
def test_a_decision_that_is_dropped_leaves_nothing_behind(event):
    """A step makes a new state; nothing of it is in the old one, not even in its arrays."""
    rng = np.random.default_rng(0)
    dropped, untouched = (moving(rng.uniform(-1, 1, (20, A)), 6) for _ in range(2))
    untouched.state = dropped.state
    held = {k: np.array(v) for k, v in vars(dropped.state).items() if isinstance(v, np.ndarray)}
    before = dropped.state
    if event == "stop":
        dropped.stop()
    elif event == "swap":
        dropped.offer(ActionChunk(np.ones((20, A)), 6, step_epoch=1, seq=1))
    dropped.tick()
    dropped.state = before
    for name, value in held.items():
        np.testing.assert_array_equal(getattr(before, name), value)
    for _ in range(30):
        one, other = dropped.tick(), untouched.tick()
        np.testing.assert_array_equal(one.target, other.target)
        assert (one.reason, one.played.step) == (other.reason, other.played.step)
    assert dropped.state.counts == untouched.state.counts


@pytest.mark.parametrize("missed", [1, 3, 50])
def test_a_driver_at_the_end_of_its_chunk_was_there_for_all_missed_ticks(missed):
    limits = JointLimits(LIMITS.lower, LIMITS.upper, LIMITS.max_step, LIMITS.max_bend)
    controller = moving(np.arange(1, 6)[:, None] * np.full(A, 0.01), 5, limits)
    way = np.concatenate([controller.state.targets, np.tile(told(controller)[-1], (missed, 1))])
    assert follows(controller, missed) == [], "it may stop at once"
    np.testing.assert_array_equal(controller.state.targets, way[-CONTROL_POINTS:])
    assert not controller.state.last_step.any(), "what comes next begins from rest"
