"""One tick of the motion: follow what a driver did meanwhile, decide, and send."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.command import Command, without
from rtc_ros.core.controller import (
    Controller,
    ControllerState,
    Inputs,
    ahead,
    begin_at,
    cut,
    follow,
    settled,
    untold,
)
from rtc_ros.core.guards import FOLLOWS_WITHIN_S, Arm

_TRIES = 3
"""Decisions of one tick: on a machine on which each takes longer than Δt, the last is sent."""
_OLD = 0.5
"""Periods after which a decision that wasn't sent yet is made again."""
_PAUSE_NS = 500_000_000
"""Time that passed although the ticks' own clock stood still, as a simulator's does: a real driver
stood meanwhile."""
_STANDS = 1.5
"""Periods, or m-ths of one where set points are sent, without a command after which a driver of
single rows stands."""

_COMING = "until the driver has come to where motion begins"


@dataclass(frozen=True)
class Done:
    """A command, and how many periods before its tick it was due (0: the tick's own)."""

    command: Command
    ago: int = 0


@dataclass(frozen=True, eq=False)
class Coming:
    """Where drivers of chunks are sent before motion begins there, [A], and until when k waits."""

    begin: np.ndarray
    until_ns: int


def _begins(command: Command) -> bool:
    """Tell whether its set points begin at rest, so that the first of them can't be late."""
    motion, mean = command.motion, command.mean
    return not command.sends or (
        motion is not None and mean is not None and not motion.step.any() and mean.settled
    )


class ControlTick:
    """Plays one step per tick, and sends it.

    Whoever was told nothing for some periods stands: the next row begins from rest. But a driver
    that was sent a chunk goes on along it while this process stands still, and can't be told to
    stop: the ticks that were missed are played as it played them, and what it is sent next begins
    where it then is. A decision within which the process stood still is dropped and made again:
    nothing goes out that is half a period old.

    With m set points in a period (and no driver of chunks) ``run`` only decides, and ``send``
    sends them one by one. One that would come to a driver that stands by then isn't sent, nor are
    those after it: the next tick goes on from the last one that was, from rest.

    Args:
        controller: what is stepped; its state is touched under the node's lock only.
        groups: the drivers.
        newest: returns a chunk of the run of that epoch which wasn't returned before, or None.
        look: returns the arm; told how many ticks were missed since it last did.
        lost: gives up the deadlines missed since it was last asked, and returns how many.
        late_s: how late the last deadline's tick is by now [s].
        since_s: how long ago that deadline was, told to a set point [s].
        stamp: the node's time, as a message has it.
        now_ns: CLOCK_MONOTONIC [ns].
        period_s: Δt.
    """

    def __init__(
        self,
        controller: Controller,
        groups: Sequence[CommandGroup],
        *,
        newest: Callable[[int], ActionChunk | None],
        look: Callable[[int], Arm],
        lost: Callable[[], int],
        late_s: Callable[[], float],
        since_s: Callable[[], float] = lambda: 0.0,
        stamp: Callable[[], Any],
        now_ns: Callable[[], int],
        period_s: float,
    ) -> None:
        self._controller = controller
        self._groups = groups
        self._newest = newest
        self._look = look
        self._lost = lost
        self._late_s = late_s
        self._since_s = since_s
        self._stamp = stamp
        self._now_ns = now_ns
        self._period_s = period_s
        self._sent_late_s, self._owed, self._sent_ns = 0.0, 0, 0
        self._points = controller.settings.points
        self._point_s = period_s / self._points
        self._command: Command | None = None
        """Whose set points are being sent."""
        self._count = 0
        self.cut: Command | None = None
        """The command of the tick before the last one, where not all of it was sent."""
        self.points_sent = self.points_unsent = 0
        self._coming: Coming | None = None
        self._chunk_columns = [c for g in groups if g.plays_chunks for c in g.columns]
        self._row_columns = [c for g in groups if not g.plays_chunks for c in g.columns]

    def run(self, missed: int) -> list[Done]:
        """Play and send one step; return the commands since the last tick.

        ``missed`` ticks since the last one, as far as a driver played them, come first.
        """
        controller, chunk = self._controller, None
        done: list[Done] = []
        stalled = 0
        missed += self._owed + self._lost()  # while it waited for the lock
        self._end_period()
        for tries_left in reversed(range(_TRIES)):
            stalled += missed
            late_s = self._late_s()
            # Set points begin one m-th of a period after their tick.
            sends_s = late_s if self._points == 1 else max(late_s, self._point_s)
            gap_s = (1 + stalled) * self._period_s + sends_s - self._sent_late_s
            if self._sent_ns and self._now_ns() - self._sent_ns > _PAUSE_NS:
                gap_s = max(gap_s, (self._now_ns() - self._sent_ns) * 1e-9)
            stands = gap_s > _STANDS * self._point_s
            followed = self._follow(missed, stands)
            done = [Done(d.command, d.ago + missed) for d in done] + followed
            chunk = self._newest(controller.state.player.epoch) or chunk
            if stands:
                self._let_rows_stand()
            before = controller.state
            try:
                idle_s = gap_s - self._point_s if stands else 0.0
                command, coming = self._decide(self._inputs(chunk, idle_s, missed))
                self._prepare(command, coming)
            except Exception:
                # Nobody was told what it decided.
                controller.state, self._owed = before, 1
                raise
            missed = self._lost()
            old_s = missed * self._period_s + self._late_s() - late_s
            old = old_s > _OLD * self._period_s or bool(missed and self._chunk_columns)
            if self._points > 1 and command is not None and not _begins(command):
                # Its first set point would come to a driver that stands by then.
                told_s = self._sent_late_s - (1 + stalled) * self._period_s
                now_s = missed * self._period_s + self._late_s()
                old = old or now_s - told_s > _STANDS * self._point_s
            if not (tries_left and old):
                break
            controller.state = before
        # When it began to send: what the middleware takes from here on it may take afterwards.
        sent_late_s, sent_ns = missed * self._period_s + self._late_s(), self._now_ns()
        for group in self._groups:
            group.publish()
        self._coming = coming
        # After the decision's own deadline: those that were given up since then are owed.
        self._owed, self._sent_ns = missed, sent_ns
        if self._points == 1:
            self._sent_late_s = sent_late_s
        else:
            self._begin_period(command, stalled)
        if command is not None:
            done.append(Done(command))
        return done

    def send(self, index: int) -> bool:
        """Send a set point of the last decision; return whether to go on with those after it."""
        command = self._command
        if command is None:
            return False
        now_s = self._since_s() + self._owed * self._period_s
        waited_s = now_s - self._sent_late_s
        if waited_s > _STANDS * self._point_s and not (index == 0 and _begins(command)):
            return False
        for group in self._groups:
            group.send(index)
        # Not as of before: the machine may have taken its time for that.
        self._sent_late_s = self._since_s() + self._owed * self._period_s
        self._count = index + 1
        self.points_sent += 1
        return True

    def _begin_period(self, command: Command | None, stalled: int) -> None:
        """Let ``send`` send what was decided, ``stalled`` ticks after the last decision."""
        self._count = 0
        if command is not None and command.sends:
            self._command = command
            # As of this decision's deadline.
            self._sent_late_s -= (1 + stalled) * self._period_s
        else:  # a driver that rests waits for nothing
            self._sent_late_s = self._period_s

    def _end_period(self) -> None:
        """Take back what wasn't sent of the last period."""
        command, self._command, self.cut = self._command, None, None
        if command is None or self._count == self._points:
            return
        self.points_unsent += self._points - self._count
        controller, state = self._controller, self._controller.state
        if state.row is None:
            return  # begun anew meanwhile, where the arm is
        controller.state, self.cut = cut(controller.settings, state, command, self._count)

    def _decide(self, inputs: Inputs) -> tuple[Command | None, Coming | None]:
        """Step the controller; k waits for drivers of chunks that rest elsewhere than it begins.

        They are sent there, within the limits, and motion begins when they had the time for it.
        """
        controller, settings, now_ns = self._controller, self._controller.settings, self._now_ns()
        if self._coming is not None and now_ns < self._coming.until_ns:
            command = controller.tick(replace(inputs, hold=_COMING))
            holds = not (controller.state.stopped or controller.state.problem)
            return command, self._coming if holds else None
        if self._coming is not None and inputs.arm is not None:
            controller.state = self._come(controller.state, self._coming.begin, inputs.arm)
        before = controller.state
        command = controller.tick(inputs)
        if command is None or not command.executes or not settled(settings, before):
            return command, None
        begin = controller.state.targets[-2]
        coming_s = [group.coming_s(begin) for group in self._groups if group.plays_chunks]
        if not any(coming_s):
            return command, None
        controller.state = before
        command = controller.tick(replace(inputs, hold=_COMING))
        # At the least as long as an arm may take to come to its command.
        until_ns = now_ns + round(max(*coming_s, FOLLOWS_WITHIN_S) * 1e9)
        return command, Coming(begin, until_ns)

    def _come(self, state: ControllerState, begin: np.ndarray, arm: Arm) -> ControllerState:
        """Begin where drivers of chunks were sent to, unless their arm was moved meanwhile.

        How far an arm then is from there is its own lag. Drivers of rows weren't told anything.
        """
        settings, told = self._controller.settings, self._chunk_columns
        if settings.guards is not None and not settings.guards.is_at(arm, begin, told):
            return state
        place = np.array(arm.pose if state.row is None else state.targets[-1])
        place[told] = begin[told]
        return begin_at(settings, state, place)

    def _inputs(self, chunk: ActionChunk | None, idle_s: float, missed: int) -> Inputs:
        """Return what a tick hears before which nobody was told anything for ``idle_s``."""
        arm = self._look(missed)
        # A driver of chunks isn't idle meanwhile: ``_follow`` went on with it.
        if self._chunk_columns:
            return Inputs(chunk, arm, 0.0, self._now_ns(), idle_s)
        return Inputs(chunk, arm, idle_s, self._now_ns())

    def _let_rows_stand(self) -> None:
        """Begin from rest for drivers of rows beside one of chunks."""
        controller, state = self._controller, self._controller.state
        at, joints = state.target, self._row_columns
        if not (self._chunk_columns and joints) or at is None:
            return
        if not state.last_step[joints].any() and (state.mean.rows[:, joints] == at[joints]).all():
            return
        controller.state = untold(state, state, joints, rests=True)
        if controller.settings.limits.coherent:
            for group in self._groups:  # the joints go on together
                group.send_anew()

    def _prepare(self, command: Command | None, coming: Coming | None) -> None:
        settings, state = self._controller.settings, self._controller.state
        anew = coming is not None and coming is not self._coming
        if coming is not None and anew:
            state = begin_at(settings, state, coming.begin)

        @functools.cache
        def way() -> np.ndarray:
            return np.concatenate([state.targets[:-1], ahead(settings, state)])

        stamp = self._stamp()
        for group in self._groups:
            group.prepare(command, way, stamp, self._late_s, anew)

    def _follow(self, missed: int, stands: bool) -> list[Done]:
        """Go through the ticks that were missed as drivers that were sent chunks did.

        Drivers of single rows beside them weren't told anything, and go on from their last row,
        from rest if they waited for so long that the arm ``stands`` there.
        """
        controller, state = self._controller, self._controller.state
        at = state.target
        if not missed or not self._chunk_columns or at is None:
            return []
        playing = any(group.playing for group in self._groups)
        after, commands = follow(controller.settings, state, missed, playing)
        if commands and self._row_columns:
            after = untold(after, state, self._row_columns, rests=stands)
            for group in self._groups:
                group.send_anew()
            commands = [without(command, self._row_columns, at) for command in commands]
        controller.state = after
        return [Done(command, missed - i) for i, command in enumerate(commands)]
