"""The watcher can fail: what it must call a violation, and what it mustn't."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from arm_double import CHUNK, Arm, Driver, Trajectory
from fault_system import CONTROLLER
from invariants import Invariants, Promises
from sensor_msgs.msg import JointState

from rtc_ros.core.cursor import Mode

PERIOD_S, BEGIN_S = 0.02, 100.0
SPEED, ACCELERATION = 1.0, 10.0
PARAMETERS = {
    **CONTROLLER,
    "joints": ["a", "b"],
    "max_velocity": [SPEED],
    "max_acceleration": [ACCELERATION],
    "following_tolerance": [0.3],
    "resume_tolerance": [0.2],
}
STEP, BEND = SPEED * PERIOD_S, ACCELERATION * PERIOD_S**2


class Bench:
    """An arm, its watcher, and a controller that the test plays."""

    def __init__(self, kind="float64_multi_array", lag_s=0.02):
        self.arm = Arm(
            ["a", "b"], [Driver("g", kind, [0, 1])], lag_s, speed=10.0, now_s=BEGIN_S
        )
        self.node = SimpleNamespace(arm=self.arm, published=deque(), beats=deque())
        self.watcher = Invariants(self.node, Promises.of(PARAMETERS, 2))
        self.now_s, self.row, self.epoch = BEGIN_S, np.zeros(2), 1
        self.blind = False
        self.k = self.ticks = self.number = 0

    def pass_(self, seconds):
        end = self.now_s + seconds
        while self.now_s < end - 1e-9:
            self.now_s += 0.01
            pose = self.arm.advance(self.now_s)
            self.node.beats.append(self.now_s)
            if not self.blind:
                self.node.published.append((self.now_s, pose))

    def tick(self, what=None, reason="execute", mode=Mode.RUNNING, late_s=0.0):
        """One tick that sends ``what`` (a row, a trajectory, nothing), and its period."""
        message = JointState(name=["rtc/mode", "rtc/step_epoch", "rtc/step", "rtc/lateness_us"])
        late_us = 1e6 * late_s + self.ticks
        message.position = [float(mode), float(self.epoch), float(self.k), late_us]
        self.k += reason == "execute"
        self.ticks += 1
        message.header.frame_id = reason
        at_s = self.now_s + late_s
        message.header.stamp.sec = int(at_s)
        message.header.stamp.nanosec = round(at_s % 1 * 1e9)
        self.watcher.on_executed(message, number=self.ticks)
        if what is not None:
            self.arm.advance(at_s)
            self.number += 1
            taken = self.arm.take("g", at_s + 0.001, what, b"ours", number=self.number)
            self.watcher.on_sent(taken)
            self.row = what if isinstance(what, np.ndarray) else self.row
        self.pass_(PERIOD_S)

    def hold(self, ticks, *, sends=False, mode=Mode.STARVED, reason="hold: starved"):
        for _ in range(ticks):
            self.tick(self.row if sends else None, reason, mode)

    def go(self, ticks, speed=SPEED):
        """Move joint a, with its acceleration."""
        step, last = np.zeros(2), getattr(self, "step", 0.0)
        for _ in range(ticks):
            last = float(np.clip(speed * PERIOD_S, last - BEND, last + BEND))
            step = np.array([last, 0.0])
            self.tick(self.row + step)
        self.step = last

    def brake(self):
        while self.step > BEND * 1.001:
            self.step -= BEND
            self.tick(self.row + [self.step, 0.0], "hold: starved", Mode.STARVED)
        self.step = 0.0

    def broken(self):
        """What the watcher calls broken, by the invariant's letter."""
        self.watcher.settle()
        return {problem[1] for problem in self.watcher.problems}


def test_a_motion_that_keeps_everything_is_no_violation():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(30)
    bench.brake()
    bench.hold(20)
    bench.go(20)
    assert not bench.broken(), bench.watcher.problems
    assert bench.watcher.worst["b: acceleration"][0] > 0.99, "it was seen"
    assert bench.watcher.worst["a: motion begins"][0] > 0.5


def test_a_command_far_from_an_arm_that_was_moved():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.brake()
    bench.hold(5)
    held = bench.watcher.disturb("a hand", bench.now_s)
    bench.arm.torque_off()
    bench.arm.lead(np.array([-0.15, 0.0]), speed=5.0)
    bench.hold(10)
    held[2] = bench.now_s
    bench.go(3)
    assert "a" in bench.broken()


def test_one_that_begins_where_the_arm_was_moved_to_within_the_tolerance():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(10, 0.3)
    bench.brake()
    bench.hold(5)
    held = bench.watcher.disturb("a hand", bench.now_s)
    bench.arm.drivers["g"].latches = False
    bench.arm.torque_off()
    bench.arm.lead(bench.arm.pose - [0.1, 0.0], speed=5.0)
    bench.hold(10)
    bench.arm.release()
    held[2] = bench.now_s
    bench.row = np.array(bench.arm.pose)
    bench.go(10)
    assert not bench.broken(), bench.watcher.problems


def test_full_speed_after_periods_in_which_nothing_was_sent():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.watcher.stall(True, bench.now_s)
    bench.pass_(0.4)
    bench.watcher.stall(False, bench.now_s)
    bench.go(3)
    assert bench.broken() >= {"b"}


@pytest.mark.parametrize("lost", [0, 9])
def test_messages_that_did_not_reach_us_are_no_standstill(lost):
    """As their publisher's numbers tell, whatever its ticks say."""
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.pass_(9 * PERIOD_S)
    bench.number += lost
    bench.go(5)
    broken = bench.broken()
    if lost:
        assert not broken, bench.watcher.problems
        assert bench.watcher.counts["messages not heard"] == lost
    else:
        assert broken == {"b"}


def test_a_step_that_is_too_large():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.tick(bench.row + [1.2 * STEP, 0.0])
    assert "b" in bench.broken()


def test_rows_that_come_in_a_burst():
    bench = Bench(lag_s=0.05)
    bench.pass_(0.2)
    bench.go(20)
    for i in range(8):
        bench.watcher.on_sent(
            bench.arm.take("g", bench.now_s + i * 1e-3, bench.row + [STEP * (i + 1), 0.0], b"ours")
        )
    bench.pass_(0.2)
    assert "b" in bench.broken()


def test_a_late_tick_is_none():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.tick(bench.row + [STEP, 0.0], late_s=0.012)
    bench.go(5)
    assert not bench.broken(), bench.watcher.problems


def test_motion_that_ends_unbraked():
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.hold(10)
    bench.step = 0.0
    bench.go(3)
    assert "b" in bench.broken()


@pytest.mark.parametrize("sends", [True, False])
def test_messages_to_an_arm_at_rest(sends):
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.brake()
    bench.hold(20, sends=sends)
    assert bench.broken() == ({"c"} if sends else set()), bench.watcher.problems


@pytest.mark.parametrize("anew", [True, False])
def test_a_run_that_goes_on_after_a_guard(anew):
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.brake()
    bench.hold(3, mode=Mode.STOPPED, reason="hold: b is 0.4 from …: the arm was moved; call …")
    bench.epoch += anew
    bench.k *= not anew
    bench.row = np.array(bench.arm.pose)
    bench.go(3)
    assert bench.broken() == (set() if anew else {"d"}), bench.watcher.problems


def test_a_guard_that_doesnt_see_an_arm_that_doesnt_follow():
    bench = Bench()
    bench.pass_(0.2)
    bench.watcher.disturb("emergency stop", bench.now_s)
    bench.arm.torque_off()
    bench.go(60)
    assert bench.broken() >= {"a", "d"}


@pytest.mark.parametrize("behind", [0, 11])  # ticks: 0.22 where 0.3 may be
def test_joint_states_that_stop_are_allowed_what_was_behind_their_timeout_and_no_more(behind):
    bench = Bench()
    bench.pass_(0.2)
    bench.go(20)
    bench.watcher.disturb("emergency stop", bench.now_s)
    bench.arm.torque_off()
    bench.go(behind)
    bench.blind = True
    bench.go(round(CONTROLLER["joint_state_timeout"] / PERIOD_S))
    bench.brake()
    assert not bench.broken(), bench.watcher.problems
    bench.go(20)
    assert "a" in bench.broken()


def spline(rows, first_s, *, central=False):
    """Points on the uniform cubic B-spline of ``rows``, or with central differences."""
    rows = np.array(rows)
    knots = rows[1:-1] if central else (rows[:-2] + 4 * rows[1:-1] + rows[2:]) / 6
    speeds = (rows[2:] - rows[:-2]) / (2 * PERIOD_S)
    knots = np.concatenate([knots, knots[-1:]])
    speeds = np.concatenate([speeds, 0 * speeds[-1:]])
    times = first_s + PERIOD_S * np.arange(len(knots))
    return Trajectory(times, knots, speeds, np.full(knots.shape, np.nan))


def rows_of_a_start(bend=BEND):
    """From rest to full speed and to rest again, at the acceleration limit."""
    steps = np.minimum(np.arange(1, 8) * bend, STEP)
    steps = np.concatenate([steps, np.full(10, STEP), steps[::-1]])
    places = np.concatenate([np.zeros(4), np.cumsum(steps), np.full(3, steps.sum())])
    return np.stack([places, 0 * places], axis=1)


@pytest.mark.parametrize(("central", "bend"), [(False, BEND), (True, BEND), (False, 2 * BEND)])
def test_what_a_trajectory_driver_makes_between_points(central, bend):
    bench = Bench(CHUNK)
    bench.pass_(0.2)
    bench.tick(spline(rows_of_a_start(bend), 1.5 * PERIOD_S, central=central))
    for _ in range(30):
        bench.tick()
    bench.tick(spline([bench.arm.pose] * 5, PERIOD_S))
    assert bench.broken() == ({"b"} if central or bend > BEND else set()), bench.watcher.problems


@pytest.mark.parametrize("shift", [0, 1])
def test_what_joins_two_chunks(shift):
    bench = Bench(CHUNK)
    rows = rows_of_a_start()
    bench.pass_(0.2)
    bench.tick(spline(rows, 1.5 * PERIOD_S))
    for _ in range(9):
        bench.tick()
    bench.tick(spline(rows[10 + shift :], 1.5 * PERIOD_S))
    for _ in range(30):
        bench.tick()
    bench.tick(spline([bench.arm.pose] * 5, PERIOD_S))
    assert bench.broken() == ({"b"} if shift else set()), bench.watcher.problems


@pytest.mark.parametrize(("place", "letter"), [(0.04, ""), (0.08, ""), (0.16, "a"), (-0.06, "a")])
def test_a_driver_of_chunks_is_sent_to_its_arm_or_between_them_and_nowhere_else(place, letter):
    """Its load holds the arm 0.08 from where its driver stands when a new run begins."""
    bench = Bench(CHUNK)
    bench.pass_(0.2)
    bench.tick(spline(np.zeros((5, 2)), 1.5 * PERIOD_S))
    bench.arm.push(np.array([0.08, 0.0]))
    bench.hold(30)
    bench.epoch, bench.k = 2, 0
    way = Trajectory(np.array([1.0]), np.array([[place, 0.0]]), np.zeros((1, 2)), np.zeros((1, 2)))
    bench.tick(way, "hold: until the driver has come to where motion begins")
    for _ in range(60):
        bench.tick(None, "hold: until the driver has come to where motion begins")
    assert bench.broken() == set(letter), bench.watcher.problems


# ------------------------------------------------------------------------- set points

POINTS = 5
POINT_S = PERIOD_S / POINTS
FINE_STEP, FINE_BEND = SPEED * POINT_S, ACCELERATION * POINT_S**2


class PointBench(Bench):
    """A controller that sends five set points in each period, the last one right before the next
    tick."""

    def __init__(self):
        super().__init__()
        self.watcher = Invariants(
            self.node, Promises.of({**PARAMETERS, "command_rate": 1 / POINT_S}, 2)
        )
        self.number = self.step = 0
        self.pass_(0.2)

    def period(self, speed=SPEED, *, sent=POINTS, row=None, lost=(), waits_s=0.0, sending_s=0.0):
        """Send as many set points; the third one waits ``waits_s`` longer, and those that are
        ``lost`` aren't heard of. The tick calls the last one the row, or ``row``."""
        at_s, messages = self.now_s, []
        for i in range(sent):
            self.step = np.clip(speed * POINT_S, self.step - FINE_BEND, self.step + FINE_BEND)
            self.row = self.row + [self.step, 0.0]
            late_s = waits_s if i == 2 else 0.0
            messages.append((at_s + (i + 1) * POINT_S - 1e-4 + late_s, self.row))
        told = {
            "a": self.row[0] if row is None else row, "b": self.row[1],
            "rtc/mode": Mode.RUNNING, "rtc/step_epoch": 1, "rtc/step": self.k,
            "rtc/lateness_us": self.k, "rtc/points": sent, "rtc/unsent": POINTS - sent,
            "rtc/sending_us": sending_s * 1e6,
        }  # fmt: skip
        message = JointState(name=list(told), position=[float(v) for v in told.values()])
        message.header.frame_id = "execute"
        message.header.stamp.sec = int(at_s)
        message.header.stamp.nanosec = round(at_s % 1 * 1e9)
        self.k, self.ticks = self.k + 1, self.ticks + 1
        self.watcher.on_executed(message, number=self.ticks)
        for i, (sent_s, what) in enumerate(messages):
            self.arm.advance(sent_s)
            self.number += 1
            if i not in lost:
                taken = self.arm.take("g", sent_s, what, b"ours", number=self.number)
                self.watcher.on_sent(taken)
        self.pass_(PERIOD_S)

    def hold(self, ticks):
        """Hold at rest: nothing is sent."""
        for _ in range(ticks):
            self.tick(None, "hold: starved", Mode.STARVED)
            self.watcher._ticks_in[-1] = replace(self.watcher._ticks_in[-1], points=0)

    def stand(self):
        """Let the driver stand, where it was told last."""
        self.step = 0.0

    def broken(self):
        for _ in range(3):
            self.period()
        return super().broken()


def test_set_points_within_all_limits_are_no_violation():
    bench = PointBench()
    for speed in (*[SPEED] * 20, *[0.0] * 10, *[-SPEED] * 20):
        bench.period(speed)
    assert not bench.broken(), bench.watcher.problems
    assert bench.watcher.worst["b: acceleration"][0] > 0.99
    assert bench.watcher.counts["rows reached by set points"] > 45


@pytest.mark.parametrize(
    ("wrong", "letter"),
    [
        ({"row": 9.0}, "e"),  # the last one isn't the row
        ({"lost": ()}, ""),
        ({"lost": (0, 3)}, ""),  # its reader lost them, as their numbers tell
        ({"waits_s": 0.4 * POINT_S}, ""),
        ({"waits_s": 0.7 * POINT_S}, "b"),  # to a driver that stands, and it goes on
        ({"waits_s": 0.7 * POINT_S, "sending_s": 0.3 * POINT_S}, ""),  # decided in time
    ],
)
def test_one_period_of_set_points(wrong, letter):
    bench = PointBench()
    for _ in range(20):
        bench.period()
    bench.period(**wrong)
    assert bench.broken() == set(letter), bench.watcher.problems


def test_a_set_point_that_is_said_to_be_sent_and_wasnt():
    bench = PointBench()
    for _ in range(20):
        bench.period()
    bench.period(sent=4)
    bench.watcher._ticks_in[-1] = replace(bench.watcher._ticks_in[-1], points=5, unsent=0)
    assert "e" in bench.broken()


@pytest.mark.parametrize("stands", [True, False])
@pytest.mark.parametrize("sent", [0, 3])
def test_after_a_period_that_was_cut_motion_begins_from_rest(stands, sent):
    bench = PointBench()
    for _ in range(20):
        bench.period()
    bench.period(sent=sent)
    if stands:
        bench.stand()
    assert bench.broken() == (set() if stands else {"b"}), bench.watcher.problems


def test_set_points_that_end_unbraked():
    bench = PointBench()
    for _ in range(20):
        bench.period()
    bench.hold(10)
    bench.stand()
    assert "b" in bench.broken()


def test_one_set_point_that_goes_too_far():
    bench = PointBench()
    for _ in range(20):
        bench.period()
    bench.step = 1.5 * FINE_STEP
    bench.period()
    assert "b" in bench.broken()


@pytest.mark.parametrize(("off", "letter"), [(0.035, ""), (0.12, "a")])
def test_set_points_after_a_long_hold_begin_within_what_the_arm_was_behind_before_it(off, letter):
    """Something pushed the arm 0.2 s before the hold; the guard learns of the arm's lag in motion
    only, so that those 90 mrad are in it however long the hold is, and no more than they."""
    bench = PointBench()
    for _ in range(10):
        bench.period(0.3)
    hand = bench.watcher.disturb("a hand", bench.now_s)
    for i in range(8):
        bench.arm.push(np.array([0.09 * (i > 1), 0.0]))
        bench.period(0.3)
    hand[2] = bench.now_s
    for _ in range(8):
        bench.period(0.3)
    for _ in range(4):
        bench.period(0.0)
    bench.hold(200)
    # It still stands 90 mrad ahead of what it was told last, and motion goes on beside it.
    bench.row = bench.arm.pose - [off, 0.0]
    bench.watcher.disturb("it still pushes", bench.now_s + 1.5 * POINT_S)
    bench.stand()
    assert bench.broken() == set(letter), bench.watcher.problems
