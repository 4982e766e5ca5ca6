"""What must hold between the messages, the arm and time, whatever fails (docs/reliability.md).

(0) No message lies outside the position limits, but on the way back of an arm that stood there.
(a) No message lies farther from where the *arm* is than one (softened) step plus what the arm's
    own lag was before. While a guard needs time to see that the arm doesn't follow, or that nobody
    hears of it any more, the allowance is what the product documents, and how much of it was used
    is a figure of its own.
(b) Speed and acceleration *in time* keep the limits: a driver of rows that was told nothing for n
    periods stands where it was told last; what a driver of chunks makes between the points and
    between two messages keeps them to 1 %.
(c) Once the arm has been braked to rest nothing is sent until motion begins again.
(d) A guard (arm moved, arm doesn't follow) closes the gate: that run never goes on.

All times are the middleware's source stamps, so that a busy test process changes nothing. Where a
busy machine sent later than was decided, what was decided is judged; each such message is counted,
and how far what was sent went beyond a limit is a figure.
"""

from __future__ import annotations

import functools
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from arm_double import CHUNK, FLOAT32, TRAJECTORIES, ArmNode, Course, Sent, Trajectory
from sensor_msgs.msg import JointState

from rtc_ros.core.cursor import Mode

SLACK = 1.01
"""On what a trajectory driver makes between the points."""
STATE_AGE_S = 0.06
"""How old the newest joint state may be that a command was made from: its own period (they come at
100 Hz), its way, and the tick's."""
STANDS_S = 0.02
"""An arm that goes no farther in a tenth of a second than its speed limit in this time stands."""
JOIN_S = 1e-3
"""How well two messages of chunks must be in time with each other to say what joins them."""
STANDS = 2.05
"""[periods] After a longer time its driver stood."""
LATE = 1.05
"""[periods] Messages that are farther apart than this may or may not be of deadlines that follow
each other, so the driver may have stood: a step is seen from the last one, and from rest."""
WAITS = 1.5
"""[set points] A driver that was told nothing for longer stands. What looks at the clock right
before it sends each of them knows that, as well as sending one takes."""
CLOCK_STANDS_S = 0.5
"""A simulator's clock that stands still for no longer is none that stood to its drivers."""
FOLLOWS_S = 0.2
COMING = "until the driver has come"
TIMEOUT = "within the allowance of joint_state_timeout"
TOLERANCE = "within the allowance of following_tolerance"
GUARDED = ("the arm was moved", "doesn't follow")


@dataclass(frozen=True, eq=False)
class Promises:
    """What the parameters promise, per joint [A] in robot units and seconds."""

    period_s: float
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray
    following: np.ndarray
    resume: np.ndarray
    timeout_s: float
    soft_ticks: int = 0
    points: int = 1
    """Messages of a period to drivers of rows."""

    @classmethod
    def of(cls, parameters: Mapping[str, Any], size: int) -> Promises:
        """Read them off a controller's parameters."""

        def each(name: str, otherwise: float = np.inf) -> np.ndarray:
            return np.broadcast_to(np.array(parameters.get(name, [otherwise]), float), size)

        period_s = parameters["control_period"]
        return cls(
            period_s,
            each("position_lower", -np.inf),
            each("position_upper"),
            each("max_velocity"),
            each("max_acceleration"),
            each("max_jerk"),
            each("following_tolerance", 0.3),
            each("resume_tolerance", 0.3),
            parameters["joint_state_timeout"],
            round(parameters.get("soft_start", 1.0) / period_s),
            round(parameters.get("command_rate", 0.0) * period_s) or 1,
        )

    @property
    def point_s(self) -> float:
        """Between two messages to a driver of rows [s]."""
        return self.period_s / self.points

    @functools.cached_property
    def mean_rows(self) -> int:
        """Of how many set points each command is the mean, with a jerk limit."""
        bend = np.minimum(self.acceleration, 2 * self.velocity / self.point_s)
        needed = np.ceil(2 * bend / (self.jerk * self.point_s) * (1 - 1e-9))
        return int(np.max(np.maximum(needed, 1.0)))

    @property
    def brake_ticks(self) -> int:
        """The longest way to rest [ticks]."""
        ticks = np.max(self.velocity / (self.acceleration * self.period_s))
        return int(np.ceil(ticks)) + -(-self.mean_rows // self.points)

    @property
    def brake_way(self) -> np.ndarray:
        """The longest way to rest [A]."""
        late_s = (self.mean_rows - 1) / 2 * self.point_s
        return self.velocity * (self.velocity / self.acceleration / 2 + late_s)


@dataclass(frozen=True, eq=False)
class Ticked:
    """One message of ~/executed."""

    at_s: float
    reason: str
    mode: int
    epoch: int
    step: int
    late_us: float = 0.0
    row: np.ndarray | None = None
    points: int = 1
    """Messages to a driver of rows that lead to ``row``."""
    unsent: int = 0
    sending_s: float = 0.0
    number: int = 0
    """Which one of its publisher's; 0: not known."""

    def stands_for(self, later: Ticked, period_s: float) -> bool:
        """Tell whether this is what a driver did by itself before the tick ``later``."""
        apart = (later.at_s - self.at_s) / period_s
        return (
            later.late_us == self.late_us and apart > 0.5 and abs(apart - round(apart)) < 1e-4
        )

    @property
    def executes(self) -> bool:
        return self.reason == "execute"

    @property
    def moves(self) -> bool:
        """Whether a driver was told of a row: not where none of its set points was sent."""
        return self.executes and self.points > 0


_NEVER = Ticked(-np.inf, "", 0, 0, 0)


@dataclass
class Told:
    """What one driver was told, and how it goes by that."""

    kind: str
    columns: list[int]
    at_s: float = -np.inf
    source: bytes = b""
    epoch: int = -1
    row: np.ndarray | None = None
    step: np.ndarray | None = None
    whole: np.ndarray | None = None
    """The first step of a motion with what of it went up to the arm."""
    recent: deque[tuple[float, np.ndarray]] = field(default_factory=lambda: deque(maxlen=8))
    course: Course | None = None
    as_sent: Course | None = None
    late_s: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=60))
    skip_until_s: float = -np.inf
    """Until then it goes from where it was to where its arm was moved to."""
    jitter: float = 1.0
    """What the ticks' jitter adds to the speed between single points."""
    unheard: bool = False
    """Whether the step before the next message isn't known."""
    prompt: bool = True
    late_chunk_s: float = 0.0
    due_s: float = 0.0
    """When the first point of this motion was due."""
    step_k: int | None = None
    """k of the last message."""
    decided_s: float = -np.inf
    """When its process decided on the last message."""
    decided: float = np.inf
    decisions: float = np.inf
    slack: Any = 0.0
    """How far its arm stood from what it was told when motion began."""
    held: int = 0
    """Messages of this hold."""
    tick: Ticked | None = None
    number: int = 0
    """Which one of its publisher's the last message was."""
    since: int = 0
    """Its publisher's messages since, and with, the first one of that tick."""
    comes: bool = False
    """Whether the message sends it to where motion begins."""
    came_s: float = -np.inf
    came: bool = False
    """Whether it was sent there in this hold."""


def _beyond(step: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return what of a ``step`` goes on behind the ``way`` to where the arm is, [A] each."""
    onward = np.where(np.sign(step) == np.sign(way), np.abs(way), 0.0)
    return np.sign(step) * np.maximum(np.abs(step) - onward, 0.0)


class Invariants:
    """``problems`` stays empty as long as they hold; ``worst`` says how near each bound came.

    Feed it from any thread with ``on_sent`` and ``on_executed``; ``settle`` checks what is old
    enough that all that belongs to it has come.
    """

    def __init__(self, node: ArmNode, promises: Promises) -> None:
        self.node, self.arm, self.promises = node, node.arm, promises
        self.contexts: list[tuple[float, str]] = [(-np.inf, "")]
        """(since when, what a problem then is said to be of)"""
        self.problems: list[str] = []
        self.worst: dict[str, tuple[float, str]] = {}
        self.counts: Counter[str] = Counter()
        self.disturbances: list[list[Any]] = []
        """[kind, begin_s, end_s or inf]"""
        self.ended: list[tuple[float, float]] = []
        """(when, until when) the controller's process was asked to end, and did by itself."""
        self.stalls: list[list[float]] = []
        """[begin_s, end_s] in which the controller's process was made to stand still."""
        self.clock_stands: list[tuple[float, float]] = []
        """(begin_s, end_s) in which /clock, by which the controller and its drivers go, didn't."""
        self.waiting: deque[Sent] = deque()
        self._ticks_in: deque[Ticked] = deque()
        self._ticks: list[Ticked] = []
        self._told = {d.name: Told(d.kind, d.columns) for d in self.arm.drivers.values()}
        self.came_s = 0.0
        """When the last message came."""
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        size = len(self.arm.joints)
        self._before = np.zeros(size)
        """The arm's error before the hold, as the controller may have seen it, [A]: before the
        disturbance, and as it was."""
        self._before_seen = np.zeros(size)
        self._before_s = -np.inf
        """When that was."""
        self._errors: deque[tuple[float, np.ndarray]] = deque(
            maxlen=400 * self.promises.points
        )
        self._closed: dict[int, str] = {}
        self._lost_s = self._moved_s = np.inf
        self._idle = 0
        self._idle_tick = -np.inf
        self._idle_changed = True
        self._said: dict[str, float] = {}
        self._was: Ticked | None = None
        self._begun = -1
        """The run that has moved."""

    # -- what comes in ----------------------------------------------------------------------

    def on_sent(self, sent: Sent) -> None:
        """Note a message to a driver."""
        with self._lock:
            self.waiting.append(sent)
            self.came_s = sent.taken_s

    def on_executed(
        self, message: JointState, sent_s: float | None = None, number: int = 0
    ) -> None:
        """Note a tick, by its stamp, or by when its message was sent where ROS time isn't ours."""
        fields = dict(zip(message.name, message.position, strict=True))
        stamp = message.header.stamp
        tick = Ticked(
            stamp.sec + stamp.nanosec * 1e-9 if sent_s is None else sent_s - 0.002,
            message.header.frame_id,
            int(fields["rtc/mode"]),
            int(fields["rtc/step_epoch"]),
            int(fields["rtc/step"]),
            fields["rtc/lateness_us"],
            np.array([fields.get(j, np.nan) for j in self.arm.joints]),
            int(fields.get("rtc/points", 1)),
            int(fields.get("rtc/unsent", 0)),
            fields.get("rtc/sending_us", 0.0) * 1e-6,
            number,
        )
        with self._lock:
            self._ticks_in.append(tick)
            self.came_s = time.time()

    def disturb(self, kind: str, at_s: float) -> list[Any]:
        """Note that a disturbance begins; set its third entry when it ends."""
        made: list[Any] = [kind, at_s, np.inf]
        self.disturbances.append(made)
        return made

    def stall(self, begins: bool, at_s: float) -> None:
        """Note that the controller is made to stand still, or goes on."""
        if begins:
            self.stalls.append([at_s, np.inf])
        elif self.stalls:
            self.stalls[-1][1] = at_s

    # -- the check --------------------------------------------------------------------------

    def settle(self) -> None:
        """Check all that came since it was done last: when no more is on its way."""
        with self._lock:
            sent = sorted(self.waiting, key=lambda s: s.at_s)
            new = sorted(self._ticks_in, key=lambda t: t.at_s)
            self.waiting.clear()
            self._ticks_in.clear()
            if self.promises.points > 1:  # a tick is told when its set points were sent
                last_s = max(t.at_s for t in [*self._ticks[-1:], *new, _NEVER])
                self.waiting.extend(s for s in sent if s.at_s >= last_s)
                sent = [s for s in sent if s.at_s < last_s]
        period_s = self.promises.period_s
        real = [t for t, u in zip(new, new[1:], strict=False) if not t.stands_for(u, period_s)]
        real += new[-1:]
        self._ticks = self._ticks[-50:] + real
        stamps = [t.at_s for t in self._ticks]
        published = [at_s for at_s, _ in list(self.node.published)]
        with self.arm.lock:
            past = list(self.arm.past)
        self._beats = np.array(list(self.node.beats))
        self._times = np.array([at_s for at_s, _ in past])
        self._poses = np.array([pose for _, pose in past])
        events: list[tuple[float, int, Any]] = [(t.at_s, 0, t) for t in new]
        # A tick's messages follow its stamp; of set points also those right before the next one.
        after_s = 0.0005 if self.promises.points == 1 else 0.0
        events += [(s.at_s + after_s, 1, s) for s in sent]
        events.sort(key=lambda e: e[:2])
        for _, what, event in events:
            i = bisect_right(published, event.at_s - self.promises.period_s) - 1
            news_s = published[max(0, i)] if published else event.at_s
            if what == 0:
                self._on_tick(event, news_s)
            else:
                i = bisect_right(stamps, event.at_s + after_s) - 1
                self._on_message(event, self._ticks[i] if i >= 0 else None, news_s)

    def _late_s(self, s: Sent, told: Told) -> float:
        """Return how much later than it reckoned a chunk's message was sent.

        Its process reckons with when the motion's first message was sent: from then on its points
        are due whole periods apart.
        """
        assert isinstance(s.what, Trajectory)
        period, due_s = self.promises.period_s, s.at_s + s.what.times[0]
        ended = told.course is None or s.at_s >= told.course.times[-1]
        if ended or s.source != told.source or told.comes or told.came:
            told.due_s = due_s
        return (due_s - told.due_s + period / 2) % period - period / 2

    def _on_tick(self, tick: Ticked, news_s: float) -> None:
        promises, was = self.promises, self._was
        if promises.points > 1:
            self.counts["set points not sent in time"] += tick.unsent
        if was is not None and was.epoch != tick.epoch:
            self._lost_s = self._moved_s = np.inf
        if tick.moves and tick.epoch in self._closed:
            self._wrong(
                "d", tick.at_s,
                f"run {tick.epoch} goes on although {self._closed.pop(tick.epoch)}",
            )  # fmt: skip
        if (
            any(g in tick.reason for g in GUARDED) and tick.mode == Mode.STOPPED
        ):
            self._closed[tick.epoch] = f"its guard closed the gate ({tick.reason[:60]})"
        command = self._command(tick.at_s)
        pose = self._pose(tick.at_s)
        error = np.abs(command - pose)
        # As the controller may see it: against any place of the last periods.
        low, high = self._during(tick.at_s - STATE_AGE_S, tick.at_s)
        seen_error = np.maximum(command - low, high - command)
        heard = tick.at_s - news_s < 0.06 + promises.period_s
        machine_s = self._machine_s(tick.at_s)
        if tick.executes:
            self._moved_s = np.inf
        elif was is not None and was.executes:
            self._before, self._before_seen = self._error_before(tick.at_s)
            self._before_s = tick.at_s
        if tick.moves:
            self._begun = tick.epoch
            self._errors.append((tick.at_s, seen_error))  # drivers of chunks are told seldom
        # A run that hasn't moved yet begins where the arm is: (a).
        heard = heard and self._begun == tick.epoch
        lost = heard and bool((error > promises.following * 1.05 + 0.02).any())
        self._lost_s = min(self._lost_s, tick.at_s) if lost else np.inf
        grown = error - self._before - promises.resume > 0.03
        brake_s = promises.brake_ticks * promises.period_s
        resting = not tick.executes and tick.at_s - self._last_at > brake_s / 2
        moved = heard and resting and bool(grown.any())
        self._moved_s = min(self._moved_s, tick.at_s) if moved else np.inf
        open_run = tick.mode not in (Mode.STOPPED, Mode.LATCHED)
        if tick.at_s - self._lost_s > FOLLOWS_S + 0.15 + machine_s:
            joint = int(np.argmax(error - promises.following))
            self._closed.setdefault(
                tick.epoch,
                f"{self.arm.joints[joint]} was {error[joint]:.3f} from its command for 0.35 s",
            )
        if open_run and tick.at_s - self._moved_s > FOLLOWS_S + 0.15 + machine_s:
            joint = int(np.argmax(error - self._before - promises.resume))
            self._closed.setdefault(
                tick.epoch,
                f"{self.arm.joints[joint]} was moved to {error[joint]:.3f} from its command, from "
                f"{self._before[joint]:.3f} before it was held",
            )
        if not tick.executes and (was is None or was.executes or was.epoch != tick.epoch):
            for told in self._told.values():
                told.held = 0
            self._idle = 0
        self._was = tick

    def _on_message(self, s: Sent, tick: Ticked | None, news_s: float) -> None:
        told, promises = self._told[s.group], self.promises
        stood_s = self._stood_s(told.at_s, s.at_s)
        gap = s.at_s - told.at_s - stood_s
        period = promises.period_s if told.kind == CHUNK else promises.point_s
        between = promises.points > 1 and told.kind != CHUNK
        twice = tick is not None and tick.at_s == told.decided_s and s.source == told.source
        lost = s.number - told.number - 1 if s.number and told.number else 0
        unheard = lost if s.source == told.source and not between else 0
        if between:
            unheard, twice = self._set_point(s, told, tick, twice), False
        told.number = s.number
        # A set point leaves as much later than its tick as sending it took.
        late_s = tick.sending_s if between and tick is not None else 0.0
        if tick is None or twice or s.at_s - tick.at_s > 3 * promises.period_s + late_s:
            self.counts["messages of unknown ticks"] += 1
            tick, told.step, told.unheard = None, None, True
        self.counts["messages"] += 1
        if s.source != told.source:
            told.recent.clear()
            self._ended(s, told)
        other_run = tick is not None and tick.epoch != told.epoch
        # How far the process was apart in its own reckoning: what it decided on is sent later
        # where the machine takes it off the processor in between.
        told.decided = gap if tick is None else min(tick.at_s - told.at_s - stood_s, gap)
        told.decisions = gap if tick is None else tick.at_s - told.decided_s - stood_s
        if between:  # each looks at the clock by itself, as long before as sending takes
            told.decided = gap - (0.0 if tick is None else tick.sending_s)
            told.decisions = gap + (0.0 if told.tick is None else told.tick.sending_s)
        told.tick = tick
        told.decided_s = s.at_s if tick is None else tick.at_s
        rested = told.course is None or s.at_s >= told.course.times[-1]
        begins = (
            s.source != told.source
            or (told.kind == CHUNK and rested and tick is not None and tick.executes)
            or other_run
            or told.decided > STANDS * promises.period_s
            and told.kind != CHUNK
            or (
                told.held > 0
                and gap > (WAITS if between else 1.4) * period
                # One of chunks that still brakes goes on from where it is.
                and (told.kind != CHUNK or rested)
                and tick is not None
                and tick.executes
            )
        )
        self._figure("sent after its tick [ms]", (s.at_s - told.decided_s) * 1e3, s, told)
        told.comes = tick is not None and COMING in tick.reason
        if told.comes:
            # A driver of chunks is sent to where motion begins: as any beginning, and seldom.
            begins = True
            seldom_s = max(FOLLOWS_S - promises.period_s - self._machine_s(s.at_s), 1e-3)
            self._note("c: messages to where motion begins", np.array([seldom_s]),
                       np.array([s.at_s - told.came_s]), s, told)  # fmt: skip
            told.came_s, told.came = s.at_s, True
        elif tick is not None and not tick.executes:
            self._hold(s, told, tick)
        anew = other_run or s.source != told.source
        if tick is not None and tick.executes:
            if not (between or anew or told.step_k is None):
                unheard = max(unheard, tick.step - told.step_k - 1)
            told.step_k = tick.step
        elif anew:
            told.step_k = None
        if anew and tick is not None and tick.executes and tick.step > 0:
            # A publisher that was being discovered: the run's first messages weren't heard.
            self.counts["runs whose beginning wasn't heard"] += 1
            told.row = None
            if between:
                self._heard_from(s, told)
        elif unheard > 0 and told.kind != CHUNK:
            # The controller keeps few messages for a reader that a busy machine holds up.
            self.counts["messages not heard"] += unheard
            told.row, told.step, told.course, told.unheard = s.row, None, None, True
            told.skip_until_s = s.at_s + 8 * promises.period_s
            if between:
                self._heard_from(s, told)
        else:
            displaced = self._distance(s, told, begins, anew, news_s)
            self._in_time(s, told, begins, gap, displaced)
        if tick is not None and (tick.executes or not told.comes and tick.epoch != told.epoch):
            told.came = False
        if tick is not None and tick.executes:
            told.held = 0
        told.at_s, told.source = s.at_s, s.source
        told.epoch = told.epoch if tick is None else tick.epoch

    def _ended(self, s: Sent, told: Told) -> None:
        """Check that a process that was asked to end braked its arm to rest before it did."""
        asked = [begin for begin, end in self.ended if begin < s.at_s and told.at_s < end]
        if not asked or told.kind == CHUNK or told.step is None or told.row is None:
            return
        self.counts["ended by SIGTERM: rest checked"] += 1
        period = self.promises.point_s
        bound = self.promises.acceleration[told.columns] * period**2 + 1e-9
        bound = bound + (3e-7 * (1 + np.abs(told.row)) if told.kind in FLOAT32 else 0.0)
        self._note("b: braked to rest before its end", np.abs(told.step), bound, s, told,
                   f"asked {s.at_s - asked[-1]:.3f} s before")  # fmt: skip

    def _heard_from(self, s: Sent, told: Told) -> None:
        """Follow a driver of set points from its first message that is heard again.

        Where one row per period was lost, the step from rest to the first one that is heard is of
        a soft start, and its course comes from where the arm is. Of set points tens may be lost:
        nobody knows the step before, and the driver is at the row, which may be farther from the
        arm than a point 1.5 set points away can be reached from.
        """
        told.unheard = True
        told.course = told.as_sent = Course.rest(s.at_s, s.row)
        told.skip_until_s = s.at_s + 8 * self.promises.period_s

    # (e)
    def _set_point(self, s: Sent, told: Told, tick: Ticked | None, again: bool) -> int:
        """Check that a tick sends what it says, down to its row; return how many weren't heard."""
        number, told.number = told.number, s.number
        if s.source != told.source or not number:
            told.since = 0  # whether it is the tick's first one isn't known
            return 0
        unheard = s.number - number - 1
        if again:
            told.since += s.number - number if told.since else 0
            return unheard
        before, since, told.since = told.tick, told.since, 0 if unheard else 1
        if before is None or tick is None or not since:
            return unheard
        between = [t for t in self._ticks if before.number < t.number < tick.number]
        if tick.number - before.number - 1 != len(between):
            self.counts["periods between ticks that weren't heard: not checked"] += 1
            return unheard
        said = before.points + sum(t.points for t in between)
        # Of those that weren't heard the first may be of the tick before.
        off = max(said - since - unheard, since - said, 0)
        how = f"{since} of the tick before, {unheard} not heard; the ticks say {before.points} "
        how += f"and {[t.points for t in between]}"
        self._note("e: as many set points as the tick says", np.array([float(off)]),
                   np.array([0.5]), s, told, how)  # fmt: skip
        told.since = 1 + max(since + unheard - said, 0)
        if unheard == 0 and self.promises.mean_rows == 1 and told.row is not None:
            self.counts["rows reached by set points"] += 1
            assert before.row is not None
            off = np.abs(told.row - before.row[told.columns])
            slack = 3e-7 * (1 + np.abs(told.row)) if told.kind in FLOAT32 else 0.0
            bound = 1e-12 + slack + 0 * off
            self._note("e: the last set point is the row", off, bound, s, told)
        return unheard

    # (a)
    def _distance(
        self, s: Sent, told: Told, begins: bool, anew: bool, news_s: float
    ) -> bool:
        """Check (a); return whether the arm isn't where its driver was told."""
        promises, c = self.promises, told.columns
        period = promises.period_s
        brake_s = promises.brake_ticks * period
        age_s = STATE_AGE_S + self._machine_s(s.at_s)
        since_s = min(s.at_s - age_s, news_s)
        since_s = max(since_s, s.at_s - promises.timeout_s - brake_s - age_s)
        low, high = self._during(since_s, s.at_s)
        low, high = low[c], high[c]
        row = s.row
        away = np.maximum(np.maximum(row - high, low - row), 0.0)
        velocity, acceleration = promises.velocity[c], promises.acceleration[c]
        steps = 1.0
        point_s = period if told.kind == CHUNK else promises.point_s
        if isinstance(s.what, Trajectory) and not told.comes:
            steps = max(s.what.times[0] / point_s, 1.0)
        step = velocity * point_s
        ahead_s = 1.5 * point_s if told.kind in TRAJECTORIES else 0.0
        # A driver that has a message late is a slow one.
        told.late_s.append((s.at_s, s.taken_s - s.at_s))
        late_s = max(late for at_s, late in told.late_s if at_s > s.at_s - 0.5)
        own = velocity * (self.arm.lag_s[c] + ahead_s + late_s)
        self._figure("the test's own delay [ms]", max(late_s, age_s - STATE_AGE_S) * 1e3, s, told)
        tolerance = 1e-6 + 1e-6 * np.abs(row)
        reset = any(g == s.group and told.at_s < t <= s.at_s for t, g in self.arm.resets[-50:])
        if told.kind == CHUNK and told.course is not None:
            stood = told.course.at(np.array([s.at_s]))[0][0]
        else:
            stood = row if told.row is None else told.row
        off = np.maximum(stood - high, low - stood) > self._before[c] + tolerance
        displaced = reset or bool(off.any())
        blind = s.at_s - news_s > age_s
        if begins and told.held == 0 and not anew:  # it wasn't held: its process stood still
            self._before, self._before_seen = self._error_before(told.at_s)
            self._before_s = told.at_s
        # However long a hold was: the guard learned of the arm's lag in the motion before it, with
        # what a disturbance had left there. With one row per period two seconds are all: stricter.
        of_s = self._before_s if begins and promises.points > 1 else s.at_s
        disturbed = any(b <= s.at_s and of_s < e + 2.0 for _, b, e in self.disturbances)
        # What the controller goes by where nobody hears of the arm: the last place heard of.
        unheard = velocity * (promises.timeout_s + age_s) + promises.brake_way[c]
        # A hand may go on while the guard looks and the arm is braked, or nobody hears of it.
        pushed, hand_speed = self._hand(s.at_s)
        unheard = unheard + hand_speed * max(s.at_s - news_s, 0.0)
        not_followed = np.maximum(promises.following[c], pushed[c]) + promises.brake_way[c]
        not_followed = not_followed + velocity * age_s + hand_speed * (age_s + brake_s)
        if begins:
            soft = 1.0 / (promises.soft_ticks + 1) if anew else 1.0
            before = np.zeros(len(c)) if anew else self._before[c]
            first = np.minimum(step * soft, acceleration * point_s**2)
            if told.kind == CHUNK:
                first = np.minimum(step * soft, acceleration * period**2 * steps) * steps
            # A command that is led to where the arm is throws nothing.
            led = np.maximum(stood - high, low - stood) > away + first
            displaced = displaced or bool(led.any())
            bound = first + before + tolerance
            if told.came and not told.comes:
                # Its driver was sent ahead, and its arm stands there, or as far off as its load
                # holds it.
                at_it = np.abs(row - stood) <= first + tolerance
                stands = velocity * STANDS_S + pushed[c] + hand_speed * age_s
                bound = np.where(at_it, np.maximum(first + stands + tolerance, bound), bound)
            if told.comes:
                # Between where it was sent and its arm, for which it is given the time: (b).
                back = (row - stood) * (0.5 * (low + high) - row) >= -tolerance
                bound = np.where(back, np.maximum(bound, np.abs(row - stood) + tolerance), bound)
            seen = first + self._before_seen[c] + tolerance
            how = (
                f"from an arm at {low} to {high} in {s.at_s - since_s:.3f} s, heard "
                f"{s.at_s - news_s:.3f} s ago, machine late by {self._machine_s(s.at_s):.3f}; "
                f"own error {self._before[c]}, as seen {self._before_seen[c]}; row {row}; "
                f"anew {anew}, held {told.held}, number {s.number}, told "
                f"{s.at_s - told.at_s:.3f} s ago {told.row}, which the double took "
                f"{told.late_s[-2][1] if len(told.late_s) > 1 else 0.0:.3f} s later"
            )
            if (away <= bound).all() or anew or not disturbed:
                self._note("a: motion begins", away, bound, s, told, how)
            elif blind:
                self._allow(TIMEOUT, away, bound + unheard, s, told)
            elif (away <= np.maximum(seen, bound)).all():
                # Disturbed before it was held, and within the tolerance.
                self._allow(TOLERANCE, away, bound + not_followed, s, told)
            else:
                self._note("a: motion begins", away, bound, s, told, how)
            return displaced
        bound = step * steps + own + tolerance
        if (away <= bound).all() or not disturbed:
            self._note("a: undisturbed or seen", away, bound, s, told)
        elif blind:
            # Within the tolerance it may have been behind when it was last heard of.
            behind = np.minimum(self._error_at(news_s)[c], promises.following[c])
            self._allow(TIMEOUT, away, bound + unheard + behind, s, told)
        else:
            self._allow(TOLERANCE, away, bound + not_followed, s, told)
        # As the controller may see it: against any place of the last periods.
        error = np.zeros(len(self.arm.joints))
        error[c] = np.maximum(row - low, high - row)
        self._errors.append((s.at_s, error))
        return displaced

    def _allow(
        self, name: str, away: np.ndarray, bound: np.ndarray, s: Sent, told: Told
    ) -> None:
        self.counts[f"messages, {name}"] += 1
        self._note(f"a: {name}", away, bound, s, told)

    # (b)
    def _in_time(self, s: Sent, told: Told, begins: bool, gap: float, displaced: bool) -> None:
        promises, c = self.promises, told.columns
        period = promises.point_s
        if told.kind in TRAJECTORIES:
            self._course(s, told, begins, gap, displaced)
        if told.kind == CHUNK:
            told.row = s.row
            return
        row = s.row
        low, high = self._during(s.at_s - 0.5, s.at_s)
        outside = np.maximum(
            np.minimum(promises.lower, low)[c] - row, row - np.maximum(promises.upper, high)[c]
        )
        self._note("0: position", np.maximum(outside, 0), np.full(len(c), 1e-6), s, told)
        rounding = 1e-9 + (3e-7 * (1 + np.abs(row)) if told.kind in FLOAT32 else 0.0)
        velocity = promises.velocity[c] * period
        acceleration = promises.acceleration[c] * period**2
        rounding = rounding + 1e-6 * acceleration
        rounding = np.where(np.isfinite(rounding), rounding, 1e-9)
        if told.row is None or (begins and displaced):
            # Its first step is seen against the arm (a); how long it was, the driver didn't see.
            self.counts["begun where the arm was moved to"] += told.row is not None
            told.step = None
        else:
            step = whole = row - told.row
            if begins:
                # As far as it goes up to where the arm is, it moves no arm: that is (a)'s.
                step = _beyond(step, self._here(s)[c] - told.row)
            between = promises.points > 1
            # Set points: known as well as a source stamp is near to when the clock was looked at.
            stood = begins or (between and told.decided > WAITS * period + 1e-4)
            last = np.zeros(len(c)) if stood or told.step is None else told.step
            bend, rested = np.abs(step - last), np.abs(step)
            if begins:  # or up to where it was seen
                for seen in self._during(s.at_s - STATE_AGE_S, s.at_s):
                    bend = np.minimum(bend, np.abs(_beyond(step, seen[c] - told.row)))
            if told.whole is not None and not stood:
                # What of the step before went up to the arm moved none, but the next goes on.
                bend = np.minimum(bend, np.abs(step - told.whole))
            if told.step is None and not stood:
                # Of two steps; or of none that is known.
                bend = 0.0 * bend if told.unheard else bend / 2
            told.unheard = False
            late = told.decisions > WAITS * period - 1e-4 if between else gap > LATE * period
            if not stood and late:  # a late tick, or a deadline that was missed
                self.counts["late ticks"] += 1
                bend = np.minimum(bend, rested)
            limit = acceleration + rounding
            if not begins and not between and told.step is not None and (bend > limit).any():
                # Taken off the processor between decision and sending, now or the last time.
                seen = [rested] if told.decisions > LATE * period else []
                if told.decided < STANDS * period or told.decisions < STANDS * period:
                    seen.append(np.abs(step - told.step))
                for other in seen:
                    if (other <= limit).all():
                        self.counts["sent later than decided"] += 1
                        beyond = float((bend / limit).max())
                        self._figure("acceleration of what was sent later than decided, relative "
                                     "to the limit", beyond, s, told)  # fmt: skip
                        bend = other
                        break
            if begins:  # a run begins at the arm, and its driver at what it was told
                here = self._here(s)[c]
                near = np.abs(row - here) < velocity
                # It may have crept on since it was measured.
                least, most = self._during(s.at_s - STATE_AGE_S, s.at_s)
                told.slack = (1.2 * np.abs(told.row - here) + (most - least)[c]) * near
            bend = np.maximum(bend - told.slack, 0.0)
            if not begins:
                told.slack = 0.0 * told.slack
            before = told.step

            def how() -> str:
                return (
                    f"step {step}, before it {before}, {gap / period:.2f} periods later "
                    f"(decided {told.decided / period:.2f}, {told.decisions / period:.2f})"
                )

            self._note("b: speed", np.abs(step), velocity + rounding, s, told, how)
            self._note("b: acceleration", bend, acceleration + rounding, s, told, how)
            if stood and told.step is not None and gap > STANDS * period:
                ticks = [t.at_s for t in self._ticks if told.at_s < t.at_s < s.at_s - period / 2]
                # Else the process stood still, and its driver with it.
                in_time = ticks and ticks[0] < told.at_s + 1.4 * period
                then = ""
                if between:  # what wasn't sent in time, was dropped
                    since_s = told.at_s - 1.5 * promises.period_s
                    decided = [t for t in self._ticks if since_s < t.at_s < s.at_s]
                    # As the process reckons, from when it began to send.
                    before_it = [t.sending_s for t in decided if t.at_s < told.at_s]
                    sending_s = max(before_it, default=0.0)
                    in_time = in_time and ticks[0] < told.at_s + 1.4 * period - sending_s
                    then = f"{sending_s=:.4f}, then " + str([
                        (round((t.at_s - told.at_s) / period, 2), t.points, t.reason[:30])
                        for t in decided[:6]
                    ])  # fmt: skip
                    # A tick that wasn't heard may have dropped set points, and the driver stood.
                    numbers = [t.number for t in decided]
                    all_heard = before_it and numbers[-1] - numbers[0] == len(numbers) - 1
                    in_time = in_time and all_heard and not any(t.unsent for t in decided[:-1])
                if len(ticks) >= 2 and in_time and s.source == told.source:
                    bound = acceleration + rounding
                    self._note("b: braked to rest", np.abs(told.step), bound, s, told, then)
            told.step, told.whole = step, whole if begins else None
            for at_s, past in told.recent:
                n = np.ceil((s.at_s - at_s) / period - 1e-3) + 1
                if s.at_s - at_s < 4 * period and not begins:
                    way = velocity * n + rounding
                    self._note("b: speed of 4 periods", np.abs(row - past), way, s, told)
        if begins:
            told.recent.clear()
        told.recent.append((s.at_s, row))
        told.row = row

    def _course(self, s: Sent, told: Told, begins: bool, gap: float, displaced: bool) -> None:
        assert isinstance(s.what, Trajectory)
        promises, c = self.promises, told.columns
        period = promises.period_s if told.kind == CHUNK else promises.point_s
        late_s = self._late_s(s, told) if told.kind == CHUNK else 0.0
        at_s = s.at_s - late_s
        resets = self.arm.resets
        reset = any(g == s.group and told.at_s < t <= s.at_s for t, g in resets[-50:])
        here = self._pose(s.at_s)[c]
        if told.course is None or reset:
            # What it holds after it forgot what it was told is where the arm then was.
            told.course = told.as_sent = Course.rest(at_s - 1.0, here)
        before, also = told.course, told.as_sent
        assert also is not None
        velocity, acceleration = promises.velocity[c], promises.acceleration[c]
        self._along(before, max(told.skip_until_s, before.times[0]), at_s, told, s,
                    velocity * told.jitter, acceleration)  # fmt: skip
        if told.kind != CHUNK:
            # A point is due a fixed time after it was sent: one that follows the last one sooner
            # than a period, as after a late tick, is added to what is left of the last one's way.
            first = s.what.times[0]
            rest = 0.0 if begins else max(first - gap, 0.0) * told.jitter
            told.jitter = max((period + rest) / first, 1.0)
        told.course = Course.after(before, at_s, s.what)
        told.as_sent = Course.after(also, s.at_s, s.what)
        if told.skip_until_s < at_s:
            told.skip_until_s = -np.inf
        # A point that closes in on where the arm is moves no arm.
        wanted = before.at(np.array([at_s]))[0][0]
        nearer = np.abs(s.what.positions[0] - here) < np.abs(wanted - here) - 1e-6
        displaced = displaced or (begins and bool(nearer.any()))
        if displaced and (begins or reset):
            more_s = 0.0 if told.kind == CHUNK else 6 * period  # a point a tick closes in slowly
            told.skip_until_s = told.course.times[1] + more_s
        if told.kind == CHUNK:
            # Where two curves meet is known as well as when they were sent, by their reckoning:
            # not where the machine took the process off the processor in between.
            prompt = s.at_s - told.decided_s < period / 2
            close = prompt and told.prompt and abs(late_s - told.late_chunk_s) < JOIN_S
            if before.times[-1] > at_s and not close:
                told.skip_until_s = max(told.skip_until_s, told.course.times[1])
                self.counts["joins sent off their reckoning: not checked"] += 1
            else:
                self.counts["joins checked"] += 1
            told.prompt, told.late_chunk_s = prompt, late_s
            self.counts["begun where the arm was moved to"] += 1
        if told.kind == CHUNK:
            self._figure("chunks: sent off their own reckoning [ms]", abs(late_s) * 1e3, s, told)
            if told.skip_until_s < at_s:
                # Only what joins the two, as it was really sent.
                ends = told.as_sent.times[:2]
                a = np.abs(told.as_sent.at(ends + [1e-9, -1e-9])[2])
                self._figure("chunks: acceleration of the join as sent, relative to the limit",
                             float((a / acceleration).max()), s, told)  # fmt: skip

    def _along(
        self, course: Course, begin_s: float, end_s: float, told: Told, s: Sent,
        velocity: np.ndarray, acceleration: np.ndarray,
    ) -> None:  # fmt: skip
        """Check a stretch of a course: the ends of each segment and places between."""
        stop_s = min(end_s, course.times[-1])
        if stop_s <= begin_s:
            return
        inner = course.times[(course.times > begin_s) & (course.times < stop_s)]
        knots = np.concatenate([[begin_s], inner, [stop_s]])
        spans = np.diff(knots)
        inset = np.minimum(1e-7, spans / 10)
        places = (
            knots[:-1, None] + inset[:, None]
            + (spans - 2 * inset)[:, None] * np.linspace(0, 1, 9)
        ).ravel()  # fmt: skip
        _, v, a = course.at(places)
        chunk = told.kind == CHUNK
        self._note(f"b: speed between {'a chunk' if chunk else 'single point'}'s points",
                   np.abs(v).max(axis=0), SLACK * velocity + 1e-6, s, told)  # fmt: skip
        if chunk and np.isfinite(acceleration).all():
            self._note("b: acceleration between a chunk's points",
                       np.abs(a).max(axis=0), SLACK * acceleration + 1e-4, s, told,
                   self._where(a, acceleration, places, course))  # fmt: skip

    def _where(
        self, a: np.ndarray, limit: np.ndarray, places: np.ndarray, course: Course
    ) -> str:
        i = int(np.argmax((np.abs(a) / limit).max(axis=1)))
        segment = int(np.searchsorted(course.times, places[i])) - 1
        span = np.diff(course.times)[min(segment, len(course.times) - 2)] * 1e3
        return (
            f"in segment {segment} ({span:.2f} ms), {places[i] - course.times[0]:.4f} s after its "
            f"message, whose points begin {course.times[1] - course.times[0]:.4f} s after it"
        )

    # (c)
    def _hold(self, s: Sent, told: Told, tick: Ticked) -> None:
        told.held += 1
        most = (self.promises.brake_ticks + 2) * (
            1 if told.kind == CHUNK else self.promises.points
        )
        self._note("c: messages of a hold", np.array([float(told.held)]), np.array([float(most)]),
                   s, told, f"{tick.reason[:70]!r}")  # fmt: skip
        moving = [t for t in self._told.values() if t.course is not None and t.kind == CHUNK]
        moves = any(s.at_s < t.course.times[-1] for t in moving if t.course is not None)
        if tick.at_s != self._idle_tick:
            self._idle += not self._idle_changed
            self._idle_tick, self._idle_changed = tick.at_s, False
        self._idle_changed |= moves
        if told.kind != CHUNK:
            self._idle_changed |= told.row is None or bool((s.row != told.row).any())
        self._note("c: messages at rest", np.array([float(self._idle)]), np.array([2.0]), s, told,
                   f"{tick.reason[:70]!r}")  # fmt: skip

    # -- helpers ----------------------------------------------------------------------------

    @property
    def _last_at(self) -> float:
        return max(told.at_s for told in self._told.values())

    def _command(self, at_s: float) -> np.ndarray:
        command = self._pose(at_s)
        for told in self._told.values():
            if told.kind == CHUNK and told.course is not None:
                command[told.columns] = told.course.at(np.array([at_s]))[0][0]
            elif told.row is not None:
                command[told.columns] = told.row
        return command

    def _pose(self, at_s: float) -> np.ndarray:
        i = int(np.searchsorted(self._times, at_s))
        return np.array(self._poses[min(i, len(self._poses) - 1)])

    def _here(self, s: Sent) -> np.ndarray:
        """Return where the arm was when a message was sent, [A].

        Set points come so fast that a double takes some of them when those after them have been
        sent, too: it stood elsewhere by then. One row per period it takes before the next.
        """
        return s.pose if self.promises.points == 1 else self._pose(s.at_s)

    def _during(self, begin_s: float, end_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest pose [A] in a stretch of time."""
        first = max(int(np.searchsorted(self._times, begin_s)) - 1, 0)
        found = self._poses[first : max(int(np.searchsorted(self._times, end_s)) + 1, first + 1)]
        return found.min(axis=0), found.max(axis=0)

    def _machine_s(self, at_s: float) -> float:
        """Return by how much this machine was late lately, as the double's own timer shows."""
        i, j = np.searchsorted(self._beats, [at_s - 0.5, at_s + 0.02])
        beats = self._beats[max(i - 1, 0) : j + 1]
        return max(float(np.diff(beats).max(initial=0.0)) - 0.01, 0.0)

    def _stood_s(self, begin_s: float, end_s: float) -> float:
        """Return how much of a gap between messages no driver saw, as its clock stood still.

        Of a long one the controller thinks better: its drivers may go by another clock.
        """
        if end_s - begin_s > CLOCK_STANDS_S:
            return 0.0
        stood = [min(e, end_s) - max(b, begin_s) for b, e in list(self.clock_stands)]
        return sum(s for s in stood if s > 0)

    def _hand(self, at_s: float) -> tuple[np.ndarray, float]:
        """Return how far joints that are held were pushed lately, and how fast limp ones led."""
        hands = self.arm.hands
        first = bisect_right([t for t, _, _ in hands], at_s - 2.0) - 1
        lately = [(by, speed) for t, by, speed in hands[max(first, 0) :] if t <= at_s]
        return np.abs([by for by, _ in lately]).max(axis=0), max(s for _, s in lately)

    def _error_before(self, at_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the arm's error [A] before it is held at ``at_s``: undisturbed, and as it was."""
        begun = [b for _, b, e in self.disturbances if b <= at_s < e + 2.0]
        now = np.abs(self._command(at_s) - self._pose(at_s))
        found = []
        for until_s in (min([at_s, *begun]), at_s):
            errors = [e for t, e in self._errors if until_s - 0.5 <= t <= until_s + 0.03]
            found.append(np.max([*errors, 0 * now], axis=0))
        return found[0], np.maximum(found[1], now)

    def _error_at(self, at_s: float) -> np.ndarray:
        """Return the arm's largest error [A] of the last few periods before ``at_s``."""
        since_s = at_s - 3 * self.promises.period_s
        errors = [e for t, e in self._errors if since_s <= t <= at_s]
        return np.max([*errors, np.zeros(len(self.arm.joints))], axis=0)

    def _context(self, at_s: float) -> str:
        return self.contexts[bisect_right([t for t, _ in self.contexts], at_s) - 1][1]

    def _figure(self, name: str, value: float, s: Sent, told: Told) -> None:
        if value > self.worst.get(name, (-np.inf, ""))[0]:
            self.worst[name] = (value, f"{self._context(s.at_s)} {told.kind}")

    def _note(
        self, name: str, value: np.ndarray, bound: np.ndarray, s: Sent, told: Told,
        more: str | Callable[[], str] = "",
    ) -> None:  # fmt: skip
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isfinite(bound), value / bound, 0.0)
        j = int(np.argmax(ratio))
        self._figure(name, float(ratio[j]), s, told)
        if ratio[j] > 1.0:
            joint = self.arm.joints[told.columns[min(j, len(told.columns) - 1)]]
            self._wrong(
                name, s.at_s,
                f"{told.kind} {s.group}, {joint}: {value[j]:.5f}, allowed {bound[j]:.5f} "
                f"({ratio[j]:.3g} times; {s.done}) {more if isinstance(more, str) else more()}",
            )  # fmt: skip

    def _wrong(self, name: str, at_s: float, what: str) -> None:
        now = [
            f"{kind} {at_s - begin:+.2f} s" + (f" to {at_s - end:+.2f}" if end <= at_s else "")
            for kind, begin, end in self.disturbances
            if begin <= at_s < end + 4.0
        ]
        last = self._was
        self.counts[f"violations of {name}"] += 1
        if at_s - self._said.get(name, -np.inf) < 1.0:
            return  # the same, message after message: they are counted
        self._said[name] = at_s
        self.problems.append(
            f"({name}) {self._context(at_s)} at {at_s:.3f}: {what}; {now or 'undisturbed'}; "
            f"tick: {'none' if last is None else (Mode(last.mode).name, last.reason[:60])}"
        )
