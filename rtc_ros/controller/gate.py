"""The motion gate: start, stop, reset, the latched stop, and who may open it when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.core.command import HOLD, REASONS
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.guards import Arm
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.latch import LatchFile
from rtc_ros.handoff.segment import next_epoch

_LATCHED = "the stop is latched: call ~/clear when it is safe to move, then ~/start"
_RESTARTING = "the arm is braked to rest, then started again"
_LOOK_S = 0.05
"""How often a gate that is to open by itself looks whether it may."""
_RESTS_WITHIN_S = 1.0
"""An arm that is braked stands by then; one that doesn't is moved by somebody, or not seen."""
_BRAKING = "the arm is still being braked to rest: call ~/start again in a moment"
_STARTED = "started from the measured pose; waiting for the first chunk"
_DRY_RUN = "dry run: nothing is sent to any driver"


class Gate:
    """Closed until someone opens it; a closing gate brakes the arm first.

    Args:
        node: offers ``~/start``, ``~/stop``, ``~/reset``, ``~/latch_stop`` and ``~/clear``.
        controller: what is started and stopped; touched under ``lock`` only.
        lock: shared with the tick.
        groups: drivers that may have to be told to hold.
        pose: returns the arm as it is now.
        obstacle: says why nothing may be commanded, whatever the arm does (no driver listens, a
            second commander); "" where it may. Called without the lock: it asks the middleware.
        missing: says why no chunk can come, "" where one can; it doesn't wait.
        epoch: of the process; each run of the step count gets a later one.
        latch: where a latched stop is remembered.
        when_ready: open as soon as all that is there.
        first_chunk_ticks: so long an open gate waits for its first motion, whatever holds it
            meanwhile; 0: for ever. The time of a driver on its way to where motion begins isn't
            counted.
        hold_ticks: so long it waits for motion to go on.
        dry_run: said in each answer.
    """

    def __init__(
        self,
        node: Node,
        controller: Controller,
        lock: threading.Lock,
        groups: Sequence[CommandGroup],
        *,
        pose: Callable[[], Arm],
        obstacle: Callable[[], str],
        missing: Callable[[], str] = lambda: "",
        epoch: int,
        latch: LatchFile,
        when_ready: bool = False,
        first_chunk_ticks: int = 0,
        hold_ticks: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.when_ready = when_ready
        self._log = node.get_logger()
        self._controller = controller
        self._lock = lock
        self._groups = groups
        self._pose = pose
        self._obstacle = obstacle
        self._missing = missing
        self._epoch = epoch
        self._latch = latch
        self._first_chunk_ticks = first_chunk_ticks
        self._hold_ticks = hold_ticks
        self._dry_run = dry_run
        self._restart = False
        self._waited_ticks, self._waits_at, self._unfollowed = 0, (epoch, 0), 0
        self._rests_since_s = 0.0
        self._ending = False
        for name, act in {
            "~/start": self._on_start,
            "~/stop": self._on_stop,
            "~/reset": self._on_reset,
            "~/latch_stop": self._on_latch_stop,
            "~/clear": self._on_clear,
        }.items():
            node.create_service(Trigger, name, self._answering(act))
        # Not by the tick: what keeps a gate closed is asked of the middleware.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._looks = node.create_timer(_LOOK_S, self.open_if_due, clock=steady)

    # ------------------------------------------------------------------- by the node

    def start(self) -> str:
        """Open the gate; return "" or why it stays closed."""
        # Commands that nobody takes would run away from the arm, and a driver that comes later
        # would throw it after them.
        obstacle = self._obstacle()
        with self._lock:
            problem = self._open(obstacle)
        if not problem:
            self._log.info(_STARTED)
        return problem

    def open_if_due(self) -> None:
        """Open the gate where a reset or ``when_ready`` asked for it and all is there it takes."""
        if not (self.when_ready or self._restart):
            self._looks.cancel()
            return
        obstacle = self._obstacle()
        with self._lock:
            before, problem = self._epoch, ""
            if self._restart:
                problem = self._begin_again(obstacle)
            elif self.when_ready:
                self._open(obstacle)
            opened = self._epoch != before
        if problem:
            self._log.error(f"reset: not started again: {problem}")
        if opened:
            self._log.info(_STARTED)

    def after_tick(self, reason: str = "", missed: int = 0) -> None:
        """Close a gate in which nothing has moved for too long; within the lock.

        ``reason`` is the last command's, ``missed`` says how many deadlines passed before it
        without a tick: in them nothing moved but drivers that had rows.
        """
        state = self._controller.state
        player, at = state.player, (state.player.epoch, state.player.step)
        if state.stopped:
            return
        if at[0] != self._waits_at[0]:  # a new run: what was missed before isn't its own
            self._waited_ticks, self._waits_at, self._unfollowed, missed = 0, (at[0], 0), 0, 0
        ticks, self._unfollowed = self._unfollowed + 1 + missed, 0
        if at != self._waits_at:
            # k follows a driver that had rows; what went by beyond them was a hold.
            went = at[1] - self._waits_at[1]
            self._waited_ticks, self._waits_at = max(0, ticks - went), at
        elif any(g.playing for g in self._groups):
            self._unfollowed = ticks  # after a stall, until the arm is heard of
        # A driver that is sent to where motion begins moves: how often is bounded elsewhere.
        elif not any(g.comes for g in self._groups):
            self._waited_ticks += ticks
        first = not player.step
        most = self._first_chunk_ticks if first else self._hold_ticks
        if not 0 < most <= self._waited_ticks:
            return
        why = "" if reason in REASONS.values() else reason.removeprefix(HOLD)
        stood = "this process stood still" if missed else "nothing was sent"
        because = state.problem or why or stood
        held = f" (it was held: {because})" if state.problem or why else ""
        what = "chunk came" if player.waiting is None else "motion began"
        lacking = f": {missing}" if not first and (missing := self._missing()) else ""
        steps = f"{most} step{'s' * (most > 1)}"
        if first:
            late = f"no {what} for {steps} after ~/start{held}"
        elif state.starved:
            late = f"starved, and no {what} for {steps} (hold_timeout){held}{lacking}"
        else:
            late = f"held for {steps} (hold_timeout): {because}{lacking}"
        self._controller.close(f"{late}; call ~/start")

    def give_up(self, problem: str) -> None:
        """Close the gate because of a defect; within the lock."""
        self.when_ready = self._restart = False
        self._controller.close(problem)

    def close(self, seconds: float) -> None:
        """Stop for good: brake, for as long as that takes but no longer than ``seconds``."""
        with self._lock:
            self._ending = True
            self._stop()
        end = time.monotonic() + seconds
        while not (rests := self._locked_rests()) and time.monotonic() < end:
            time.sleep(0.002)
        if not rests:
            self._log.error(f"the arm could not be braked to rest within {seconds:g} s")

    # ------------------------------------------------------------------ under the lock

    def _open(self, obstacle: str) -> str:
        controller = self._controller
        if self._ending:
            return "the controller is ending"
        if self._mode is Mode.LATCHED:
            return _LATCHED
        if not controller.state.stopped:
            lacking = f", but: {obstacle}" if obstacle and controller.state.starved else ""
            return f"already started (the controller is {self._mode.name}){lacking}"
        if not self._rests:
            return _BRAKING
        arm = self._pose()
        problem = arm.problem or obstacle or controller.still_moves
        if not problem:
            self._epoch = next_epoch(self._epoch)
            controller.start(self._epoch, arm.pose)
            self.when_ready, self._restart = False, False
        return problem

    def _begin_again(self, obstacle: str) -> str:
        """Begin the run that a reset asked for, once the arm stands; return why it never will."""
        if not (self._controller.state.stopped and self._rests):
            return ""
        now = time.monotonic()
        self._rests_since_s = self._rests_since_s or now
        problem = self._open(obstacle)
        waits = now - self._rests_since_s < _RESTS_WITHIN_S
        if problem and self._controller.still_moves and waits:
            return ""  # it comes to rest a little after its last command
        self._restart = False
        return problem

    def _stop(self, latch: bool = False) -> None:
        self.when_ready = self._restart = False
        self._controller.stop(latch=latch)

    @property
    def _mode(self) -> Mode:
        return self._controller.state.mode

    @property
    def _rests(self) -> bool:
        """Whether the arm is at rest, and no driver goes on by itself; the tick tells them."""
        return self._controller.settled and not any(g.playing or g.comes for g in self._groups)

    def _locked_rests(self) -> bool:
        with self._lock:
            return self._rests

    def _stopped_after(self) -> str:
        doing = "holding" if self._rests else "braking to rest"
        return f"stopped after {self._controller.state.player.step} steps; {doing}"

    # ----------------------------------------------------------------------- services

    def _answering(
        self, act: Callable[[], tuple[bool, str]]
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, message = act()
            response.message = f"{_DRY_RUN}; {message}" if self._dry_run else message
            return response

        return answer

    def _on_start(self) -> tuple[bool, str]:
        problem = self.start()
        return not problem, problem or "started"

    def _on_stop(self) -> tuple[bool, str]:
        with self._lock:
            self._stop()
            message = self._stopped_after()
            if self._mode is Mode.LATCHED:
                message += "; the stop stays latched"
        self._log.info(message)
        return True, message

    def _on_latch_stop(self) -> tuple[bool, str]:
        with self._lock:
            self._stop(latch=True)
            message = f"{self._stopped_after()}; latched: only ~/clear lets ~/start work again"
            try:
                self._latch.write()
            except HandoffError as error:
                message += f"; a controller with other joints or Δt won't know of it: {error}"
        self._log.warning(message)
        return True, message

    def _on_clear(self) -> tuple[bool, str]:
        with self._lock:
            latched = self._mode is Mode.LATCHED
            try:
                self._latch.remove()
            except HandoffError as error:
                return False, f"the stop stays latched: {error}"
            # Whoever clears a stop says that it is safe, not that the arm shall move.
            self.when_ready = self.when_ready and not latched
            self._controller.clear()
        message = "cleared; the gate is closed: call ~/start" if latched else "nothing was latched"
        self._log.info(message)
        return True, message

    def _on_reset(self) -> tuple[bool, str]:
        """Begin a new count of steps; goes on moving if it was, and if ``start`` may."""
        obstacle = self._obstacle()
        with self._lock:
            if self._mode is Mode.LATCHED:
                return False, _LATCHED
            if self._restart:
                return True, _RESTARTING
            if self._controller.state.stopped:
                return True, "reset; stopped"
            self._stop()
            if not obstacle and (not self._rests or self._controller.still_moves):
                self._restart, self._rests_since_s = True, 0.0
                self._looks.reset()
                return True, _RESTARTING
            problem = obstacle or self._open(obstacle)
            stopped = self._stopped_after()
        if problem:
            return False, f"{stopped}; not started again: {problem}"
        return True, "reset and started again"
