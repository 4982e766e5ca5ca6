"""The real tick and command groups, an arm double that obeys, and a clock of the test."""

import numpy as np
from arm_double import Arm, Course, Driver, Trajectory
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.controller.tick import ControlTick
from rtc_ros.core import guards
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.limits import JointLimits

DT, NS = 0.02, 20_000_000
V, ACC = 1.0, 8.0
STATES_NS = 10_000_000


class ObeyingRobot:
    """One driver of joints a and b, of a ``kind``; joint states at 100 Hz unless ``silent``.

    With ``wraps`` its encoders go from half a turn to minus half a turn.
    Each deadline is met, but for those of a ``stall``. ``sent`` holds (seconds, message, where the
    arm then was). ``slow``: a simulator's seconds take so many of the process's clock.
    """

    def __init__(
        self, kind, *, lag_s=0.03, timeout_s=0.5, latches=True, resume=0.3, following=0.3,
        states_ns=STATES_NS, dt=DT, acc=ACC, slow=1, span=9.0, wraps=False, **limits,
    ):  # fmt: skip
        self.limits = JointLimits.from_velocity(
            [-span] * 2, [span] * 2, [V] * 2, dt, [acc] * 2, **limits
        )
        self._wraps = wraps
        joints, both = ("a", "b"), np.ones(2)
        self.dt, self.ns, self.states_ns, self.fault = dt, round(dt * 1e9), states_ns, ""
        self._slow = slow
        self.now_ns, self.sent, self.silent, self.timeout_s = 10**9, [], False, timeout_s
        self.driver = Driver("arm", kind, [0, 1], latches=latches)
        self.arm = Arm(joints, [self.driver], lag_s=lag_s, speed=5.0, pose=np.zeros(2))
        group = GroupParameters("arm", "arm", kind, joints, joints, "", 0.0)
        self.group = CommandGroup(self, group, joints, dt, self.limits)
        judges = guards.Guards(
            joints, self.limits, resume * both, following * both, dt,
            np.full(2, self.group.behind),
        )  # fmt: skip
        self.controller = Controller(self.limits, 0, judges)
        self.control = ControlTick(
            self.controller, [self.group],
            newest=self._newest, look=self._look, lost=lambda: 0, late_s=lambda: 0.0,
            stamp=Time, now_ns=lambda: self._slow * self.now_ns, period_s=dt,
        )  # fmt: skip
        self.chunk, self.seq, self.epoch, self._missed = None, 0, 0, 0
        self._seen, self._seen_ns = np.zeros(2), self.now_ns
        self.run(round(0.4 / dt))

    def create_publisher(self, kind, topic, *_, **__):
        robot = self

        class Publisher:
            def publish(self, message):
                if kind is JointTrajectory:
                    message = Trajectory.of(deserialize_message(message, kind), ("a", "b"))
                else:
                    message = np.array(message.data)
                at = robot.now_ns * 1e-9
                robot.sent.append((at, message, robot.arm.advance(at).copy()))
                robot.arm.take(topic, at, message, b"", at)

        return Publisher()

    def _newest(self, epoch):
        chunk, self.chunk = self.chunk, None
        return chunk

    def _look(self, missed):
        age_s = (self.now_ns - self._seen_ns) * 1e-9
        problem = f"the joint state is {age_s:.2f} s old" if age_s > self.timeout_s else ""
        heard_ns = np.full(2, self._slow * self._seen_ns)
        return guards.Arm(self._seen, heard_ns, self.fault or problem)

    @property
    def state(self):
        return self.controller.state

    def start(self):
        self.epoch += 1
        self.controller.start(self.epoch, self._seen)

    def give(self, rows):
        self.seq += 1
        rows = np.broadcast_to(np.asarray(rows, float)[:, None], (len(rows), 2))
        self.chunk = ActionChunk(
            rows, self.state.player.step, step_epoch=self.epoch, epoch=1, seq=self.seq
        )

    def run(self, ticks=1):
        for _ in range(ticks):
            self._pass(self.ns)
            missed, self._missed = self._missed, 0
            self.control.run(missed)

    def stall(self, periods):
        """Let time pass in which nobody ticks or hears; the next ``run`` is the first tick."""
        self._missed += self.lose(periods)

    def lose(self, periods):
        """Let time pass in which nobody ticks or hears; return how much."""
        heard = self._seen, self._seen_ns
        self._pass(periods * self.ns)
        self._seen, self._seen_ns = heard
        return periods

    def _pass(self, ns):
        end_ns = self.now_ns + ns
        first = (self.now_ns // self.states_ns + 1) * self.states_ns
        for at_ns in range(first, end_ns + 1, self.states_ns):
            pose = self.arm.advance(at_ns * 1e-9)
            if self._wraps:
                pose = (pose + np.pi) % (2 * np.pi) - np.pi
            if not self.silent:
                self._seen, self._seen_ns = pose.copy(), at_ns
        self.now_ns = end_ns

    def driven(self, since_s=0.0):
        """Return the largest speed and acceleration of what the driver of chunks makes of it."""
        _, v, a = self._course(since_s)
        return np.array([np.abs(v).max(), np.abs(a).max()])

    def bends(self, since_s=0.0):
        """Return by how much its acceleration, 0 at first, changes within a period, [T, 2]."""
        _, _, a = self._course(since_s)
        before = np.zeros((round(self.dt / 0.002), 2))
        return a - np.concatenate([before, a])[: len(a)]

    def _course(self, since_s):
        course, parts = Course.rest(0.0, np.zeros(2)), []
        ends = [at for at, _, _ in self.sent[1:]] + [self.now_ns * 1e-9]
        for (at, trajectory, _), end in zip(self.sent, ends, strict=True):
            course = Course.after(course, at, trajectory)
            times = np.arange(at + 1e-6, end, 0.002)
            if at >= since_s:
                parts.append(course.at(times))
        return [np.concatenate(each) for each in zip(*parts, strict=True)]
