"""What the controller says of itself in /diagnostics."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import JointState

from rtc_ros.controller.tick import ControlTick, Done
from rtc_ros.controller.ticker import DeadlineTicker, TimerTicker
from rtc_ros.core.controller import Controller, ControllerSettings, ControllerState, settled
from rtc_ros.core.cursor import Mode
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.provenance import executed_message, swap_message
from rtc_ros.ros.runner import ask_for_realtime

_LEVELS = {Mode.STARVED: WARN, Mode.FAULT: ERROR, Mode.LATCHED: WARN}
_SENTENCES = {
    Mode.STOPPED: "stopped: call ~/start to open the motion gate",
    Mode.WAITING: "started: waiting for the first chunk",
    Mode.RUNNING: "executing",
    Mode.STARVED: "starved: the chunk ran out, holding until the next one comes",
    Mode.LATCHED: "stopped and latched: call ~/clear when it is safe to move, then ~/start",
}
_SILENT_S = 1.0
_UNSENT = 0.01
"""The share of set points that may be late before it is a warning."""
DRY_RUN = "dry run, nothing is sent to any driver"


class MotionReports:
    """Says what the controller does, and logs what keeps it from moving, once each time."""

    def __init__(
        self, node: Node, controller: Controller, joints: JointInput, dry_run: bool
    ) -> None:
        self._log = node.get_logger()
        self._controller = controller
        self._joints = joints
        self._dry_run = dry_run
        self._told, self._faults = "", 0

    def __call__(self) -> Report:
        """Return the present report."""
        settings, state = self._controller.settings, self._controller.state
        report = motion_report(settings, state, self._joints.refused, self._dry_run)
        held = bool(state.problem) or state.mode in (Mode.STARVED, Mode.FAULT)
        # A number that grows is no news.
        told = re.sub(r"\b\d+\.\d+\b", "", report.message) if held else ""
        faults = state.counts.get("faults", 0)
        again = faults > self._faults
        if held and (told != self._told or again):
            self._log.warning(report.message)
        elif again:
            self._log.warning(f"held for a moment: {state.last_problem}")
        elif self._told and state.mode is Mode.RUNNING:
            self._log.warning(f"the motion goes on at step {state.player.step}")
        self._told, self._faults = told, faults
        return report


def motion_report(
    settings: ControllerSettings, state: ControllerState, refused_states: int, dry_run: bool
) -> Report:
    """Say what the controller does, and what it counted."""
    mode, player = state.mode, state.player
    level, message = _LEVELS.get(mode, OK), _SENTENCES.get(mode, mode.name)
    if state.problem:
        level = ERROR
        message = f"stopped: {state.problem}" if mode is Mode.STOPPED else state.problem
    elif begins := _not_begun(settings, state):
        level, message = WARN, begins
    if state.stopped and not settled(settings, state):
        message = f"braking to rest; {message}"
    if dry_run:
        message = f"{DRY_RUN}: {message}"
    swap = player.last_swap
    values: dict[str, object] = {
        "mode": mode.name,
        "dry run": dry_run,
        "step": player.step,
        "chunk": "none" if player.current is None else player.current.seq,
        "swaps": player.swaps,
        "last observed delay [steps]": "none" if swap is None else swap.delay,
        "joint states refused": refused_states,
    }
    if settings.window > 1:
        values["rows in each command (jerk limit)"] = settings.window
    values.update(sorted(state.counts.items()))
    if state.last_problem:
        values["last fault"] = state.last_problem
    return Report(level, message, values)


def _not_begun(settings: ControllerSettings, state: ControllerState) -> str:
    """Say what motion waits for that has a row to begin with; "" where it waits for a row."""
    guards, watched, target = settings.guards, state.watched, state.target
    if guards is None or target is None or state.mode not in (Mode.STARVED, Mode.FAULT):
        return ""
    if state.player.tick()[1].action is None:
        return ""
    if not watched.seen:
        return f"held, with a chunk to go on with: {guards.moves(watched)}"
    arm = watched.seen[-1]
    way = np.abs(guards.beside(watched, arm, target) - target)
    worst = int(np.argmax(way))
    still = arm.received_ns <= state.rest_ns + round(guards.comes_within_s * 1e9)
    if not settled(settings, state):
        lacks = "its commands are braked to rest first"
    elif still.any():
        lacks = (
            f"the joint state of {guards.joints[int(np.argmax(still))]} has to come that is "
            f"{guards.comes_within_s:g} s younger than its last command"
        )
    else:
        lacks = guards.moves(watched) or "it goes on now"
    return (
        f"held, with a chunk to go on with: {guards.joints[worst]} gave way by {way[worst]:.3g}, "
        f"and motion goes on beside an arm that stands: {lacks}"
    )


class ExecutedReports:
    """Publishes ``~/executed`` and ``~/swap``, in a thread of its own.

    A tick only puts what it did into a queue: nothing that is only said can make a command late,
    or end a motion. The thread has a ``priority`` below the tick's (SCHED_FIFO; 0: none): without
    one, taken off the processor while it holds Python's lock, it would keep the tick waiting. With
    ``points`` m > 1 a tick is told when its set points have been sent.
    """

    def __init__(
        self,
        node: Node,
        joints: Sequence[str],
        period_s: float,
        priority: int = 0,
        points: int = 1,
    ) -> None:
        self._joints = joints
        self._period_ns = round(period_s * 1e9)
        self._name, self._log = node.get_name(), node.get_logger()
        self._executed = node.create_publisher(JointState, "~/executed", 50)
        self._swap = node.create_publisher(DiagnosticStatus, "~/swap", 10)
        self._queue: SimpleQueue[tuple[list[Done], int, float, int] | None] = SimpleQueue()
        self._failed = False
        self._holds_back = points > 1
        self._held: tuple[list[Done], int, float, int] | None = None
        self._priority = priority
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def put(
        self,
        done: list[Done],
        step_epoch: int,
        late_s: float,
        now_ns: int,
        ended: Done | None = None,
    ) -> None:
        """Take what a tick did at ``now_ns`` of the node's clock, ``late_s`` after its time.

        ``ended``: what the tick before it came to, where it had set points to send.
        """
        item: tuple[list[Done], int, float, int] | None = (done, step_epoch, late_s, now_ns)
        if self._holds_back:
            if ended is not None and self._held is not None and self._held[0]:
                self._held[0][-1] = ended
            item, self._held = self._held, item
        if item is not None and item[0]:
            self._queue.put(item)

    def close(self, seconds: float) -> None:
        """Publish what is left, within so many ``seconds``, and end."""
        if self._held is not None and self._held[0]:
            self._queue.put(self._held)
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        ask_for_realtime(self._priority)
        while (item := self._queue.get()) is not None:
            try:
                self._publish(*item)
            except Exception as error:  # noqa: BLE001 - a report; the motion goes on
                if not self._failed:
                    self._log.error(f"~/executed can't be published: {error}")
                self._failed = True

    def _publish(self, done: list[Done], step_epoch: int, late_s: float, now_ns: int) -> None:
        for each in done:
            # On simulated time the first ticks may be older than time itself.
            at_ns = max(0, now_ns - each.ago * self._period_ns)
            stamp = Time(nanoseconds=at_ns).to_msg()
            message = executed_message(
                each.command, self._joints, step_epoch, late_s, stamp, each.unsent, each.sending_s
            )
            self._executed.publish(message)
            if each.command.played.swap is not None:
                self._swap.publish(swap_message(each.command.played.swap, self._name))


def tick_report(
    ticker: DeadlineTicker | TimerTicker,
    control: ControlTick,
    source: str,
    *,
    simulated: bool = False,
) -> Report:
    """Say how late the ticks were, and on ``simulated`` time whether it stands still."""
    lateness = ticker.lateness
    p50, p99, top = lateness.percentiles_ms()
    refused = ticker.realtime.startswith("SCHED_FIFO")
    level, message = OK, f"p99 {p99:.2f} ms late"
    if lateness.silent_s > _SILENT_S:
        why = "/clock stands still" if simulated else "this process hangs"
        level, message = ERROR, f"no tick for {lateness.silent_s:.1f} s: {why}"
    elif refused or lateness.missed_lately:
        level, message = WARN, ticker.realtime if refused else message
    points: dict[str, object] = {}
    sent, unsent = control.points_sent, control.points_unsent
    if level == OK and unsent > _UNSENT * (sent + unsent):
        level, message = WARN, f"{unsent} of {sent + unsent} set points not sent in time"
    if sent:
        points_p50, points_p99, points_top = ticker.point_lateness.percentiles_ms()
        points = {
            "set points": sent,
            "set points not sent in time": unsent,
            "set points late p50 [ms]": points_p50,
            "set points late p99 [ms]": points_p99,
            "set points late max [ms]": points_top,
            "cost per set point p50 [µs]": ticker.point_cost.percentiles_ms()[0] * 1e3,
            "cost per set point p99 [µs]": ticker.point_cost.percentiles_ms()[1] * 1e3,
        }
    return Report(
        level,
        message,
        {
            "source": source,
            "ticks": lateness.count,
            "late p50 [ms]": p50,
            "late p99 [ms]": p99,
            "late max [ms]": top,
            "worst ever [ms]": lateness.worst_s * 1e3,
            "cost per tick p50 [µs]": ticker.cost.percentiles_ms()[0] * 1e3,
            "cost per tick p99 [µs]": ticker.cost.percentiles_ms()[1] * 1e3,
            "missed": lateness.missed,
            "realtime": ticker.realtime or "SCHED_FIFO",
            **points,
        },
    )
