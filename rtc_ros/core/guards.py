"""Whether motion may go on, judged by where the arm is: the one place that compares the two.

A command is only as good as the arm that follows it. Whoever stops an arm, moves it by hand or
holds it tells us nothing; only the joint states show it. So at every tick, whatever the controller
does, the measured pose is held against the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtc_ros.core.frozen import changed
from rtc_ros.core.limits import JointLimits

FOLLOWS_WITHIN_S = 0.2
"""An arm that is elsewhere is held at once; after this long the gate closes."""
STALL_S = 0.1
"""After the process stood still for longer, joint states from before count no more."""
QUEUES_S = 0.05
"""Joint states that came sooner after such a stall may be from before it."""
FRESH_S = 0.05
"""Motion begins by joint states that are no older, or by the next ones."""
STANDS_S = 0.1
"""An arm that goes by more than a velocity step in this time moves; motion begins at rest only."""
_STEP_S = 0.02
"""No step counts as longer than that: at 10 Hz an arm at full speed goes one in ``STANDS_S``."""
STANDS_SHARE = 1 / 500
"""Less than this share of a joint's range, or of its turn, is no motion: encoders of 10 bits and
more flicker between two of their steps, which may be more than a slow joint's velocity step."""
_WINDOW_S = 0.25
"""The arm's own lag is the largest of the present window of motion and of the one before: of the
last half second at most, so that what disturbed it before that is forgotten."""


@dataclass(frozen=True, eq=False)
class Arm:
    """The arm at a tick, as its joint states tell.

    ``pose`` is float64[A] in robot units. ``received_ns`` int64[A] is when each joint's state came
    (CLOCK_MONOTONIC). ``problem`` says why they can't be trusted (stale, jumped, two publishers).
    """

    pose: np.ndarray
    received_ns: np.ndarray
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """Why the motion must be held in this tick, and why the gate must be closed; "" where not."""

    hold: str = ""
    close: str = ""


GOOD = Verdict()


@dataclass(frozen=True, eq=False)
class Watched:
    """What the guards remember from tick to tick.

    ``lag`` float64[A] is the arm's own: its largest distance from the commands of late, while it
    moved; None before any command. It is the larger of ``lags``, of the window of
    motion before and of the present one, which is ``lag_ticks`` old.
    ``seen`` are the last trusted ones that brought news, as many as it takes for each joint's to
    be ``STANDS_S`` apart.
    ``lost_ticks`` counts ticks in which it was elsewhere, ``unseen_ticks`` those of them in a row
    in which no joint was heard of.
    """

    lag: np.ndarray | None = None
    lags: tuple[np.ndarray, np.ndarray] | None = None
    lag_ticks: int = 0
    received_ns: np.ndarray | None = None
    lost_ticks: int = 0
    distrust_before_ns: int = 0
    seen: tuple[Arm, ...] = ()
    unseen_ticks: int = 0


@dataclass(frozen=True, eq=False)
class Guards:
    """What an arm may do beside its commands.

    Args:
        joints: names for the sentences.
        limits: say how far a step goes, and which joints turn endlessly: whole turns are no error.
        resume_tolerance: how much farther from its command than before an arm may stand when the
            motion goes on after a hold, [A] robot units; infinite: any.
        following_tolerance: the largest distance from its command, [A] robot units; infinite: any.
        period_s: Δt.
        behind: how many ticks each joint's driver is behind what was commanded, int[A]: one of
            chunks goes along a curve that was sent ahead. That is no error of the arm's.
    """

    joints: Sequence[str]
    limits: JointLimits
    resume_tolerance: np.ndarray
    following_tolerance: np.ndarray
    period_s: float
    behind: np.ndarray = field(default_factory=lambda: np.zeros(1, int))
    patience: int = field(init=False)
    _unseen_most: int = field(init=False)
    _window: int = field(init=False)
    _still: np.ndarray = field(init=False)
    _stands: np.ndarray = field(init=False)
    _compared: int | tuple[np.ndarray, np.ndarray] = field(init=False)
    """Where in the last commands is what each joint's driver is at."""

    def __post_init__(self) -> None:
        limits = self.limits
        turn_or_range = np.where(limits.turn > 0, limits.turn, limits.upper - limits.lower)
        floor = np.where(np.isfinite(turn_or_range), STANDS_SHARE * turn_or_range, 0.0)
        object.__setattr__(self, "patience", round(FOLLOWS_WITHIN_S / self.period_s))
        object.__setattr__(self, "_unseen_most", max(1, round(STANDS_S / self.period_s)) + 1)
        object.__setattr__(self, "_window", max(1, round(_WINDOW_S / self.period_s)))
        still = limits.max_step * min(1.0, _STEP_S / self.period_s)
        object.__setattr__(self, "_still", still)
        object.__setattr__(self, "_stands", np.maximum(still, floor))
        rows = -1 - self.behind, np.arange(len(limits.lower))
        object.__setattr__(self, "_compared", rows if self.behind.any() else -1)

    @property
    def comes_within_s(self) -> float:
        """How long after its last command an arm may still come to it by itself [s]."""
        return FOLLOWS_WITHIN_S + float(self.behind.max()) * self.period_s

    def judge(
        self, watched: Watched, arm: Arm, commands: np.ndarray | None, moving: bool
    ) -> tuple[Watched, Verdict]:
        """Look at the arm; return what to remember and whether the motion may go on.

        ``commands`` are what went out last [more than any is ``behind``, A], the newest last
        (None: nothing since ``start``), ``moving`` whether that was a row of a chunk.
        """
        if arm.problem:
            return changed(watched, seen=(), lost_ticks=0), Verdict(hold=arm.problem)
        distrust_ns = watched.distrust_before_ns
        if distrust_ns and (arm.received_ns < distrust_ns).any():
            late = self.joints[int(np.argmin(arm.received_ns))]
            return changed(watched, seen=()), Verdict(
                hold=f"this process stood still: waiting for the joint state of {late} since then"
            )
        watched = changed(watched, seen=_seen(watched.seen, arm))
        if commands is None:
            return changed(watched, lag=None, lost_ticks=0), GOOD
        error = self._error(arm, commands)
        if not moving and (moved := self._moved(error, watched)):
            # Not at once: right after the motion the arm may not have come to its command yet.
            watched = self._lost(watched, arm)
            close = f"{moved}; call ~/start" if watched.lost_ticks > self.patience else ""
            return watched, Verdict(moved, close)
        beyond = error - self.following_tolerance * (0.5 if watched.lost_ticks else 1.0)
        worst = int(beyond.argmax())
        if beyond[worst] > 0:
            watched = self._lost(watched, arm)
            sentence = (
                f"{self.joints[worst]} is {error[worst]:.3g} from its command and doesn't follow "
                f"(following_tolerance is {self.following_tolerance[worst]:g}): its driver's "
                "controller isn't active, or something stops or holds it"
            )
            lasts = watched.lost_ticks > self.patience
            return watched, Verdict(sentence, f"{sentence}; call ~/start" if lasts else "")
        if moving:
            watched = self._lagging(watched, error, arm.received_ns)
        seen = changed(watched, received_ns=arm.received_ns, lost_ticks=0, unseen_ticks=0)
        return seen, GOOD

    def elsewhere(self, watched: Watched, arm: Arm, commands: np.ndarray) -> str:
        """Say which joint isn't where its driver went while nobody looked; "" where all are."""
        error = self._error(arm, commands)
        beyond = error - self.following_tolerance
        worst = int(np.argmax(beyond))
        if beyond[worst] <= 0:
            return self._moved(error, watched)
        return (
            f"{self.joints[worst]} is {error[worst]:.3g} from its command (following_tolerance is "
            f"{self.following_tolerance[worst]:g}): the arm was moved"
        )

    def _error(self, arm: Arm, commands: np.ndarray) -> np.ndarray:
        return self._away(arm, commands[self._compared])

    def _away(self, arm: Arm, place: np.ndarray) -> np.ndarray:
        """Return how far the arm is from ``place``, [A] each."""
        return np.abs(self.off(arm, place))

    def _lost(self, watched: Watched, arm: Arm) -> Watched:
        """Count a tick in which the arm is elsewhere, where it was seen anew in it."""
        before = watched.received_ns
        news = before is None or bool((arm.received_ns != before).any())
        unseen = 0 if news else watched.unseen_ticks + 1
        # Not while nobody sees it: commands run away from joint states that stay out, too.
        counts = unseen <= self._unseen_most
        ticks = watched.lost_ticks + 1 if counts else max(watched.lost_ticks, 1)
        return changed(
            watched, received_ns=arm.received_ns, lost_ticks=ticks, unseen_ticks=unseen
        )

    def _moved(self, error: np.ndarray, watched: Watched) -> str:
        """Say which joint stands elsewhere than the last command left it; "" where none does."""
        # Before it was seen moving it has none that would be known.
        lag = np.zeros(len(error)) if watched.lag is None else watched.lag
        excess = np.where(
            np.isfinite(self.resume_tolerance), error - lag - self.resume_tolerance, -np.inf
        )
        worst = int(np.argmax(excess))
        if excess[worst] <= 0:
            return ""
        return (
            f"{self.joints[worst]} is {error[worst]:.3g} from its last command, and was "
            f"{lag[worst]:.3g} before it was held (resume_tolerance is "
            f"{self.resume_tolerance[worst]:g}): the arm was moved"
        )

    def _lagging(self, watched: Watched, error: np.ndarray, received_ns: np.ndarray) -> Watched:
        """Learn the arm's own lag from joints that were seen: an unseen one isn't behind."""
        if watched.lag is None or watched.received_ns is None:
            lags = np.zeros_like(error), error
            return changed(watched, lag=error, lags=lags, lag_ticks=1)
        assert watched.lags is not None, "it is set where lag is"
        (before, present), ticks = watched.lags, watched.lag_ticks + 1
        news = received_ns != watched.received_ns
        if not news.any():
            return changed(watched, lag_ticks=ticks)
        if ticks > self._window:
            before, present, ticks = present, np.zeros_like(present), 1
        present = np.where(news, np.maximum(error, present), present)
        lag = np.maximum(before, present)
        return changed(watched, lag=lag, lags=(before, present), lag_ticks=ticks)

    def beside(self, watched: Watched, arm: Arm, command: np.ndarray) -> np.ndarray:
        """Return where motion begins again after a hold, [A].

        That is at the ``command``, but no farther from the arm than its own lag was: what an arm
        gave way meanwhile, within the tolerance, it is not thrown back. A load that the arm sags
        under, and an object that a gripper squeezes, are in that lag and stay as they were.
        """
        lag = 0.0 if watched.lag is None else watched.lag
        pose = self.limits.nearest(arm.pose, command)
        begin = np.minimum(np.maximum(command, pose - lag), pose + lag)
        # What rounding makes of it is no way to go.
        near = np.abs(begin - command) <= 1e-9 * (1.0 + np.abs(command))
        return np.where(near | np.isinf(self.resume_tolerance), command, begin)

    def came(
        self, watched: Watched, arm: Arm, place: np.ndarray, joints: Sequence[int]
    ) -> Watched:
        """Learn how far ``joints`` stay from ``place`` [A], where they were sent: their own lag.

        Else an arm that sags at rest by more than it lagged would be followed down for ever.
        """
        away = np.zeros(len(place))
        away[joints] = self._away(arm, place)[joints]
        lag = away if watched.lag is None else np.maximum(watched.lag, away)
        before = np.zeros_like(lag) if watched.lags is None else watched.lags[0]
        return changed(watched, lag=lag, lags=(before, lag))

    def off(self, arm: Arm, place: np.ndarray) -> np.ndarray:
        """Return where the arm is, seen from ``place`` [A]."""
        return self.limits.nearest(arm.pose, place) - place

    def is_far(self, off: np.ndarray) -> np.ndarray:
        """Tell which joints, ``off`` [A], are known from others that are half as far, bool[A]."""
        far = (np.abs(off) > 2 * self._stands) & (np.abs(off) <= self.resume_tolerance)
        return np.asarray(far & np.isfinite(self.resume_tolerance))

    def not_come(
        self, watched: Watched, off: np.ndarray, before: np.ndarray | None, joints: Sequence[int]
    ) -> list[int]:
        """Return which of these ``joints`` aren't where they were sent, ``off`` [A] from there.

        They are there within ``resume_tolerance``, and within a velocity step, or as far as they
        are known to lag, or were the time ``before`` [A] from where they were sent then (None:
        they weren't). Joints whose tolerance is infinite close on something: that they may.
        """
        lag = 0.0 if watched.lag is None else watched.lag
        come = np.abs(off) <= np.maximum(self._still, lag)
        if before is not None:
            # A load depends on the pose a little.
            come |= np.abs(off - before) <= np.maximum(self._stands, 0.15 * np.abs(before))
        come &= np.abs(off) <= self.resume_tolerance
        come |= np.isinf(self.resume_tolerance)
        return [joint for joint in joints if not come[joint]]

    def moves(self, watched: Watched) -> str:
        """Say that the arm isn't known to stand still; "" where it is."""
        if not watched.seen:
            return f"the arm hasn't been seen standing still for {STANDS_S:g} s: try again"
        last = watched.seen[-1]
        span_s = (last.received_ns - watched.seen[0].received_ns) * 1e-9
        if (span_s < STANDS_S).any():
            late = self.joints[int(np.argmin(span_s))]
            return (
                f"the arm hasn't been seen standing still for {STANDS_S:g} s: the joint states "
                f"of {late} tell of {span_s.min():.2g} s: try again"
            )
        return self._seen_moving(watched)

    def may_begin(self, watched: Watched) -> str:
        """Say why no run can begin at the measured pose now; "" where nothing tells of motion.

        It stood when ~/start was called; after a stall that has to be seen anew.
        """
        return self.moves(watched) if watched.distrust_before_ns else self._seen_moving(watched)

    def _seen_moving(self, watched: Watched) -> str:
        if not watched.seen:
            return ""
        last = watched.seen[-1]
        poses = [self.limits.nearest(arm.pose, last.pose) for arm in watched.seen]
        way = np.ptp(poses, axis=0)
        worst = int(np.argmax(way - self._stands))
        if way[worst] <= self._stands[worst]:
            return ""
        span_s = (last.received_ns - watched.seen[0].received_ns)[worst] * 1e-9
        return (
            f"{self.joints[worst]} still moves: {way[worst]:.3g} in the last {span_s:.2g} "
            f"s, more than {self._stands[worst]:.3g}: wait until the arm stands"
        )

    def after_a_stall(self, watched: Watched, seconds: float, now_ns: int) -> Watched:
        """Remember that this process stood still for ``seconds`` until ``now_ns``.

        What it hears right after are messages from before: an arm that was moved meanwhile is
        only seen in those that come later.
        """
        if seconds <= STALL_S:
            return watched
        return changed(watched, distrust_before_ns=self.news_after(now_ns), seen=())

    def news_after(self, now_ns: int) -> int:
        """Return when what is heard isn't what waited in a queue while this process stood still.

        [ns], of a stall that ended at ``now_ns``.
        """
        return now_ns + round(1e9 * max(2 * self.period_s, QUEUES_S))

    def unheard_of(self, arm: Arm, now_ns: int, since_ns: int) -> str:
        """Return the joint whose state is too old to begin a motion by, "" where all are new.

        They are as new as they come, or came ``since_ns`` (0: never).
        """
        old_ns = now_ns - round(1e9 * max(1.5 * self.period_s, FRESH_S))
        old = arm.received_ns < (min(old_ns, since_ns) if since_ns else old_ns)
        return self.joints[int(np.argmin(arm.received_ns))] if old.any() else ""


def _seen(seen: tuple[Arm, ...], arm: Arm) -> tuple[Arm, ...]:
    """Append what brought news; drop what isn't needed to see each joint for ``STANDS_S``."""
    if seen and (arm.received_ns == seen[-1].received_ns).all():
        return seen
    seen = (*seen, arm)
    enough_ns = arm.received_ns - round(STANDS_S * 1e9)
    while len(seen) > 2 and (seen[1].received_ns <= enough_ns).all():
        seen = seen[1:]
    return seen
