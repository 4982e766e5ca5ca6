"""Ticks that are late at random, on a clock of the test: what the drivers make of that."""

import random

import numpy as np
import pytest
from arm_double import Course, Trajectory
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.controller.tick import ControlTick
from rtc_ros.controller.ticker import _Ticker
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits

DT, NS, A = 0.02, 20_000_000, 3
V, ACC = 1.0, 8.0


class Deadlines(_Ticker):
    """Deadlines on the robot's clock."""

    def __init__(self, robot):
        super().__init__(DT, robot.tick, "")
        self._robot = robot
        self._deadline_ns = NS

    def _now_ns(self):
        return self._robot.now_ns

    def once(self, late):
        """Do what DeadlineTicker does in a period, ``late`` periods after the deadline."""
        self._robot.now_ns = max(self._robot.now_ns, self._deadline_ns + round(late * NS))
        self._do(self._ticked, 0.0, self.lost())
        self._deadline_ns += NS


class Robot:
    """Two drivers, one of chunks (a, b) and one of rows (c), and what they were sent when."""

    def __init__(self, seed, guards=False, **limits):
        self.chance = random.Random(seed)
        self.now_ns, self.sent = 0, {"chunks": [], "rows": []}
        self.busy, self.problem = lambda: 0.0, lambda: ""
        self.limits = JointLimits.from_velocity(
            [-9.0] * A, [9.0] * A, [V] * A, DT, [ACC] * A, **limits
        )
        default = np.full(A, 0.3)
        judges = Guards(tuple("abc"), self.limits, default, default, DT)
        self.controller = Controller(self.limits, 0, judges if guards else None)
        groups = [
            CommandGroup(self, GroupParameters(name, name, kind, joints, joints, "", 0.0),
                         tuple("abc"), DT, self.limits)
            for name, kind, joints in (
                ("chunks", "joint_trajectory_chunk", ("a", "b")), ("rows", "joint_state", ("c",)),
            )
        ]  # fmt: skip
        self.ticker = Deadlines(self)
        self.chunk, self.seq = None, 0
        self.control = ControlTick(
            self.controller, groups,
            newest=lambda _: self.chunk, look=self._look, lost=self.ticker.lost,
            late_s=self.ticker.late_s, stamp=self._stamp, now_ns=lambda: self.now_ns, period_s=DT,
        )  # fmt: skip
        self.controller.start(1, np.zeros(A))

    def create_publisher(self, kind, topic, *_, **__):
        robot, sent = self, self.sent[topic]

        class Publisher:
            def publish(self, message):
                if kind is JointTrajectory:
                    message = Trajectory.of(deserialize_message(message, kind), ("a", "b"))
                sent.append((robot.now_ns * 1e-9, message))

        return Publisher()

    def _look(self, missed):
        pose = self.controller.state.target
        pose = np.zeros(A) if pose is None else pose
        return Arm(pose, np.full(A, self.now_ns), self.problem())

    def _stamp(self):
        self.now_ns += round(self.busy() * NS)
        from builtin_interfaces.msg import Time

        return Time()

    def tick(self, late_s, missed):
        self.control.run(missed)

    def give(self, rows=30):
        """Write a chunk that goes on from what the last one would have been, and bends away."""
        state, self.seq = self.controller.state, self.seq + 1
        at = np.zeros(A) if state.target is None else state.target
        speeds = np.cumsum(np.array([
            [self.chance.gauss(0, 0.12) for _ in range(A)] for _ in range(rows)
        ]), axis=0) + state.last_step / DT  # fmt: skip
        actions = at + np.cumsum(np.clip(speeds, -1.2, 1.2) * DT, axis=0)
        self.chunk = ActionChunk(actions, state.player.step, step_epoch=1, epoch=1, seq=self.seq)

    def drive(self, ticks, late):
        """Let time pass: a chunk every few ticks, sometimes none, sometimes a stop."""
        chance, next_chunk = self.chance, 0
        for tick in range(ticks):
            if tick >= next_chunk:
                self.give()
                next_chunk = tick + chance.choice((3, 8, 12, 45))
            self.ticker.once(late())

    def accelerations(self):
        """Return the largest (speed, acceleration) that the driver of chunks goes with."""
        course, worst = Course.rest(0.0, np.zeros(2)), np.zeros(2)
        messages = self.sent["chunks"]
        ends = [at for at, _ in messages[1:]] + [messages[-1][0] + 2.0]
        for (at, trajectory), end in zip(messages, ends, strict=True):
            course = Course.after(course, at, trajectory)
            times = np.arange(at + 1e-6, end, 0.004)
            inner = course.times[(course.times > at) & (course.times < end)]
            _, v, a = course.at(np.concatenate([times, inner - 1e-7, inner + 1e-7]))
            worst = np.maximum(worst, [np.abs(v).max(), np.abs(a).max()])
        return worst

    def rows_in_time(self):
        """Return the largest (step, change of step) of the rows; who waits long stands."""
        stamps = [at for at, _ in self.sent["rows"]]
        rows = np.array([0.0, *(m.position[0] for _, m in self.sent["rows"])])
        steps = np.diff(rows)
        waited = np.diff([stamps[0] - 1.0, *stamps]) / DT
        before = np.concatenate([[0.0], steps[:-1]])
        going, rested = np.abs(steps - before), np.abs(steps)
        bends = np.where(waited > 1.51, rested, going)
        bends = np.where(np.abs(waited - 1.5) <= 0.01, np.minimum(going, rested), bends)
        return np.abs(steps).max(), bends.max()


LATE = {
    "punctual": lambda c: c.random() * 0.02,
    "a busy machine": lambda c: c.random() * 0.5,
    "often by a period": lambda c: c.choice((0.0, 0.1, 0.3, 0.6, 0.85, 1.2)),
    "stalls": lambda c: c.choice((0.01,) * 20 + (0.4, 1.7, 3.3, 12.0)),
}


@pytest.mark.parametrize("coherent", [False, True])
@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("seed", range(3))
def test_late_ticks_keep_the_limits_in_time(seed, kind, coherent):
    robot = Robot(seed, coherent=coherent)
    robot.drive(250, lambda: LATE[kind](robot.chance))
    speed, acceleration = robot.accelerations()
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC
    step, bend = robot.rows_in_time()
    assert step <= V * DT * (1 + 1e-9) and bend <= ACC * DT**2 * (1 + 1e-6)
    assert robot.controller.state.player.step > 80


def held_for_moments(robot):
    until = [0, 0]

    def problem():
        if robot.now_ns > until[1]:
            until[0] = robot.now_ns + NS * robot.chance.randrange(5, 60)
            until[1] = until[0] + NS * robot.chance.randrange(1, 12)
        return "it isn't seen" if robot.now_ns > until[0] else ""

    robot.problem = problem


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("seed", range(3))
def test_so_does_what_is_held_for_a_moment(seed, kind):
    robot = Robot(seed, guards=True)
    held_for_moments(robot)
    robot.drive(250, lambda: LATE[kind](robot.chance))
    speed, acceleration = robot.accelerations()
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC
    step, bend = robot.rows_in_time()
    assert step <= V * DT * (1 + 1e-9) and bend <= ACC * DT**2 * (1 + 1e-6)


@pytest.mark.parametrize("guards", [False, True])
@pytest.mark.parametrize("max_jerk", [None, 300.0])
@pytest.mark.parametrize("coherent", [False, True])
@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("seed", range(2))
def test_time_that_a_tick_itself_takes_bends_no_curve(seed, kind, coherent, max_jerk, guards):
    """Up to three decisions of it, in which deadlines pass."""
    jerk = None if max_jerk is None else [max_jerk] * A
    robot = Robot(seed, guards, coherent=coherent, max_jerk=jerk)
    if guards:
        held_for_moments(robot)
    robot.busy = lambda: robot.chance.choice((0.0,) * 8 + (0.15, 0.3, 0.6, 1.1))
    robot.drive(150, lambda: LATE[kind](robot.chance))
    speed, acceleration = robot.accelerations()
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC
    assert robot.controller.state.player.step > 40


def test_a_machine_that_is_too_slow_for_any_tick_is_still_stopped():
    robot = Robot(0)
    robot.drive(20, lambda: 0.0)
    robot.busy = lambda: 1.4
    sent = len(robot.sent["chunks"])
    robot.controller.stop()
    for _ in range(4):
        robot.ticker.once(0.0)
    (_, way), *more = robot.sent["chunks"][sent:]
    assert not more and robot.controller.state.stopped
    assert len(way.times) <= np.ceil(V / (ACC * DT)) + 4, "down to rest at once"
