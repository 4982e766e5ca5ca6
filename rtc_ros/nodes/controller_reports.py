"""What the controller says of itself in /diagnostics."""

from __future__ import annotations

from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.nodes.diagnostics import ERROR, OK, WARN, Report
from rtc_ros.nodes.ticker import DeadlineTicker, TimerTicker

_LEVELS = {Mode.STARVED: WARN, Mode.FAULT: ERROR, Mode.LATCHED: WARN}
_SENTENCES = {
    Mode.STOPPED: "stopped: call ~/start to open the motion gate",
    Mode.WAITING: "started: waiting for the first chunk",
    Mode.RUNNING: "executing",
    Mode.STARVED: "starved: the chunk ran out, holding until the next one comes",
    Mode.LATCHED: "stopped and latched: call ~/clear when it is safe to move, then ~/start",
}
DRY_RUN = "dry run, nothing is sent to any driver"


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


def tick_report(ticker: DeadlineTicker | TimerTicker, source: str) -> Report:
    """Say how late the ticks were."""
    lateness = ticker.lateness
    p50, p99, top = lateness.percentiles_ms()
    refused = ticker.realtime.startswith("SCHED_FIFO")
    return Report(
        WARN if refused or lateness.missed else OK,
        ticker.realtime if refused else f"p99 {p99:.2f} ms late",
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


def ring_report(ring: ChunkRing | None, problem: str) -> Report:
    """Say whether there is an inference node's ring, and whether it fits."""
    if problem:
        return Report(ERROR, problem)
    if ring is None:
        return Report(WARN, "no inference node yet: the ring is absent")
    return Report(OK, "attached", {"ring": ring.path, "H": ring.spec.horizon, "epoch": ring.epoch})
