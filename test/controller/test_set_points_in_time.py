"""Set points between the rows, on a clock of the test: sent in time, or not at all."""

import random

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header, MultiArrayLayout
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rtc_ros.controller import tick
from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.controller.tick import ControlTick
from rtc_ros.controller.ticker import DeadlineTicker
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits

DT, NS, A, M = 0.02, 20_000_000, 3, 5
H = DT / M
V, ACC = 1.0, 8.0
LIMITS = JointLimits.from_velocity([-9.0] * A, [9.0] * A, [V] * A, DT, [ACC] * A)
SMOOTH = JointLimits.from_velocity(
    [-9.0] * A, [9.0] * A, [V] * A, DT, [ACC] * A, max_jerk=[ACC / DT] * A
)
FINE = LIMITS.per_point(M)


class Deadlines(DeadlineTicker):
    """Deadlines on the robot's clock, each met ``late()`` seconds late."""

    def __init__(self, robot):
        super().__init__(DT, robot.tick, points=M, on_point=lambda i: robot.control.send(i))
        self._robot, self._deadline_ns = robot, NS

    def _now_ns(self):
        return self._robot.now_ns

    def _wait_until(self, due_ns):
        robot = self._robot
        robot.now_ns = max(robot.now_ns, due_ns) + round(robot.late() * 1e9)
        return robot.now_ns - due_ns

    def period(self):
        """Do what the thread does in a period."""
        self._wait_until(self._deadline_ns)
        self._do(self._ticked, 0.0, self.lost())
        self._send_points()
        self._deadline_ns += NS


class Robot:
    """One driver of rows; what it was sent when, and the executed commands as they came to be."""

    def __init__(self, seed=0, kind="joint_state", limits=LIMITS):
        self.chance = random.Random(seed)
        self.now_ns, self.sent, self.executed, self.messages = 0, [], [], set()
        self.pose, self.moved = np.zeros(A), np.zeros(A)
        self.late, self.busy, self.problem = lambda: 0.0, lambda: 0.0, ""
        default = np.full(A, 0.3)
        guards = Guards(tuple("abc"), limits, default, default, DT)
        self.controller = Controller(limits, 0, guards, M)
        joints = tuple("cab")
        group = CommandGroup(
            self, GroupParameters("arm", "arm", kind, joints, joints, "", 0.0), tuple("abc"),
            DT, limits, points=M,
        )  # fmt: skip
        self.ticker = Deadlines(self)
        self.chunk, self.seq, self.held = None, 0, None
        self.control = ControlTick(
            self.controller, [group],
            newest=lambda _: self.chunk, look=self._look, lost=self.ticker.lost,
            late_s=self.ticker.late_s, clock_s=self.ticker.clock_s, stamp=self._stamp,
            now_ns=lambda: self.now_ns, period_s=DT,
        )  # fmt: skip
        self.controller.start(1, np.zeros(A))

    def create_publisher(self, *_, **__):
        robot = self

        class Publisher:
            def publish(self, message):
                robot.messages.add(id(message))
                if isinstance(message, JointTrajectory):
                    values = message.points[0].positions
                else:
                    values = message.position if hasattr(message, "position") else message.data
                row = np.array(values)[[1, 2, 0]]
                robot.sent.append((robot.now_ns * 1e-9, row))

        return Publisher()

    def _look(self, missed):
        pose = self.sent[-1][1] + self.moved if self.sent else self.pose
        return Arm(pose, np.full(A, self.now_ns), self.problem)

    def _stamp(self):
        self.now_ns += round(self.busy() * 1e9)
        return Time()

    def tick(self, late_s, missed):
        done = self.control.run(missed)
        if self.held is not None:
            ended = self.control.ended
            self.executed.append(self.held if ended is None else ended.command)
        self.held = done[-1].command if done else None

    def give(self, rows=30):
        """Write a chunk that goes on from what the last one would have been, and bends away."""
        state, self.seq = self.controller.state, self.seq + 1
        at = np.zeros(A) if state.target is None else state.target
        bends = [[self.chance.gauss(0, 0.12) for _ in range(A)] for _ in range(rows)]
        speeds = np.cumsum(np.array(bends), axis=0) + state.last_step / H
        actions = at + np.cumsum(np.clip(speeds, -1.2, 1.2) * DT, axis=0)
        self.chunk = ActionChunk(actions, state.player.step, step_epoch=1, epoch=1, seq=self.seq)

    def drive(self, periods):
        next_chunk = 0
        for i in range(periods):
            if i >= next_chunk:
                self.give()
                next_chunk = i + self.chance.choice((3, 8, 12, 45))
            self.ticker.period()

    def judged(self):
        """Return (largest step, largest bend) of the messages; who waits 1.5 of them stands."""
        times = np.array([-1.0, *(at for at, _ in self.sent)])
        rows = np.array([np.zeros(A), *(row for _, row in self.sent)])
        steps, waited = np.diff(rows, axis=0), np.diff(times) / H
        bends, last = [], np.zeros(A)
        for step, wait in zip(steps, waited, strict=True):
            last = np.zeros(A) if wait > 1.5 + 1e-6 else last
            bends.append(np.abs(step - last).max())
            last = step
        return np.abs(steps).max(), max(bends), waited[1:]


@pytest.mark.parametrize("kind", ["joint_state", "float64_multi_array"])
def test_a_period_is_sent_as_m_messages_a_fifth_of_it_apart_made_once(kind):
    robot = Robot(kind=kind)
    robot.drive(30)
    times = np.array([at for at, _ in robot.sent])
    np.testing.assert_allclose(np.diff(times), H, atol=1e-9)
    assert len(robot.sent) == 30 * M and robot.control.points_unsent == 0
    assert len(robot.messages) == M, "no message is made anew"
    rows = [row for _, row in robot.sent]
    np.testing.assert_array_equal(rows[M - 1 :: M], [c.row for c in robot.executed + [robot.held]])
    ticks = np.arange(2, 32) * DT
    np.testing.assert_allclose(times[M - 1 :: M], ticks, atol=1e-9)  # reached at the next tick


@pytest.fixture
def for_ever(monkeypatch):
    """Let no gate close, however often set points are late."""
    monkeypatch.setattr(tick, "_TOO_FAR_BEHIND", float("inf"))


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("joint_state", (JointState, Header)),
        ("float64_multi_array", (Float64MultiArray, MultiArrayLayout)),
        ("joint_trajectory", (JointTrajectory, JointTrajectoryPoint, Duration, Header)),
    ],
)
def test_sending_a_set_point_makes_no_message(kind, classes, monkeypatch):
    """Nor one of the messages in it: what a period is sent is made when the node begins."""
    made = []
    for each in classes:
        begin = each.__init__

        def counted(self, *args, _begin=begin, **values):
            made.append(type(self))
            _begin(self, *args, **values)

        monkeypatch.setattr(each, "__init__", counted)
    robot = Robot(kind=kind)
    assert made, "those were counted"
    made.clear()
    robot.drive(60)
    assert len(robot.sent) > 30 * M and made == []


LATE = {
    "jitter": lambda r: r.expovariate(1 / 0.0003),
    "often half a set point": lambda r: r.choice((0, 0, 0, 0.4, 0.6, 1.2)) * H,
    "stalls of any length": lambda r: r.choice((0,) * 40 + (0.3, 1, 3, 8, 30)) * H * r.random(),
}


@pytest.mark.parametrize("how", LATE)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limits", [LIMITS, SMOOTH], ids=["", "jerk limit"])
def test_whatever_is_late_the_driver_sees_no_step_or_bend_beyond_the_limits(
    for_ever, how, seed, limits
):
    robot = Robot(seed, limits=limits)
    robot.late = lambda: LATE[how](robot.chance)
    robot.busy = lambda: robot.chance.choice((0.0005,) * 20 + (0.003, 0.007, 0.018, 0.05))
    robot.drive(600)
    step, bend, waited = robot.judged()
    assert step <= FINE.max_step[0] * (1 + 1e-9)
    assert bend <= FINE.max_bend[0] * (1 + 1e-9)
    assert robot.controller.state.counts["steps"] > 300, "and it goes on"
    if how != "jitter":
        assert robot.control.points_unsent > 10
    # No burst: a set point that was late isn't caught up with.
    assert (waited > 0.45).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_to_be_executed_is_what_was_sent_last(for_ever, seed):
    """Each ~/executed row, and A_prev's history, is where its driver was left."""
    robot = Robot(seed)
    robot.late = lambda: robot.chance.choice((0, 0, 0, 0, 0.7, 2)) * H
    rows, history = [np.zeros(A)], []
    for i in range(400):
        if i % 9 == 0:
            robot.give()
        robot.ticker.period()
        rows.append(robot.sent[-1][1] if robot.sent else rows[-1])
        step = robot.executed[-1].played.step if robot.executed else -1
        if step >= 0 and robot.executed[-1].executes:
            history.append(robot.controller.cursor(0).executed(step))
            np.testing.assert_array_equal(history[-1], robot.executed[-1].row)
    cuts = [c for c in robot.executed if c.sends and len(c.points) < M]
    assert len(cuts) > 20
    np.testing.assert_array_equal([c.row for c in robot.executed], rows[1:-1])


def test_where_decisions_take_longer_than_set_points_the_gate_closes_and_says_the_numbers():
    """It would move in starts for ever: 20 of them a second, each within the limits."""
    robot = Robot(1)
    robot.busy = lambda: 2 * H
    robot.drive(12)
    state = robot.controller.state
    assert state.mode is Mode.STOPPED and robot.control.points_unsent >= 10
    for said in ("in starts", "decision took 8.0 ms", "due every 4 ms", "command_rate", "~/start"):
        assert said in state.problem
    robot.drive(20)
    step, bend, _ = robot.judged()
    assert step <= FINE.max_step[0] and bend <= FINE.max_bend[0] * (1 + 1e-9)
    sent = len(robot.sent)
    robot.drive(20)
    assert robot.controller.settled and len(robot.sent) == sent


@pytest.mark.parametrize(("each", "closes"), [(2, True), (4, False)])
def test_it_closes_where_it_is_so_in_more_than_every_third_period(each, closes):
    robot, count = Robot(1), iter(range(10**6))
    robot.busy = lambda: 0.0 if next(count) % each else 2 * H
    robot.drive(200)
    assert (robot.controller.state.mode is Mode.STOPPED) is closes


def test_a_stop_brakes_by_set_points_and_sends_nothing_at_rest():
    robot = Robot(2)
    robot.drive(40)
    speed = np.abs(robot.controller.state.last_step).max() / H
    count = len(robot.sent)
    robot.controller.stop()
    for _ in range(40):
        robot.ticker.period()
    assert robot.controller.settled and robot.controller.state.mode is Mode.STOPPED
    braking = (len(robot.sent) - count) / M
    assert braking <= np.ceil(speed / ACC / DT) + 1
    step, bend, _ = robot.judged()
    assert bend <= FINE.max_bend[0] * (1 + 1e-9)
    sent = len(robot.sent)
    for _ in range(50):
        robot.ticker.period()
    assert len(robot.sent) == sent
    # And begins again, long after, without being told that it stood still meanwhile.
    robot.controller.start(1, robot.sent[-1][1])
    robot.give()
    robot.ticker.period()
    robot.ticker.period()
    assert len(robot.sent) == sent + 2 * M


def test_a_tick_that_fails_sends_no_old_set_points():
    robot = Robot(3)
    robot.drive(10)
    sent = len(robot.sent)

    def fails():
        raise RuntimeError("a defect")

    robot.control._stamp = fails
    with pytest.raises(RuntimeError, match="a defect"):
        robot.control.run(0)
    assert not robot.control.send(0) and len(robot.sent) == sent


def test_a_run_of_which_nothing_was_sent_begins_where_the_arm_then_is():
    """The machine took the time between the first decision and its first set point."""
    robot = Robot(4)
    robot.give()
    send = robot.control.send
    robot.control.send = lambda index: False
    robot.ticker.period()
    assert not robot.sent and robot.controller.state.player.step == 1
    robot.control.send = send
    robot.pose = np.array([0.2, 0.0, -0.1])  # somebody moved it, within the tolerances
    for _ in range(12):  # until it has been seen at rest
        robot.ticker.period()
    _, row = robot.sent[0]
    assert np.abs(row - robot.pose).max() <= FINE.max_bend[0] * (1 + 1e-9)


@pytest.mark.parametrize("stall_s", [0.03, 0.7])
def test_a_run_whose_first_set_point_comes_late_begins_where_the_arm_then_is(stall_s):
    """The process stood still between the two, and a hand moved the arm meanwhile."""
    robot, place = Robot(6), np.array([0.5, 0.0, -0.3])
    robot.give()

    def late():
        if robot.controller.state.player.step == 1 and not robot.sent and (robot.pose == 0).all():
            robot.pose = place
            return stall_s
        return 0.0

    robot.late = late
    for _ in range(30):
        robot.ticker.period()
    assert (robot.pose == place).all(), "it stood still when it should"
    assert np.abs(robot.sent[0][1] - place).max() <= FINE.max_bend[0] * (1 + 1e-9)
    assert len(robot.sent) > 10 * M, "and it goes on"


def test_set_points_far_apart_are_no_pause(monkeypatch):
    """Of a slow policy they may be farther apart than what counts as a pause of the machine."""
    monkeypatch.setattr(tick, "_PAUSE_NS", round(0.5 * H * 1e9))
    robot = Robot(7)
    robot.drive(30)
    assert len(robot.sent) == 30 * M and robot.control.points_unsent == 0


def test_so_does_one_that_goes_on_after_a_hold():
    """It gave way while it was held, and once more before the first set point could be sent."""
    robot = Robot(5)
    robot.give(rows=10)
    for _ in range(40):
        robot.ticker.period()
    assert robot.controller.state.mode is Mode.STARVED
    rest = robot.sent[-1][1]
    robot.moved, sent = np.array([0.12, 0.0, 0.0]), len(robot.sent)
    for _ in range(30):
        robot.ticker.period()
    robot.give()
    send, robot.control.send = robot.control.send, lambda index: False
    robot.ticker.period()
    assert robot.controller.state.mode is Mode.RUNNING and len(robot.sent) == sent
    robot.control.send, robot.moved = send, np.array([0.24, 0.0, 0.0])
    for _ in range(30):
        robot.ticker.period()
    first = robot.sent[sent][1] - rest - robot.moved
    assert np.abs(first[0]) <= 0.04, "beside the arm, within its own lag"
