"""The gate, the first motion, the limits and what is said about them."""

import numpy as np
import pytest
from algorithm import Bench
from arms import guards_of, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.chunk_player import Offer
from rtc_ros.core.controller import Controller, Inputs
from rtc_ros.core.cursor import Mode
from rtc_ros.core.guards import Arm
from rtc_ros.core.limits import JointLimits, limit_row, limit_rows

LIMITS = JointLimits.from_velocity([-1.0, -2.0], [1.0, 2.0], [5.0, 10.0], 0.02)


def chunk(actions, seq=1, epoch=1, **fields):
    return ActionChunk(np.asarray(actions, float), 0, step_epoch=epoch, epoch=1, seq=seq, **fields)


def started(pose=(0.0, 0.0), **options):
    controller = Controller(LIMITS, **options)
    controller.start(1, np.asarray(pose))
    return controller


def test_nothing_moves_before_start_and_after_stop():
    controller = Controller(LIMITS)
    controller.offer(chunk(np.ones((5, 2))))
    assert controller.tick() is None and controller.state.mode is Mode.STOPPED
    controller.start(1, np.zeros(2))
    controller.offer(chunk(np.ones((5, 2))))
    assert controller.tick().target is not None
    controller.stop()
    assert controller.tick() is None


def test_waiting_commands_nothing_until_the_first_chunk():
    command = started().tick()
    assert (command.target, command.mode) == (None, Mode.WAITING)
    assert command.reason == "hold: waiting for the first chunk"


def test_the_first_command_is_one_softened_step_from_the_measured_pose():
    controller = started(pose=(0.5, -0.5), soft_start_ticks=9)
    controller.offer(chunk(np.tile([-0.9, 1.9], (20, 1))))
    first = controller.tick()
    np.testing.assert_allclose(first.target, [0.5 - 0.01, -0.5 + 0.02])
    steps = [first.target] + [controller.tick().target for _ in range(12)]
    change = np.abs(np.diff(steps, axis=0))
    assert (np.diff(change, axis=0) > -1e-12).all()  # ever faster
    np.testing.assert_allclose(change[-1], [0.1, 0.2])  # up to the limit


def test_starved_holds_says_so_and_goes_on():
    controller = started()
    controller.offer(chunk([[0.1, 0], [0.1, 0]]))
    held = [controller.tick() for _ in range(4)][-1]
    assert (held.mode, held.reason, held.wanted) == (Mode.STARVED, "hold: starved", None)
    np.testing.assert_array_equal(held.target, [0.1, 0])
    assert controller.state.counts["ticks held: starved"] == 2
    controller.offer(ActionChunk(np.full((3, 2), 0.2), 2, step_epoch=1, epoch=1, seq=2))
    command = controller.tick()
    assert command.mode is Mode.RUNNING and command.played.step == 2
    assert command.played.swap.held_ticks == 2


def test_values_that_are_not_finite_never_get_out():
    controller = started()
    rows = np.zeros((3, 2))
    rows[1, 1] = np.nan
    assert controller.offer(chunk(rows)) is Offer.NOT_FINITE
    assert controller.tick().target is None
    assert controller.state.counts["chunks refused: holds values that are not finite"] == 1


def test_a_fault_holds_and_the_same_step_follows():
    controller = started(guards=guards_of(LIMITS))
    controller.offer(chunk(np.full((9, 2), 0.05)))
    controller.tick()
    held = controller.tick(seen([0, 0], "joint states are stale"))
    assert held.reason == "hold: joint states are stale" and held.mode is Mode.FAULT
    assert controller.tick(seen([0.05, 0.05])).played.step == 1


def test_a_chunk_from_before_a_restart_is_refused():
    controller = started()
    controller.offer(chunk(np.full((9, 2), 0.05)))
    controller.tick()
    controller.stop()
    controller.start(2, np.zeros(2))
    assert controller.offer(chunk(np.ones((9, 2)), seq=2, epoch=1)) is Offer.OTHER_RUN
    assert controller.tick().mode is Mode.WAITING


@pytest.mark.parametrize("pose", [[0.0], [0.0, np.nan]])
def test_start_needs_a_finite_pose_of_all_joints(pose):
    with pytest.raises(ValueError, match="2 finite joint positions"):
        Controller(LIMITS).start(1, np.asarray(pose))


@settings(max_examples=200, deadline=None)
@given(arrays(float, (30, 2), elements=st.floats(-10, 10)))
def test_no_command_leaves_the_limits(actions):
    controller = started()
    controller.offer(chunk(actions))
    previous, limited = np.zeros(2), 0
    for row in actions:
        command = controller.tick()
        assert (np.abs(command.target - previous) <= LIMITS.max_step + 1e-12).all()
        assert (command.target >= LIMITS.lower).all() and (command.target <= LIMITS.upper).all()
        np.testing.assert_array_equal(command.wanted, row)
        limited += bool((command.target != row).any())
        previous = command.target
    assert controller.state.counts.get("steps limited", 0) == limited


def test_an_arm_outside_its_limits_is_led_back_at_limited_speed():
    row = limit_row(np.array([5.0, 0.0]), np.array([1.5, 0.0]), LIMITS)
    np.testing.assert_allclose(row, [1.4, 0.0])


def test_the_frozen_prefix_is_what_the_limits_let_out():
    """A_prev is the row sequence that the controller then really commands."""
    bench = Bench(action_dim=2, initial_delay=3, s_min=4, limits=LIMITS)
    bench.begin(0)
    bench.finish(np.random.default_rng(0).uniform(-3, 3, (10, 2)))
    for _ in range(4):
        bench.tick()
    request = bench.begin(99)
    commanded = [bench.tick().target for _ in range(6)]
    np.testing.assert_array_equal(request.prev, commanded)
    np.testing.assert_array_equal(
        request.prev, limit_rows(bench.chunks[0].actions[4:], bench_command(bench, 3), LIMITS)
    )


def bench_command(bench, step):
    return bench.controller.cursor(0).executed(step)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (([0], [0], [1]), "not below its upper limit"),
        (([0], [1], [0]), "could never move"),
        (([0], [np.nan], [1]), "NaN"),
        (([0, 1], [1], [1]), "differ in size"),
    ],
)
def test_bad_limits_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        JointLimits(*(np.asarray(x, float) for x in bad))


def test_an_arm_that_is_moved_before_the_first_chunk_begins_where_it_then_stands():
    limits = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0, 1.0], 0.02, max_jerk=[1e4] * 2)
    controller = Controller(limits, guards=guards_of(limits))
    controller.tick(seen([1.0, 1.0]))  # the gate is closed
    controller.start(1, np.zeros(2))
    assert controller.tick(seen([0.0, 0.0])).target is None
    controller.tick(seen([1.0, -0.5]))
    np.testing.assert_array_equal(controller.cursor(0).command, [1.0, -0.5])
    controller.offer(chunk(np.full((9, 2), 5.0)))
    first = controller.tick(seen([1.0, -0.5])).target
    assert (np.abs(first - [1.0, -0.5]) <= 0.02 + 1e-12).all()
    second = controller.tick(seen([0.0, 0.0])).target  # from now on the commands lead
    assert (np.abs(second - first) <= 0.02 + 1e-12).all()


@pytest.mark.parametrize("acceleration", [None, [8.0]])
def test_only_the_beginning_of_a_motion_needs_new_joint_states(acceleration):
    """A joint without an acceleration limit could rest within any step: it moves all the same."""
    limits = JointLimits.from_velocity([-9.0], [9.0], [1.0], 0.02, acceleration)
    controller = Controller(limits, 0, guards_of(limits, 9.0, 9.0))
    controller.start(1, np.zeros(1))
    controller.offer(
        ActionChunk(np.arange(1, 41)[:, None] * 0.01, 0, step_epoch=1, epoch=1, seq=1)
    )
    now, old = 10**10, 300_000_000

    def tick(age_ns):
        nonlocal now
        now += 20_000_000
        arm = Arm(np.zeros(1), np.full(1, now - age_ns))
        return controller.tick(Inputs(arm=arm, now_ns=now))

    assert not any(tick(old).executes for _ in range(5))
    assert "until a is heard of" in tick(old).reason
    assert tick(10_000_000).executes
    assert all(tick(old).executes for _ in range(20))


def test_a_joint_that_is_heard_of_seldom_begins_by_its_next_state():
    limits = JointLimits.from_velocity([-9.0], [9.0], [1.0], 0.02, [8.0])
    controller = Controller(limits, 0, guards_of(limits, 9.0, 9.0))
    controller.start(1, np.zeros(1))
    controller.offer(
        ActionChunk(np.arange(1, 41)[:, None] * 0.01, 0, step_epoch=1, epoch=1, seq=1)
    )
    begun = 10**10
    for ms, heard_ms, executes in ((0, -80, False), (20, -80, False), (80, 20, True)):
        at_ns, heard_ns = begun + ms * 10**6, begun + heard_ms * 10**6
        arm = Arm(np.zeros(1), np.full(1, heard_ns))
        assert controller.tick(Inputs(arm=arm, now_ns=at_ns)).executes is executes, ms
