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
STANDS_S = 0.1
"""An arm that goes by more than a velocity step in this time moves; motion begins at rest only."""
_FORGET_S = 1.0
"""The arm's own lag is the largest of about this long."""


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
    moved; None before any command. ``poses`` are the last trusted ones, ``STANDS_S`` of them.
    ``lost_ticks`` counts ticks in which it was elsewhere, ``unseen_ticks`` those of them in a row
    in which no joint was heard of.
    """

    lag: np.ndarray | None = None
    received_ns: np.ndarray | None = None
    lost_ticks: int = 0
    distrust_before_ns: int = 0
    unheard_before_ns: int = 0
    poses: tuple[np.ndarray, ...] = ()
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
    """

    joints: Sequence[str]
    limits: JointLimits
    resume_tolerance: np.ndarray
    following_tolerance: np.ndarray
    period_s: float
    patience: int = field(init=False)
    _kept: int = field(init=False)
    _forget: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", round(FOLLOWS_WITHIN_S / self.period_s))
        object.__setattr__(self, "_kept", max(1, round(STANDS_S / self.period_s)) + 1)
        object.__setattr__(self, "_forget", float(np.exp(-self.period_s / _FORGET_S)))

    def judge(
        self, watched: Watched, arm: Arm, command: np.ndarray | None, moving: bool
    ) -> tuple[Watched, Verdict]:
        """Look at the arm; return what to remember and whether the motion may go on.

        ``command`` is what went out last [A] (None: nothing since ``start``), ``moving`` whether
        that was a row of a chunk.
        """
        if arm.problem:
            return changed(watched, poses=(), lost_ticks=0), Verdict(hold=arm.problem)
        if (arm.received_ns < watched.distrust_before_ns).any():
            late = self.joints[int(np.argmin(arm.received_ns))]
            return changed(watched, poses=()), Verdict(
                hold=f"this process stood still: waiting for the joint state of {late} since then"
            )
        if (arm.received_ns < watched.unheard_before_ns).any():
            # The arm went on with its command, and is seen where it was: nothing says it didn't.
            return changed(watched, poses=()), GOOD
        poses = (*watched.poses, arm.pose)[-self._kept :]
        if command is None:
            return changed(watched, poses=poses, lag=None, lost_ticks=0), GOOD
        error = np.abs(self.limits.nearest(arm.pose, command) - command)
        # Before it was seen moving it has none that would be known.
        known = np.zeros(len(error)) if watched.lag is None else watched.lag
        if not moving and (moved := self._moved(error, known)):
            # Not at once: right after the motion the arm may not have come to its command yet.
            watched = self._lost(watched, arm, poses)
            close = f"{moved}; call ~/start" if watched.lost_ticks > self.patience else ""
            return watched, Verdict(moved, close)
        beyond = error - self.following_tolerance * (0.5 if watched.lost_ticks else 1.0)
        worst = int(np.argmax(beyond))
        if beyond[worst] > 0:
            watched = self._lost(watched, arm, poses)
            sentence = (
                f"{self.joints[worst]} is {error[worst]:.3g} from its command and doesn't follow "
                f"(following_tolerance is {self.following_tolerance[worst]:g}): its driver's "
                "controller isn't active, or something stops or holds it"
            )
            lasts = watched.lost_ticks > self.patience
            return watched, Verdict(sentence, f"{sentence}; call ~/start" if lasts else "")
        lag = self._lag(watched, error, arm.received_ns) if moving else watched.lag
        return changed(
            watched, lag=lag, received_ns=arm.received_ns, lost_ticks=0, poses=poses,
            unseen_ticks=0,
        ), GOOD  # fmt: skip

    def _lost(self, watched: Watched, arm: Arm, poses: tuple[np.ndarray, ...]) -> Watched:
        """Count a tick in which the arm is elsewhere, where it was seen anew in it."""
        before = watched.received_ns
        news = before is None or bool((arm.received_ns != before).any())
        unseen = 0 if news else watched.unseen_ticks + 1
        # Not while nobody sees it: commands run away from joint states that stay out, too.
        ticks = watched.lost_ticks + 1 if unseen <= self._kept else max(watched.lost_ticks, 1)
        return changed(
            watched, poses=poses, received_ns=arm.received_ns, lost_ticks=ticks,
            unseen_ticks=unseen,
        )  # fmt: skip

    def _moved(self, error: np.ndarray, lag: np.ndarray) -> str:
        """Say which joint stands elsewhere than the last command left it; "" where none does."""
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

    def _lag(self, watched: Watched, error: np.ndarray, received_ns: np.ndarray) -> np.ndarray:
        """Learn the arm's own lag from joints that were seen: an unseen one isn't behind."""
        if watched.lag is None or watched.received_ns is None:
            return error
        lag: np.ndarray = watched.lag * self._forget
        news = received_ns != watched.received_ns
        return np.where(news, np.maximum(error, lag), lag)

    def beside(self, watched: Watched, arm: Arm, command: np.ndarray) -> np.ndarray:
        """Return where motion begins again after a hold, [A].

        That is at the ``command``, but no farther from the arm than its own lag was: what an arm
        gave way meanwhile, within the tolerance, it is not thrown back. A load that the arm sags
        under, and an object that a gripper squeezes, are in that lag and stay as they were.
        """
        lag = 0.0 if watched.lag is None else watched.lag
        pose = self.limits.nearest(arm.pose, command)
        low, high = pose - lag, pose + lag
        begin = np.minimum(np.maximum(command, low), high)
        return np.where(np.isfinite(self.resume_tolerance), begin, command)

    def moves(self, watched: Watched) -> str:
        """Say that the arm isn't known to stand still; "" where it is."""
        if len(watched.poses) < self._kept:
            return f"the arm hasn't been seen standing still for {STANDS_S:g} s: try again"
        way = np.abs(self.limits.nearest(watched.poses[-1], watched.poses[0]) - watched.poses[0])
        worst = int(np.argmax(way - self.limits.max_step))
        if way[worst] <= self.limits.max_step[worst]:
            return ""
        return (
            f"{self.joints[worst]} still moves: {way[worst]:.3g} in the last {STANDS_S:g} s, more "
            f"than a step of {self.limits.max_step[worst]:.3g}: wait until the arm stands"
        )

    def after_a_stall(self, watched: Watched, seconds: float, now_ns: int) -> Watched:
        """Remember that this process stood still for ``seconds`` until ``now_ns``.

        What it hears right after are messages from before: an arm that was moved meanwhile is
        only seen in those that come later.
        """
        if seconds <= STALL_S:
            return watched
        return changed(
            watched, distrust_before_ns=now_ns + round(2e9 * self.period_s), poses=()
        )

    def unheard(self, watched: Watched, seconds: float, now_ns: int) -> Watched:
        """Remember the same where the arm went on along what it was sent meanwhile.

        What is heard right after shows it where it was, far behind its command.
        """
        if seconds <= STALL_S:
            return watched
        return changed(watched, unheard_before_ns=now_ns + round(2e9 * self.period_s), poses=())
