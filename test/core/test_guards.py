"""The one place that compares the command with the arm, in every mode."""

from dataclasses import replace

import numpy as np
import pytest
from arms import PERIOD_S, guards_of
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.guards import Arm, Watched
from rtc_ros.core.limits import JointLimits

COMMAND = np.array([0.5, 0.0])
FREE = JointLimits.none(2)
PATIENCE = 10
"""0.2 s at 20 ms."""


class Watch:
    """Guards that remember; each joint state is news, a period after the last one, unless a test
    says otherwise."""

    def __init__(self, resume=np.inf, following=np.inf, limits=FREE):
        self.guards = guards_of(limits, resume, following)
        self.watched = Watched()
        self.now = 0

    def __call__(self, pose, command=COMMAND, *, moving=True, news=True, problem=""):
        self.now += news * round(PERIOD_S * 1e9)
        return self.hear(pose, self.now, command, moving=moving, problem=problem)

    def hear(self, pose, received_ns, command=COMMAND, *, moving=True, problem=""):
        received_ns = np.broadcast_to(received_ns, 2).astype(np.int64)
        arm = Arm(np.asarray(pose, float), received_ns, problem)
        commands = None if command is None else np.atleast_2d(command)
        self.watched, verdict = self.guards.judge(self.watched, arm, commands, moving)
        return verdict

    def lasting(self, pose, command=COMMAND):
        """Return the verdict once the arm stood there for as long as the guards are patient."""
        for _ in range(PATIENCE):
            verdict = self(pose, command, moving=False)
            assert not verdict.close
        return self(pose, command, moving=False)

    def begins(self, pose, command=COMMAND):
        arm = Arm(np.asarray(pose, float), np.full(2, self.now))
        return self.guards.beside(self.watched, arm, command)


# ------------------------------------------------------------------------- an arm that was moved


@pytest.mark.parametrize("unseen", [True, False], ids=["states away", "states going on"])
def test_an_arm_that_stands_elsewhere_after_a_hold_closes_the_gate(unseen):
    watch = Watch(resume=0.1)
    assert not watch(COMMAND + [0.05, 0.0]).close
    for _ in range(5):
        told = watch(COMMAND, moving=False, problem="stale" if unseen else "")
        assert told.hold == ("stale" if unseen else "") and not told.close
    assert not watch.lasting(COMMAND + [0.14, 0.0]).hold
    told = watch.lasting(COMMAND + [0.16, 0.0]).close
    assert told.startswith("a is 0.16 from its last command, and was 0.05 before it was held")
    assert "resume_tolerance is 0.1" in told and "call ~/start" in told


def test_an_arm_that_was_never_seen_moving_has_no_lag_of_its_own():
    watch = Watch(resume=0.1)
    watch(COMMAND, moving=True, problem="stale")  # right after its first command
    moved = COMMAND + [0.09, 0.0]
    assert not watch.lasting(moved).hold
    np.testing.assert_array_equal(watch.begins(moved), moved)
    assert "the arm was moved" in watch.lasting(COMMAND + [0.11, 0.0]).close


@settings(max_examples=80, deadline=None)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.01, 0.5), st.integers(1, 40))
def test_a_slow_hand_is_no_new_measure(lag, way, tolerance, ticks):
    watch = Watch(resume=tolerance)
    watch(COMMAND + [lag, 0])
    for part in np.linspace(0, 1, ticks + 1):
        told = watch(COMMAND + [lag + part * way, 0], moving=False)
    for _ in range(PATIENCE):
        told = watch(COMMAND + [lag + way, 0], moving=False)
    if abs(way - tolerance) > 1e-9:
        assert bool(told.close) == (way > tolerance)


def test_an_arm_that_comes_to_its_command_late_is_none_that_was_moved():
    watch = Watch(resume=0.1)
    watch(COMMAND)
    for error in np.linspace(1.0, 0.05, PATIENCE):
        told = watch(COMMAND + [error, 0], moving=False)
        assert bool(told.hold) == (error > 0.1 + 1e-12) and not told.close


def test_commands_that_went_on_while_nobody_saw_the_arm_are_no_lag():
    """An emergency stop at speed: the arm stands, the commands go on until the timeout."""
    watch = Watch(resume=0.1)
    watch(COMMAND - [0.04, 0])
    for ahead in np.linspace(0.0, 0.5, 26):
        watch(COMMAND - [0.04, 0], COMMAND + [ahead, 0], news=False)
    last = COMMAND + [0.5, 0]
    said = watch.lasting(COMMAND - [0.04, 0], last).close
    assert said.startswith("a is 0.54 from its last command, and was 0.0")
    assert not watch(last - [0.04, 0], last, moving=False).close, "it followed unseen"


def test_a_new_run_forgets_the_last_one():
    watch = Watch(resume=0.1)
    watch(COMMAND)
    assert watch.lasting(COMMAND + 1).close
    assert not watch(COMMAND + 1, None, moving=False).hold
    assert not watch(COMMAND + 1).hold and not watch.lasting(COMMAND + 1).hold


def test_joints_without_a_tolerance_may_stand_anywhere():
    watch = Watch(resume=[np.inf, 0.1])
    watch(COMMAND)
    assert not watch.lasting(COMMAND + [9.0, 0.0]).hold
    assert "b is 9" in watch.lasting(COMMAND + [9.0, 9.0]).close


# ----------------------------------------------------------------------- where motion begins again


def test_motion_begins_beside_the_arm_no_farther_than_its_own_lag():
    watch = Watch(resume=[0.3, np.inf])
    watch(COMMAND - [0.05, 0.4])  # a sags, b squeezes something
    np.testing.assert_array_equal(watch.begins(COMMAND - [0.05, 0.4]), COMMAND)
    np.testing.assert_allclose(watch.begins(COMMAND - [0.25, 0.9]), COMMAND - [0.2, 0.0])
    np.testing.assert_allclose(watch.begins(COMMAND + [0.25, 0.9]), COMMAND + [0.2, 0.0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 120), st.floats(0.01, 0.3))
def test_the_lag_is_the_largest_of_a_quarter_of_a_second_and_none_of_before_half_a_second(
    before, lag
):
    watch = Watch(resume=0.3)
    for _ in range(before):
        watch(COMMAND)
    watch(COMMAND - [lag, 0.0])
    known = []
    for _ in range(round(1.0 / PERIOD_S)):
        known.append(watch.watched.lag[0])
        watch(COMMAND - [0.001, 0.0])
    np.testing.assert_allclose(known[: int(0.25 / PERIOD_S)], lag)
    np.testing.assert_allclose(known[round(0.5 / PERIOD_S) :], 0.001)
    np.testing.assert_allclose(watch.watched.lag, [0.001, 0.0])


def test_a_hold_keeps_the_lag_of_the_motion_before_it():
    watch = Watch(resume=0.3)
    watch(COMMAND - [0.1, 0.0])
    for _ in range(500):
        watch(COMMAND, moving=False)
    np.testing.assert_allclose(watch.watched.lag, [0.1, 0.0])


# -------------------------------------------------------------------- an arm that doesn't follow


def test_an_arm_that_does_not_follow_is_held_at_once_and_closes_the_gate_when_it_lasts():
    watch = Watch(following=[0.4, np.inf])
    told = [watch(COMMAND + [0.5, 7.0]) for _ in range(PATIENCE + 1)]
    assert all(t.hold for t in told)
    assert [bool(t.close) for t in told] == [False] * PATIENCE + [True]
    assert told[-1].close.startswith("a is 0.5 from its command and doesn't follow (following_tol")
    assert "call ~/start" in told[-1].close


def test_it_has_to_come_back_within_half_of_it():
    watch = Watch(following=[0.4, np.inf])
    errors = (0.5, -0.3, 0.21, 0.19, 0.3, 0.39)
    assert [bool(watch(COMMAND + [e, 0]).hold) for e in errors] == [True] * 3 + [False] * 3


def test_a_start_forgets_that_it_was_lost():
    watch = Watch(following=[0.4, np.inf])
    assert watch(COMMAND + [0.5, 0]).hold
    assert not watch(COMMAND + [9.0, 0], None).hold
    assert not watch(COMMAND + [0.3, 0]).hold


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_an_infinite_tolerance_never_binds(errors):
    watch = Watch()
    for error in errors:
        told = watch(COMMAND + [error, error])
        assert not told.hold and not told.close


@pytest.mark.parametrize("moving", [True, False])
def test_whole_turns_of_an_endless_joint_are_no_distance(moving):
    free = np.full(2, np.inf)
    limits = JointLimits(-free, free, free, turn=np.array([2 * np.pi, 0.0]))
    watch, turned = Watch(0.1, 0.1, limits), np.array([6.4, 0.0])
    assert not watch(turned - [2 * np.pi, 0], turned).hold
    told = watch(turned + [2 * np.pi - 0.05, 0], turned, moving=moving)
    assert not told.hold and not told.close
    told = watch(turned - [2 * np.pi - 2.5, 0], turned, moving=moving)
    assert "a is 2.5 from its " in (told.close or told.hold)


# --------------------------------------------------------------------- joint states and standstill


def test_joint_states_that_cant_be_trusted_hold_and_judge_nothing():
    watch = Watch(resume=0.1, following=0.1)
    watch(COMMAND)
    for _ in range(3 * PATIENCE):
        told = watch(COMMAND + 9, problem="no joint state of a for 0.5 s")
        assert told.hold == "no joint state of a for 0.5 s" and not told.close


def test_after_a_stall_joint_states_from_before_it_count_no_more():
    guards = guards_of(FREE, resume=0.1)
    now = 5_000_000_000
    short = guards.after_a_stall(Watched(), 0.06, now)
    assert short.distrust_before_ns == 0
    watched = guards.after_a_stall(Watched(), 0.5, now)
    for after_ms, trusted in ((-1, False), (10, False), (50, True)):
        arm = Arm(COMMAND, now + np.array([60, after_ms]) * 1_000_000)
        _, verdict = guards.judge(watched, arm, COMMAND[None], moving=False)
        assert bool(verdict.hold) is not trusted
        assert trusted or "waiting for the joint state of b" in verdict.hold


def test_a_driver_that_is_behind_by_what_it_was_sent_ahead_is_no_arm_that_lags():
    """One of chunks goes along a curve: a row is due some periods after its tick."""
    watch = Watch(following=0.1)
    watch.guards = replace(watch.guards, behind=np.array([2, 0]))
    commands = 0.09 * np.arange(40)[:, None] * [1.0, 1.0]
    for k in range(4, 40):
        arm = [commands[k - 3, 0] - 0.01, commands[k - 1, 1] - 0.02]
        assert not watch(arm, commands[k - 4 : k]).hold
    np.testing.assert_allclose(watch.watched.lag, [0.01, 0.02])
    arm = [commands[-5, 0], commands[-1, 1]]
    assert "a is 0.18 from its command" in watch(arm, commands[-4:]).hold


def limited(velocity=1.0, lower=-9.0, upper=9.0, **options):
    return JointLimits.from_velocity(
        [lower] * 2, [upper] * 2, [velocity] * 2, PERIOD_S, **options
    )


def test_an_arm_is_at_rest_once_it_was_seen_standing_for_a_tenth_of_a_second():
    watch = Watch(limits=limited(upper=1.0, lower=-1.0))
    for _ in range(5):
        assert "hasn't been seen standing still" in watch.guards.moves(watch.watched)
        watch(COMMAND)
    watch(COMMAND)
    assert watch.guards.moves(watch.watched) == ""
    for i in range(5):
        watch(COMMAND + [0.0, 0.006 * (i + 1)])
    assert watch.guards.moves(watch.watched).startswith("b still moves: 0.03 in the last 0.1 s")
    watch(COMMAND, problem="stale")
    assert "hasn't been seen" in watch.guards.moves(watch.watched)


@pytest.mark.parametrize("rate", [1.0, 3.0, 5.0, 9.0, 11.0, 50.0])
@pytest.mark.parametrize("moves", [True, False])
def test_an_arm_that_moves_is_none_at_rest_however_seldom_its_joint_states_come(rate, moves):
    """Judged at each tick, by joint states that came and not by the ticks between them."""
    watch = Watch(limits=limited(upper=1.0, lower=-1.0))
    speed, said = (0.5 if moves else 0.0), []
    for tick in range(round(4.0 / PERIOD_S)):
        at_s = np.floor(tick * PERIOD_S * rate) / rate
        watch.hear(COMMAND - [0.0, speed * at_s], round((1.0 + at_s) * 1e9), None)
        said.append(watch.guards.moves(watch.watched))
    if moves:
        assert all(said) and "b still moves: " in said[-1]
    else:
        settled = np.ceil(0.1 * rate) / rate + 1 / rate
        assert not any(said[round(settled / PERIOD_S) :])


def test_joints_that_come_by_several_topics_are_each_seen_for_that_long():
    watch = Watch(limits=limited())
    for tick in range(40):
        seldom = tick // 20 * 20  # b comes at 2.5 Hz
        received_ns = (np.array([tick, seldom]) * PERIOD_S * 1e9).astype(np.int64)
        watch.hear(COMMAND, received_ns, None)
        said = watch.guards.moves(watch.watched)
        assert bool(said) == (tick < 20)
        assert tick in (0, *range(20, 40)) or "the joint states of b tell of 0 s" in said
    assert len(watch.watched.seen) < 45


def test_an_arm_that_swings_about_one_place_moves():
    watch = Watch(limits=limited(upper=1.0, lower=-1.0))
    for tick in range(20):
        watch(COMMAND + [0.05 * np.sin(tick * np.pi / 2.5), 0.0], None)
    assert "a still moves: 0.09" in watch.guards.moves(watch.watched)


@pytest.mark.parametrize(
    "limits",
    [
        limited(0.1, -np.pi, np.pi),  # velocity step 0.002
        limited(0.1, -np.inf, np.inf, turn=[2 * np.pi] * 2),
    ],
    ids=["between limits", "endless"],
)
def test_an_encoder_that_flickers_between_two_of_its_steps_is_at_rest(limits):
    step = 2 * np.pi / 1024
    watch = Watch(limits=limits)
    for tick in range(60):
        watch(COMMAND + [step * (tick % 3 == 0), 0.0], None)
        assert tick < 6 or watch.guards.moves(watch.watched) == ""
    for tick in range(10):
        watch(COMMAND + [0.003 * tick, 0.0], None)
    assert "a still moves: 0.0" in watch.guards.moves(watch.watched)
    assert "more than 0.0126" in watch.guards.moves(watch.watched)
