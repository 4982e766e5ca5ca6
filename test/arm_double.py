"""An arm that obeys its messages as the real drivers do, and that can be stopped, held and moved.

Drivers by their documented rules: a position driver goes to what it was told last and holds it; a
joint_trajectory_controller interpolates (``Course``) and holds the end. Joints follow their driver
with a lag, at a limited speed, unless the torque is off: then they stay, sag, or go where a hand
moves them. Each message is noted with the middleware's *source* stamp, where the arm was, and when
the double had it.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtc_ros.ros.sources import Publishers

STEP_S = 0.004
"""Of the arm's own clock: 250 Hz."""
KEPT_S = 300.0
"""How long the past is kept."""

ROWS = (
    "joint_state",
    "float64_multi_array",
    "joint_trajectory",
    "joint_group_command",
    "joint_single_command",
)
CHUNK = "joint_trajectory_chunk"
TRAJECTORIES = ("joint_trajectory", CHUNK)
FLOAT32 = ("joint_group_command", "joint_single_command")


class Course:
    """A trajectory as joint_trajectory_controller follows it, from the state at its message on.

    Between two points: a quintic where both have velocities and accelerations, a cubic where both
    have velocities, else a line. After the last point it rests there.

    Args:
        times: [R] s, increasing; the first is when the message came.
        positions: [R, A].
        velocities, accelerations: [R, A], rows of NaN where a point has none.
    """

    def __init__(
        self,
        times: np.ndarray,
        positions: np.ndarray,
        velocities: np.ndarray | None = None,
        accelerations: np.ndarray | None = None,
    ) -> None:
        nothing = np.full(np.shape(positions), np.nan)
        self.times = np.asarray(times, float)
        self.positions = np.asarray(positions, float)
        self.velocities = nothing if velocities is None else np.asarray(velocities, float)
        self.accelerations = nothing if accelerations is None else np.asarray(accelerations, float)

    @classmethod
    def rest(cls, at_s: float, position: np.ndarray) -> Course:
        """Return the course of an arm that stands."""
        return cls(np.array([at_s]), position[None], np.zeros((1, len(position))))

    @classmethod
    def after(cls, before: Course, begin_s: float, trajectory: Trajectory) -> Course:
        """Return what becomes of ``before`` when a trajectory comes at ``begin_s``."""
        p, v, a = before.at(np.array([begin_s]))
        return cls(
            begin_s + np.concatenate([[0.0], trajectory.times]),
            np.concatenate([p, trajectory.positions]),
            np.concatenate([v, trajectory.velocities]),
            np.concatenate([a, trajectory.accelerations]),
        )

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return position, velocity and acceleration at ``times`` [T], [T, A] each."""
        times = np.atleast_1d(np.asarray(times, float))
        last = len(self.times) - 1
        if len(times) == 1:
            p, v, a = self.now(float(times[0]))
            return p[None], v[None], a[None]
        inside = (times >= self.times[0]) & (times < self.times[last])
        i = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, max(last - 1, 0))
        if last == 0:
            p = np.repeat(self.positions, len(times), axis=0)
            return p, np.zeros_like(p), np.zeros_like(p)
        x = np.clip(times - self.times[i], 0.0, self.times[i + 1] - self.times[i])
        p, v, a = _along(self._segments[:, i], x[:, None])
        ends = np.where((times < self.times[0])[:, None], self.positions[0], self.positions[last])
        outside = ~inside[:, None]
        return np.where(outside, ends, p), np.where(outside, 0.0, v), np.where(outside, 0.0, a)

    def now(self, at_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return position, velocity and acceleration at one time, [A] each."""
        last = len(self.times) - 1
        if last == 0 or not self.times[0] <= at_s < self.times[last]:
            p = self.positions[0 if at_s < self.times[0] else last]
            return p, np.zeros_like(p), np.zeros_like(p)
        i = int(np.searchsorted(self.times, at_s, side="right")) - 1
        return _along(self._segments[:, i], at_s - self.times[i])

    @functools.cached_property
    def _segments(self) -> np.ndarray:
        """The polynomials between the points, [6, R - 1, A]."""
        t = np.diff(self.times)[:, None]
        p, q = self.positions[:-1], self.positions[1:]
        u, v = self.velocities[:-1], self.velocities[1:]
        a, b = self.accelerations[:-1], self.accelerations[1:]
        slope = (q - p) / t
        cubic = np.isfinite(u) & np.isfinite(v)
        quintic = cubic & np.isfinite(a) & np.isfinite(b)
        zero = np.zeros_like(p)
        if not cubic.any():
            return np.array([p, slope, zero, zero, zero, zero])
        u, v = np.nan_to_num(u), np.nan_to_num(v)
        c1, c2, c3 = u, (3 * slope - 2 * u - v) / t, (u + v - 2 * slope) / t**2
        c4, c5 = zero, zero
        if quintic.any():
            a, b = np.nan_to_num(a), np.nan_to_num(b)
            c2 = np.where(quintic, a / 2, c2)
            c3 = np.where(
                quintic,
                (20 * (q - p) - (8 * v + 12 * u) * t - (3 * a - b) * t**2) / (2 * t**3),
                c3,
            )
            c4 = np.where(
                quintic, (-30 * (q - p) + (14 * v + 16 * u) * t + (3 * a - 2 * b) * t**2) / 2, 0.0
            ) / t**4
            c5 = (
                np.where(quintic, (12 * (q - p) - 6 * (v + u) * t - (a - b) * t**2) / 2, 0.0)
                / t**5
            )
        if not cubic.all():
            c1 = np.where(cubic, c1, slope)
            c2, c3 = (np.where(cubic, c, 0.0) for c in (c2, c3))
        return np.array([p, c1, c2, c3, c4, c5])


def _along(c: np.ndarray, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return value, first and second derivative of polynomials ``c`` [6, ...] at ``x``."""
    position = c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * c[5]))))
    velocity = c[1] + x * (2 * c[2] + x * (3 * c[3] + x * (4 * c[4] + 5 * x * c[5])))
    return position, velocity, 2 * c[2] + x * (6 * c[3] + x * (12 * c[4] + 20 * x * c[5]))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The points of a message, columns in the driver's order; NaN where a point has none."""

    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray

    @classmethod
    def of(cls, message: Any, names: Sequence[str]) -> Trajectory:
        """Read a trajectory_msgs/JointTrajectory.

        Raises:
            ValueError: what a joint_trajectory_controller refuses.
        """
        if not message.points or set(message.joint_names) != set(names):
            raise ValueError(f"{len(message.points)} points of {list(message.joint_names)}")
        order = [list(message.joint_names).index(n) for n in names]
        times = np.array([seconds(p.time_from_start) for p in message.points])
        if (np.diff([-1e-9, *times]) <= 0).any():
            raise ValueError("its times don't increase")
        if np.any(message.points[-1].velocities):
            raise ValueError("its last point has a velocity")

        def rows(of: str) -> np.ndarray:
            given = [getattr(p, of) for p in message.points]
            if any(len(g) not in (0, len(names)) for g in given):
                raise ValueError("a point has another number of joints")
            nothing = np.full(len(names), np.nan)
            return np.array([np.array(g)[order] if len(g) else nothing for g in given])

        positions = rows("positions")
        if not np.isfinite(positions).all():
            raise ValueError("a position is missing or not finite")
        return cls(times, positions, rows("velocities"), rows("accelerations"))


@dataclass
class Driver:
    """One command group: its joints, what it was told, and how it treats torque that is off.

    ``latches``: it goes on taking messages meanwhile and goes to the last one at the release, as
    many do. Otherwise it drops them, and holds where the arm stands at the release.
    """

    name: str
    kind: str
    columns: list[int]
    latches: bool = True
    depth: int = 10
    course: Course | None = None
    target: np.ndarray | None = None
    stands: bool = False
    """It takes nothing and moves nothing, as a process that was stopped."""
    queue: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def told(self, at_s: float) -> np.ndarray | None:
        """Return where it wants its joints, None: nobody told it yet."""
        return self.target if self.course is None else self.course.at(np.array([at_s]))[0][0]

    def hold(self, at_s: float, pose: np.ndarray) -> None:
        """Forget what it was told and hold ``pose``."""
        self.target = pose
        self.course = Course.rest(at_s, pose) if self.kind in TRAJECTORIES else None

    def take(self, at_s: float, what: np.ndarray | Trajectory, pose: np.ndarray) -> None:
        """Take a message."""
        if isinstance(what, Trajectory):
            before = self.course or Course.rest(at_s, pose)
            self.course = Course.after(before, at_s, what)
        else:
            self.target = what


@dataclass(frozen=True, eq=False)
class Sent:
    """A message as it was sent: by whom, when (source stamp), and where the arm was then."""

    at_s: float
    group: str
    what: np.ndarray | Trajectory
    source: bytes
    pose: np.ndarray
    done: str
    """``taken``, ``queued`` (the driver stands still) or ``dropped`` (its torque is off)."""
    taken_s: float
    """When the double had it: on a busy machine it is a slow driver."""
    number: int = 0
    """Which one of its publisher's; 0: not known."""

    @property
    def row(self) -> np.ndarray:
        """The first position that it asks for."""
        return self.what.positions[0] if isinstance(self.what, Trajectory) else self.what


class Arm:
    """The joints and their drivers; call it from any thread, with a clock of seconds.

    Args:
        joints: A names.
        drivers: those that command them.
        lag_s: time constant with which a joint follows its driver, [A] or one.
        speed: the fastest that a joint goes, [A] or one [robot units / s].
        pose: where it stands, [A].
    """

    def __init__(
        self,
        joints: Sequence[str],
        drivers: Sequence[Driver],
        lag_s: float | np.ndarray = 0.03,
        speed: float | np.ndarray = 5.0,
        pose: np.ndarray | None = None,
        now_s: float = 0.0,
    ) -> None:
        size = len(joints)
        self.joints = list(joints)
        self.drivers = {driver.name: driver for driver in drivers}
        self.lag_s = np.broadcast_to(np.asarray(lag_s, float), size)
        self.speed = np.broadcast_to(np.asarray(speed, float), size)
        self.pose = np.zeros(size) if pose is None else np.array(pose, float)
        self.rest = self.pose
        """Where the joints stand whose drivers weren't told anything yet."""
        self.now_s = now_s
        self.limp = np.zeros(size, bool)
        self.drop = np.zeros(size)
        """How far a joint that is held stands below what its driver wants: a load, a hand."""
        self.hand = np.full(size, np.nan)
        """Where a hand moves the joints that are limp, at ``hand_speed``."""
        self.hand_speed = 1.0
        self.resets: list[tuple[float, str]] = []
        """When a driver forgot what it was told, and which one."""
        self.hands: list[tuple[float, np.ndarray, float]] = [(-np.inf, self.drop, 0.0)]
        """(since when, ``drop``, speed of a hand at limp joints or 0)"""
        self.past: deque[tuple[float, np.ndarray]] = deque([(now_s, self.pose)])
        self.lock = threading.RLock()

    # -- time -------------------------------------------------------------------------------

    def wanted(self, times: np.ndarray) -> np.ndarray:
        """Return where the drivers want the joints at ``times`` [T], [T, A]."""
        wanted = np.tile(self.rest, (len(times), 1))
        for driver in self.drivers.values():
            if driver.course is not None and not driver.stands:
                wanted[:, driver.columns] = driver.course.at(times)[0]
            elif driver.target is not None:
                wanted[:, driver.columns] = driver.target
        return wanted

    def advance(self, now_s: float) -> np.ndarray:
        """Let time pass until ``now_s`` and return the pose [A]."""
        with self.lock:
            steps = math.ceil((now_s - self.now_s - 1e-6) / STEP_S)
            if steps <= 0:
                return self.pose
            times = self.now_s + STEP_S * np.arange(1, steps + 1)
            times[-1] = now_s
            spans = np.diff(times, prepend=self.now_s)
            wanted = self.wanted(times) + self.drop
            safe = np.maximum(self.lag_s, 1e-9)
            pose, limp, any_limp = self.pose, self.limp, self.limp.any()
            for i in range(steps):
                gain = -np.expm1(-spans[i] / safe)
                most = self.speed * spans[i]
                moved = np.minimum(np.maximum(gain * (wanted[i] - pose), -most), most)
                if any_limp:
                    by = self.hand_speed * spans[i]
                    led = np.clip(np.where(np.isnan(self.hand), 0.0, self.hand - pose), -by, by)
                    moved = np.where(limp, led, moved)
                pose = pose + moved
                self.past.append((float(times[i]), pose))
            self.now_s, self.pose = now_s, pose
            while len(self.past) > 2 and self.past[1][0] < now_s - KEPT_S:
                self.past.popleft()
            return pose

    # -- messages ---------------------------------------------------------------------------

    def take(
        self,
        group: str,
        at_s: float,
        what: np.ndarray | Trajectory,
        source: bytes,
        now_s: float | None = None,
        number: int = 0,
    ) -> Sent:
        """Take a message that was sent at ``at_s`` [s]; the arm goes by it from ``now_s`` on."""
        driver = self.drivers[group]
        with self.lock:
            now_s = max(at_s if now_s is None else now_s, self.now_s)
            self.advance(now_s)
            off = bool(self.limp[driver.columns].all())
            done = "taken"
            if driver.stands:
                done = "queued"
                driver.queue = [*driver.queue, what][-driver.depth :]
            elif off and not driver.latches:
                done = "dropped"
            else:
                driver.take(now_s, what, self.pose[driver.columns])
            sent = Sent(at_s, group, what, source, self.pose, done, now_s, number)
        return sent

    # -- what may happen to it ----------------------------------------------------------------

    def torque_off(self, columns: Sequence[int] | None = None) -> None:
        """Stop the motors of some joints, or all: they stay until a hand moves them."""
        with self.lock:
            self.limp[slice(None) if columns is None else list(columns)] = True

    def release(self) -> None:
        """Give the joints their torque back."""
        with self.lock:
            self.rest = self.pose
            for driver in self.drivers.values():
                if not driver.latches and self.limp[driver.columns].any():
                    driver.hold(self.now_s, self.pose[driver.columns])
                    self.resets.append((self.now_s, driver.name))
            self.hands.append((self.now_s, self.drop, 0.0))
            self.limp = np.zeros(len(self.joints), bool)
            self.hand = np.full(len(self.joints), np.nan)

    def lead(self, to: np.ndarray, speed: float = 1.0) -> None:
        """Let a hand move the limp joints to ``to`` [A] (NaN: not this one)."""
        with self.lock:
            self.hand, self.hand_speed = np.array(to, float), speed
            self.hands.append((self.now_s, self.drop, speed))

    def push(self, by: np.ndarray) -> None:
        """Let something push joints that are held off their commands by ``by`` [A]; 0: no more."""
        with self.lock:
            self.drop = np.array(by, float)
            self.hands.append((self.now_s, self.drop, self.hands[-1][2]))

    def stand_still(self, group: str) -> None:
        """Let a driver stand still: it takes nothing, and holds what it last wanted."""
        with self.lock:
            driver = self.drivers[group]
            driver.target = driver.told(self.now_s)
            driver.stands = True

    def go_on(self, group: str) -> None:
        """Let it take what came meanwhile, as much as its queue held."""
        with self.lock:
            driver = self.drivers[group]
            driver.stands = False
            for what in driver.queue:
                driver.take(self.now_s, what, self.pose[driver.columns])
            driver.queue = []


class ArmNode:
    """The arm as nodes see it: command topics in, joint states out.

    Args:
        node: in whose namespace, and on whose executor.
        arm: what moves.
        topics: group → its command topic; a group's joints by the names in ``names``.
        states_s: how often joint states are published.
        on_sent: is told each message.
    """

    def __init__(
        self,
        node: Any,
        arm: Arm,
        topics: dict[str, str],
        *,
        states_s: float = 0.01,
        on_sent: Callable[[Sent], None] | None = None,
    ) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import JointState

        from rtc_ros.controller.command_types import message_class

        self.node, self.arm, self._on_sent = node, arm, on_sent
        self.strangers: set[bytes] = set()
        """Publishers that aren't the controller's: nobody takes what they send."""
        self.theirs: deque[Any] = deque(maxlen=100)
        """What they sent, for where a message doesn't name its publisher (Jazzy)."""
        self.silent_joints: set[str] = set()
        self.frozen_stamp: Any = None
        self.forerunner: Callable[[Any], None] | None = None
        """Is shown each joint state right before it is published."""
        self.offset = np.zeros(len(arm.joints))
        """What the encoders add to the pose."""
        self.published: deque[tuple[float, np.ndarray]] = deque(maxlen=50000)
        self.beats: deque[float] = deque(maxlen=50000)
        """When it meant to publish joint states: how late this machine's processes are."""
        self._made = JointState
        self._states = node.create_publisher(JointState, "joint_states", 10)
        self._subscriptions = [
            node.create_subscription(
                message_class(arm.drivers[group].kind, topic),
                topic,
                self._taker(arm.drivers[group]),
                QoSProfile(depth=500),
            )
            for group, topic in topics.items()
        ]
        self._timer = node.create_timer(states_s, self.publish)

    def _taker(self, driver: Driver) -> Callable[[Any, Any], None]:
        names = [self.arm.joints[c] for c in driver.columns]

        def read(message: Any) -> np.ndarray | Trajectory:
            if driver.kind in TRAJECTORIES:
                return Trajectory.of(message, names)
            if driver.kind == "joint_state":
                by_name = dict(zip(message.name, message.position, strict=True))
                return np.array([by_name[n] for n in names])
            if driver.kind == "float64_multi_array":
                return np.array(message.data)
            # The stand-in for Interbotix's package is carried by a message with other names.
            numbers = message.cmd if hasattr(message, "cmd") else message.values
            return np.atleast_1d(np.array(numbers, float))

        publishers = Publishers()

        def take(message: Any, info: Any) -> None:
            source = publishers.of(info, time.monotonic_ns())
            unnamed = "publisher_gid" not in info
            if source in self.strangers or (unnamed and message in self.theirs):
                return
            try:
                what = read(message)
                row = what.positions[0] if isinstance(what, Trajectory) else what
                if len(row) != len(names) or not np.isfinite(row).all():
                    raise ValueError(f"{len(row)} numbers, not all finite, or too few")
            except (ValueError, KeyError) as error:
                driver.refused.append(str(error))
                return
            at_s = info["source_timestamp"] * 1e-9
            number = info["publication_sequence_number"] or 0
            sent = self.arm.take(driver.name, at_s, what, source, time.time(), number)
            if self._on_sent is not None:
                self._on_sent(sent)

        return take

    def state(self) -> Any:
        """Return the joint states as they are now, faults included."""
        arm = self.arm
        pose = arm.advance(time.time()) + self.offset
        names = [j for j in arm.joints if j not in self.silent_joints]
        message = self._made(name=names)
        message.position = [float(pose[arm.joints.index(j)]) for j in names]
        message.header.stamp = self.frozen_stamp or self.node.get_clock().now().to_msg()
        return message

    def publish(self) -> None:
        """Publish the joint states, if any joint is heard of."""
        self.beats.append(time.time())
        message = self.state()
        if message.name:
            news = self.frozen_stamp is None and not self.silent_joints
            if news:
                self.published.append((self.arm.now_s, self.arm.pose + self.offset))
            if self.forerunner is not None:
                self.forerunner(message)
            self._states.publish(message)

    def close(self) -> None:
        """Take it off the node."""
        self.node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)
        self.node.destroy_publisher(self._states)


def seconds(duration: Any) -> float:
    """Return a ROS duration or time in seconds."""
    return float(duration.sec + duration.nanosec * 1e-9)
