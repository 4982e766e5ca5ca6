"""One tick of the motion: follow what a driver did meanwhile, decide, and send."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rtc_ros.controller.coming import MOST_TIMES, Coming, beside, come, comes_never
from rtc_ros.controller.command_output import JOINS, CommandGroup
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.command import HOLD, Command, without
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
from rtc_ros.core.cursor import Mode
from rtc_ros.core.frozen import changed
from rtc_ros.core.guards import FOLLOWS_WITHIN_S, STALL_S, Arm

_TRIES = 3
"""Decisions of one tick."""
_GIVES_UP = 3
"""Ticks in a row that send nothing: on a machine that is too slow a stop still gets out."""
_OLD = 0.5
"""Periods after which a decision that wasn't sent yet is made again."""
_PAUSE_NS = 500_000_000
"""Time that passed although the ticks' own clock stood still, as a simulator's does: a real driver
stood meanwhile."""
_STANDS = 1.5
"""Periods, or m-ths of one where set points are sent, without a command after which a driver of
single rows stands."""

_BEHIND, _TOO_FAR_BEHIND = 2, 20
"""A period of which set points weren't sent in time counts so much, a whole one takes 1 away.
Where it comes to that (ten in a row, or more than every third one for long) the arm moves in
starts."""

_STOP_WAITS_NS = 50_000_000
"""After the time in which news may be from before a stall a stop waits for news no longer."""

_COMING = "until the driver has come to where motion begins"


@dataclass(frozen=True)
class Done:
    """A command, and how many periods before its tick it was due (0: the tick's own).

    ``unsent`` of its set points were not sent in time, and sending one of the others took up to
    ``sending_s``: a driver had it that much later.
    """

    command: Command
    ago: int = 0
    unsent: int = 0
    sending_s: float = 0.0


def _begins(command: Command) -> bool:
    """Tell whether its set points begin at rest, so that the first of them can't be late."""
    motion, mean = command.motion, command.mean
    return motion is not None and mean is not None and not motion.step.any() and mean.settled


class ControlTick:
    """Plays one step per tick, and sends it.

    Whoever was told nothing for some periods stands: the next row begins from rest. But a driver
    that was sent a chunk goes on along it while this process stands still, and can't be told to
    stop: the ticks that were missed are played as it played them, and what it is sent next begins
    where it then is. A decision within which the process stood still is dropped and made again:
    nothing goes out that is half a period old. What would come too late to join the curve that a
    driver is on isn't sent either: the next tick decides.

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
        clock_s: what the clock of the deadlines says [s]; only set points need it.
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
        clock_s: Callable[[], float] = lambda: 0.0,
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
        self._clock_s = clock_s
        self._stamp = stamp
        self._now_ns = now_ns
        self._period_s = period_s
        self._sent_late_s, self._owed, self._sent_ns = 0.0, 0, 0
        self.missed = 0
        """Deadlines without a tick up to the last one: before it, and while it decided."""
        self._ticked_ns = 0
        """Time by the deadlines that passed: a simulated driver's goes as slowly."""
        self._owed_unseen = 0
        """Of those owed, in how many nobody looked at the arm."""
        self._news_ns = 0
        """What is heard from then on isn't from before the stall; 0: there was none."""
        self._gave_up = 0
        self._kept: ActionChunk | None = None
        """What a decision that was given up had taken."""
        self._points = controller.settings.points
        self._point_s = period_s / self._points
        self._sending: Command | None = None
        """Whose set points are being sent."""
        self._count, self._told_s, self._took_s = 0, 0.0, 0.0
        """How many of them were, when the last one was, or a driver was known to rest, and the
        longest that it took."""
        self._before = controller.state
        """What was before them."""
        self._decided_s, self._decided_ns = 0.0, 0
        """When they were decided."""
        self.ended: Done | None = None
        """What the tick before the last one came to, where it had set points to send."""
        self.points_sent = self.points_unsent = 0
        self._behind, self._took_ns = 0, 0
        """How much was sent too late lately, and how long the last decision took."""
        self._coming: Coming | None = None
        self._broken_off = 0
        """How often a fault broke off the way of drivers to where motion begins."""
        self._chunk_columns = [c for g in groups if g.plays_chunks for c in g.columns]
        self._row_columns = [c for g in groups if not g.plays_chunks for c in g.columns]

    def run(self, missed: int) -> list[Done]:
        """Play and send one step; return the commands since the last tick.

        ``missed`` ticks since the last one, as far as a driver played them, come first.
        """
        controller = self._controller
        self._end_period()
        as_sent = controller.state
        kept = self._kept
        chunk = kept if kept and kept.step_epoch == as_sent.player.epoch else None
        missed += self._lost()  # while it waited for the lock
        self.missed = -1
        self._pass(1 + missed)
        unseen, missed = missed + self._owed_unseen, missed + self._owed
        if self._blind(missed, unseen):
            self._owe(missed + 1, 0, chunk)
            return []
        for tries_left in reversed(range(_TRIES)):
            begun_ns, late_s = self._now_ns(), self._late_s()
            gap_s = self._gap_s(missed, late_s)
            stands = gap_s > _STANDS * self._point_s
            # Always from what the drivers were sent: only there they can have gone on.
            controller.state = as_sent
            done = self._follow(missed, stands)
            chunk = self._newest(as_sent.player.epoch) or chunk
            if stands:
                self._let_rows_stand()
            try:
                arm = self._look(unseen)
                if self._news_ns:
                    self._close_if_elsewhere(arm)
                idle_s = gap_s - self._point_s if stands else 0.0
                command, coming = self._decide(self._inputs(chunk, arm, idle_s))
                self._prepare(command, coming, arm)
            except Exception:
                self._give_up(as_sent, missed + 1, 0)
                raise
            lost = self._lost()
            self._pass(lost)
            old_s = lost * self._period_s + self._late_s() - late_s
            old = old_s > _OLD * self._period_s or bool(lost and self._chunk_columns)
            old |= self._too_late(command, self._clock_s())
            if not (tries_left and old):
                break
            missed, unseen = missed + lost, lost
        # When it began to send: what the middleware takes from here on it may take afterwards.
        sent_late_s, sent_ns = lost * self._period_s + self._late_s(), self._now_ns()
        too_late = sent_late_s > JOINS * self._period_s and any(g.bends for g in self._groups)
        if too_late and self._gave_up < _GIVES_UP:
            self._give_up(as_sent, missed + 1 + lost, lost, chunk)
            return []
        try:
            for group in self._groups:
                group.publish(self._time_ns())
        except Exception:
            self._give_up(as_sent, missed + 1 + lost, lost)
            raise
        state = controller.state
        if state.stopped or (command is not None and command.executes):
            self._broken_off = 0
        elif self._coming is not None and coming is None and state.problem:
            self._broken_off += 1
        self._coming, self._kept, self._gave_up = coming, None, 0
        # After the decision's own deadline: those that were given up since then are owed.
        self._owed = self._owed_unseen = lost
        self._sent_late_s, self._sent_ns, self._news_ns = sent_late_s, sent_ns, 0
        if self._points > 1:
            self._took_ns = self._now_ns() - begun_ns
            self._begin_period(command, as_sent)
        if command is not None:
            done.append(Done(command))
        return done

    def send(self, index: int) -> bool:
        """Send a set point of the last decision; return whether to go on with those after it."""
        begun_s = self._clock_s()
        if self._sending is None or self._too_late(self._sending, begun_s):
            return False
        if not index and _begins(self._sending):
            old_s = self._since_s(self._decided_s, self._decided_ns, begun_s)
            if old_s > _STANDS * self._point_s:
                return False  # the arm may be elsewhere by now
        for group in self._groups:
            group.send(index)
        # As of before: what the machine took its time for may have been what comes after it.
        self._told_s, self._sent_ns = begun_s, self._now_ns()
        self._took_s = max(self._took_s, self._clock_s() - begun_s)
        self._count = index + 1
        self.points_sent += 1
        return True

    def _begin_period(self, command: Command | None, before: ControllerState) -> None:
        """Let ``send`` send what was decided."""
        self._count, self._took_s, self._before = 0, 0.0, before
        self._decided_s, self._decided_ns = self._clock_s(), self._now_ns()
        if command is not None and command.sends:
            self._sending = command
        else:  # a driver that rests waits for nothing
            self._told_s = self._clock_s() - self._late_s() + self._period_s

    def _end_period(self) -> None:
        """Take back what wasn't sent of the last period."""
        command, self._sending, self.ended = self._sending, None, None
        if command is None:
            return
        unsent = self._points - self._count
        self.points_unsent += unsent
        controller, state = self._controller, self._controller.state
        if unsent:
            as_sent, command = cut(controller.settings, state, command, self._count)
            if state.row is not None:  # else begun anew meanwhile, where the arm is
                controller.state = as_sent if self._count else self._unsent(as_sent)
        self._behind = max(0, self._behind + (_BEHIND if unsent else -1))
        if self._behind >= _TOO_FAR_BEHIND:
            self._behind = 0
            controller.close(
                f"the arm moved in starts: {unsent} of the last period's {self._points} set "
                f"points, and some of most before it, would have come too late (its decision took "
                f"{self._took_ns * 1e-6:.1f} ms, one is due every {self._point_s * 1e3:.3g} ms). "
                "Give a lower command_rate, or the process its realtime_priority, and call ~/start"
            )
        self.ended = Done(command, 0, unsent, self._took_s)
        self._count = 0

    def _unsent(self, state: ControllerState) -> ControllerState:
        """Return ``state`` where nobody was told that motion began: it begins anew."""
        names = ("pose", "row", "last_step", "last_bend", "mean", "targets", "rest_ns")
        before = {name: getattr(self._before, name) for name in names}
        if state.mode is Mode.RUNNING:
            before["mode"] = self._before.mode
        return changed(state, **before)

    def _too_late(self, command: Command | None, now_s: float) -> bool:
        """Tell whether a set point of ``command`` comes to a driver that stands by ``now_s``."""
        if self._points == 1 or command is None or not command.sends:
            return False
        if not self._count and _begins(command):
            return False
        return self._waited_s(now_s) > _STANDS * self._point_s

    def _waited_s(self, now_s: float) -> float:
        """Return how long before ``now_s`` drivers were sent a set point."""
        return self._since_s(self._told_s, self._sent_ns, now_s) if self._sent_ns else 0.0

    def _since_s(self, then_s: float, then_ns: int, now_s: float) -> float:
        """Return the time since ``then_s`` of the ticks' clock, or since that of this process."""
        since_s, pause_ns = now_s - then_s, self._now_ns() - then_ns
        if since_s < -self._period_s:  # the clock was set back
            since_s = self._period_s
        return max(since_s, pause_ns * 1e-9) if pause_ns > _PAUSE_NS else since_s

    def _give_up(
        self, as_sent: ControllerState, owed: int, unseen: int, chunk: ActionChunk | None = None
    ) -> None:
        """Take back what was decided, as nobody was told: these ticks were missed, too."""
        self._controller.state = as_sent
        self._gave_up += 1
        self._owe(owed, unseen, chunk)

    def _owe(self, ticks: int, unseen: int, chunk: ActionChunk | None) -> None:
        """Leave ``ticks`` to the next one; in the last ``unseen`` nobody looked at the arm."""
        self._owed, self._owed_unseen, self._kept = ticks, unseen, chunk

    def _pass(self, deadlines: int) -> None:
        self.missed += deadlines
        self._ticked_ns += round(deadlines * self._period_s * 1e9)

    def _time_ns(self) -> int:
        """Return the time [ns] by which drivers go along what they were sent."""
        return self._ticked_ns + round(self._late_s() * 1e9)

    def _gap_s(self, missed: int, late_s: float) -> float:
        """Return how long drivers were told nothing when they are told something next."""
        if self._points > 1:  # that is one m-th of a period after the tick
            return self._waited_s(self._clock_s()) + max(0.0, self._point_s - late_s)
        gap_s = (1 + missed) * self._period_s + late_s - self._sent_late_s
        if self._sent_ns and self._now_ns() - self._sent_ns > _PAUSE_NS:
            gap_s = max(gap_s, (self._now_ns() - self._sent_ns) * 1e-9)
        return gap_s

    def _blind(self, missed: int, unseen: int) -> bool:
        """Tell whether nothing was heard yet of an arm that went along a chunk during a stall.

        It goes on along that. What it is told before somebody looked could throw it there; a stop,
        too, but that is kept waiting no longer than news usually takes.
        """
        guards, state = self._controller.settings.guards, self._controller.state
        goes_on = [g.playing or state.stopped and g.comes_to_begin for g in self._groups]
        if guards is None or not any(goes_on):
            self._news_ns = 0
            return False
        if not self._news_ns:
            if self._gap_s(missed, self._late_s()) - self._period_s <= STALL_S:
                return False
            self._news_ns = guards.news_after(self._now_ns())
        elif unseen * self._period_s > STALL_S:  # it stood still again
            self._news_ns = guards.news_after(self._now_ns())
        arm = self._look(unseen)
        if arm.problem or state.stopped and self._now_ns() >= self._news_ns + _STOP_WAITS_NS:
            return False
        return not self._is_news(arm)

    def _is_news(self, arm: Arm) -> bool:
        """Tell whether what is heard of the arm isn't from before a stall."""
        return not (arm.problem or (arm.received_ns < self._news_ns).any())

    def _is_fresh(self, arm: Arm) -> bool:
        """Tell whether the arm was heard of just now: it may be sent there."""
        guards = self._controller.settings.guards
        return guards is None or not guards.unheard_of(arm, self._now_ns(), 0)

    def _close_if_elsewhere(self, arm: Arm) -> None:
        """Close the gate where the arm isn't where its drivers went during a stall.

        They are sent nothing: what they were sent they go along, or have forgotten.
        """
        controller = self._controller
        guards, state = controller.settings.guards, controller.state
        if guards is None or not self._is_news(arm) or state.target is None:
            return
        if moved := guards.elsewhere(state.watched, arm, state.targets):
            problem = f"{moved} while this process stood still; call ~/start"
            state = changed(state, last_problem=problem)  # also of a gate that is closed
            controller.state = begin_at(controller.settings, state, state.targets[-1])
            controller.close(problem)
            for group in self._groups:
                group.forget()

    def _decide(self, inputs: Inputs) -> tuple[Command | None, Coming | None]:
        """Step the controller; k waits for drivers of chunks that rest elsewhere than it begins.

        They are sent there, within the limits, and motion begins when they had the time for it.
        """
        controller, told, now_ns = self._controller, self._chunk_columns, self._time_ns()
        settings = controller.settings
        if self._coming is not None and now_ns < self._coming.until_ns:
            return self._hold(inputs, _COMING, self._coming)
        if self._coming is None and any(group.comes_to_begin for group in self._groups):
            # A fault broke that off: the driver goes on, and rests where it was sent.
            return controller.tick(replace(inputs, hold=_COMING)), None
        came, off, waits = self._coming, None, controller.state
        if came is not None and inputs.arm is not None:
            if came.new and settings.guards and settings.guards.may_begin(waits.watched):
                return self._hold(inputs, _COMING, came)  # it moves yet
            controller.state, off = come(settings, waits, came, inputs.arm, told)
        before = controller.state
        command = controller.tick(inputs)
        if not told or command is None or not command.executes:
            if came is None or not came.new or command is None or controller.state.problem:
                return command, self._unless_broken_off(came)
            controller.state = waits  # it hasn't begun: the arm is looked at anew
            return self._hold(inputs, command.reason.removeprefix(HOLD), came)
        if not settled(settings, before):
            return command, None
        begin, times, pose = controller.state.targets[-2], 1, None
        if off is not None:
            assert came is not None and inputs.arm is not None, "they tell how far off it is"
            if never := comes_never(settings, before, came, off, told):
                controller.state = before
                controller.close(never)
                return controller.tick(inputs), None
            times, pose = came.times + 1, inputs.arm.pose
            if came.new:
                begin = beside(settings, came, off, pose, told)
        groups = [group for group in self._groups if group.plays_chunks]
        coming_s = [group.coming_s(begin, pose) for group in groups]
        if not any(coming_s):
            return command, None
        controller.state = before
        if self._broken_off >= MOST_TIMES:
            controller.close(
                f"drivers were sent to where motion begins {MOST_TIMES} times, and a fault broke "
                "each way off; call ~/start"
            )
            return controller.tick(inputs), None
        if before.row is not None:  # its arm is judged by where its drivers are sent
            place = np.array(before.targets[-1])
            place[told] = begin[told]
            controller.state = begin_at(settings, before, place)
        command = controller.tick(replace(inputs, hold=_COMING))
        # And as long as an arm may take to come to its command.
        until_ns = now_ns + round((max(coming_s) + FOLLOWS_WITHIN_S) * 1e9)
        return command, Coming(begin, until_ns, before.row is None, times, off, pose)

    def _hold(
        self, inputs: Inputs, why: str, coming: Coming
    ) -> tuple[Command | None, Coming | None]:
        """Wait on."""
        command = self._controller.tick(replace(inputs, hold=why))
        return command, self._unless_broken_off(coming)

    def _unless_broken_off(self, coming: Coming | None) -> Coming | None:
        state = self._controller.state
        return None if state.stopped or state.problem else coming

    def _inputs(self, chunk: ActionChunk | None, arm: Arm, idle_s: float) -> Inputs:
        """Return what a tick hears before which nobody was told anything for ``idle_s``."""
        # A driver of chunks isn't idle meanwhile: ``_follow`` went on with it.
        if self._chunk_columns:
            unheard_s = 0.0 if self._news_ns else idle_s
            return Inputs(chunk, arm, 0.0, self._now_ns(), unheard_s)
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

    def _prepare(self, command: Command | None, coming: Coming | None, arm: Arm) -> None:
        settings, state = self._controller.settings, self._controller.state
        anew, pose = coming is not None and coming is not self._coming, None
        if coming is not None and anew:
            state, pose = begin_at(settings, state, coming.begin), coming.arm

        executes = command is not None and command.executes

        @functools.cache
        def way() -> np.ndarray:
            return np.concatenate([state.targets[:-1], ahead(settings, state, plays=executes)])

        stamp = self._stamp()
        for group in self._groups:
            group.prepare(command, way, stamp, self._late_s, anew, pose)
        if state.stopped and not state.problem:
            for group in self._groups:
                if group.comes_to_begin and self._is_news(arm) and self._is_fresh(arm):
                    group.halt(self._time_ns(), arm.pose)

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
