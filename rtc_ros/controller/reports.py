"""What the controller says of itself in /diagnostics."""

from __future__ import annotations

import re

from rclpy.node import Node

from rtc_ros.controller.ticker import DeadlineTicker, TimerTicker
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report
from rtc_ros.ros.joint_input import JointInput

_LEVELS = {Mode.STARVED: WARN, Mode.FAULT: ERROR, Mode.LATCHED: WARN}
_SENTENCES = {
    Mode.STOPPED: "stopped: call ~/start to open the motion gate",
    Mode.WAITING: "started: waiting for the first chunk",
    Mode.RUNNING: "executing",
    Mode.STARVED: "starved: the chunk ran out, holding until the next one comes",
    Mode.LATCHED: "stopped and latched: call ~/clear when it is safe to move, then ~/start",
}
_SILENT_S = 1.0
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
        controller = self._controller
        report = motion_report(controller, self._joints.not_finite, self._dry_run)
        # An age that grows is no news.
        told, faults = re.sub(r"\b\d+\.\d+\b", "", report.message), controller.counts["faults"]
        again = faults > self._faults
        if (told != self._told or again) and controller.mode in (Mode.STARVED, Mode.FAULT):
            self._log.warning(report.message)
        elif again:
            self._log.warning(f"held for a moment: {controller.last_fault}")
        self._told, self._faults = told, faults
        return report


def motion_report(controller: Controller, refused_states: int, dry_run: bool) -> Report:
    """Say what the controller does, and what it counted."""
    mode, player = controller.mode, controller.player
    message = _SENTENCES.get(mode, mode.name)
    if controller.fault and not controller.stopped:
        message = controller.fault
    if controller.stopped and not controller.settled:
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
        "joint states refused (not finite)": refused_states,
    }
    if controller.jerk.window > 1:
        values["rows in each command (jerk limit)"] = controller.jerk.window
    values.update(sorted(controller.counts.items()))
    if controller.last_fault:
        values["last fault"] = controller.last_fault
    return Report(_LEVELS.get(mode, OK), message, values)


def tick_report(
    ticker: DeadlineTicker | TimerTicker, source: str, *, simulated: bool = False
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
            "missed": lateness.missed,
            "realtime": ticker.realtime or "SCHED_FIFO",
        },
    )
