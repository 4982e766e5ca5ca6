"""rtc_controller: executes one action per Δt and streams it to the arm driver.

This process must never import torch or lerobot: the tick shares its GIL with nothing heavy.
"""

from __future__ import annotations

import contextlib
import threading
import time

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.segment import next_epoch
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.nodes.command_output import command_groups
from rtc_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Report
from rtc_ros.nodes.joint_input import JointInput
from rtc_ros.nodes.parameter_table import COMMON, CONTROLLER
from rtc_ros.nodes.parameters import (
    ConfigurationError,
    declare,
    handoff_base,
    per_joint,
    require,
)
from rtc_ros.nodes.provenance import executed_message, swap_message
from rtc_ros.nodes.runner import run_node
from rtc_ros.nodes.ticker import DeadlineTicker, TimerTicker


class ControllerNode(Node):
    """Owns time: counts the steps, plays the chunks, publishes the commands."""

    def __init__(self) -> None:
        """Declare, check and connect everything; the tick begins with ``start_ticking``."""
        super().__init__("rtc_controller")
        p = declare(self, COMMON) | declare(self, CONTROLLER)
        require(p, "joints", "command_groups")
        self._joints: list[str] = p["joints"]
        self._period_s: float = p["control_period"]
        self._state_timeout_s: float = p["joint_state_timeout"]
        try:
            limits = JointLimits.from_velocity(
                per_joint(p, "position_lower", self._joints),
                per_joint(p, "position_upper", self._joints),
                per_joint(p, "max_velocity", self._joints),
                self._period_s,
            )
        except ValueError as error:
            raise ConfigurationError(f"the joint limits can't be used: {error}") from error
        self._controller = Controller(
            len(self._joints), limits, round(p["soft_start"] / self._period_s)
        )
        self._lock = threading.Lock()
        self._input = JointInput(self, p["joint_state_topics"], self._joints)
        self._groups = command_groups(
            self, p["command_groups"], self._joints, self._period_s, limits
        )
        self._executed = self.create_publisher(JointState, "~/executed", 50)
        self._swap = self.create_publisher(DiagnosticStatus, "~/swap", 10)

        self._handoff_name = handoff_base(self, p["handoff_name"])
        self._spec = HandoffSpec(tuple(self._joints), self._period_s)
        self._cursor = StepCursor.create(f"{self._handoff_name}.cursor", self._spec)
        self._epoch = self._cursor.epoch
        self._ring: ChunkRing | None = None
        self._ring_problem = ""
        self._ring_due_s = 0.0

        self._start_when_ready: bool = p["start_when_ready"]
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        by_timer = p["tick_source"] == "timer" or self.get_parameter("use_sim_time").value
        priority: int = p["realtime_priority"]
        self.executor_priority = max(0, priority - 1)
        self._ticker = (
            TimerTicker(self, self._period_s, self._tick, priority)
            if by_timer
            else DeadlineTicker(self._period_s, self._tick, priority)
        )
        self._tick_source = "timer" if by_timer else "deadline"
        self._told = ""
        self._diagnostics = Diagnostics(
            self,
            {
                "motion": self._report_motion,
                "tick": self._report_tick,
                "handoff": self._report_ring,
            },
        )

    def run(self) -> None:
        """Begin to tick."""
        self._ticker.start()
        self.get_logger().info(
            f"ready: {len(self._joints)} joints, one action every {self._period_s * 1e3:g} ms, "
            + ("starts by itself" if self._start_when_ready else "waiting for ~/start")
        )

    def close(self) -> None:
        """Stop ticking and say so to the inference node; the arm holds its last command."""
        self._ticker.stop()
        with self._lock:
            self._stop()
        for group in self._groups:
            group.wait_until_sent(0.2)
        with contextlib.suppress(HandoffError):
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
        self._cursor.close()
        if self._ring is not None:
            self._ring.close()

    # -- the tick ---------------------------------------------------------------------------

    def _tick(self, late_s: float) -> None:
        with self._lock:
            controller = self._controller
            if controller.mode is not Mode.STOPPED:
                self._take_chunk()
                _, problem = self._input.read(self._state_timeout_s)
                controller.set_fault(problem)
            command = controller.tick()
            stamp = self.get_clock().now().to_msg()
            if command is not None:
                for group in self._groups:
                    group.send(command, stamp)
            self._cursor.write(controller.cursor(time.monotonic_ns()))
            epoch = controller.player.epoch
        if command is None:
            return
        self._executed.publish(executed_message(command, self._joints, epoch, late_s, stamp))
        if command.played.swap is not None:
            self._swap.publish(swap_message(command.played.swap, self.get_name()))

    def _take_chunk(self) -> None:
        try:
            if self._ring is None:
                self._attach()
            elif self._ring.poll():
                chunk = self._ring.read_newest()
                if chunk is not None:
                    self._controller.offer(chunk)
        except HandoffError as error:
            self._ring_problem = str(error)
            if self._ring is not None:
                self._ring.close()
                self._ring = None

    def _attach(self) -> None:
        now = time.monotonic()
        if now < self._ring_due_s:
            return
        self._ring_due_s = now + 0.2
        self._ring = ChunkRing.attach_or_none(f"{self._handoff_name}.ring", self._spec)
        if self._ring is not None:
            self._ring_problem = ""
            chunk = self._ring.read_newest()
            if chunk is not None and chunk.step_epoch == self._controller.player.epoch:
                self._controller.offer(chunk)

    # -- services ---------------------------------------------------------------------------

    def start(self) -> str:
        """Open the motion gate; return "" or why it stays closed."""
        pose, problem = self._input.read(self._state_timeout_s)
        if problem:
            return problem
        with self._lock:
            if self._controller.mode is not Mode.STOPPED:
                return f"already started (the controller is {self._controller.mode.name})"
            self._epoch = next_epoch(self._epoch)
            self._controller.start(self._epoch, pose)
        self.get_logger().info("started from the measured pose; waiting for the first chunk")
        return ""

    def _stop(self) -> None:
        """Close the gate; drivers that have the rest of a chunk are told to hold."""
        self._controller.stop()
        if self._controller.command is not None:
            for group in self._groups:
                group.hold(self._controller.command)

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        problem = self.start()
        response.success, response.message = not problem, problem or "started"
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._start_when_ready = False
        with self._lock:
            self._stop()
            step = self._controller.player.step
        response.success, response.message = True, f"stopped after {step} steps; holding"
        self.get_logger().info(response.message)
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin a new count of steps; goes on moving if it was."""
        with self._lock:
            moving = self._controller.mode is not Mode.STOPPED
            self._stop()
        problem = self.start() if moving else ""
        response.success = not problem
        response.message = problem or ("reset and started again" if moving else "reset; stopped")
        return response

    # -- diagnostics ------------------------------------------------------------------------

    def _report_motion(self) -> Report:
        if self._start_when_ready and self._controller.mode is Mode.STOPPED and not self.start():
            self._start_when_ready = False
        controller = self._controller
        mode, player = controller.mode, controller.player
        level = {Mode.STARVED: WARN, Mode.FAULT: ERROR}.get(mode, OK)
        message = controller.fault or {
            Mode.STOPPED: "stopped: call ~/start to open the motion gate",
            Mode.WAITING: "started: waiting for the first chunk",
            Mode.RUNNING: "executing",
            Mode.STARVED: "starved: the chunk ran out, holding until the next one comes",
        }.get(mode, mode.name)
        if message != self._told and mode in (Mode.STARVED, Mode.FAULT):
            self.get_logger().warning(message)
        self._told = message
        swap = player.last_swap
        values: dict[str, object] = {
            "mode": mode.name,
            "step": player.step,
            "chunk": "none" if player.current is None else player.current.seq,
            "swaps": player.swaps,
            "last observed delay [steps]": "none" if swap is None else swap.delay,
            "joint states refused (not finite)": self._input.not_finite,
        }
        values.update(sorted(controller.counts.items()))
        return Report(level, message, values)

    def _report_tick(self) -> Report:
        lateness = self._ticker.lateness
        p50, p99, top = lateness.percentiles_ms()
        realtime = getattr(self._ticker, "realtime", "")
        refused = bool(realtime) and realtime.startswith("SCHED_FIFO")
        missed = lateness.missed > 0
        return Report(
            WARN if refused or missed else OK,
            realtime if refused else f"p99 {p99:.2f} ms late",
            {
                "source": self._tick_source,
                "ticks": lateness.count,
                "late p50 [ms]": p50,
                "late p99 [ms]": p99,
                "late max [ms]": top,
                "worst ever [ms]": lateness.worst_s * 1e3,
                "missed": lateness.missed,
                "realtime": realtime or "SCHED_FIFO",
            },
        )

    def _report_ring(self) -> Report:
        ring = self._ring
        if self._ring_problem:
            return Report(ERROR, self._ring_problem)
        if ring is None:
            return Report(WARN, "no inference node yet: the ring is absent")
        return Report(
            OK, "attached", {"ring": ring.path, "H": ring.spec.horizon, "epoch": ring.epoch}
        )


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    run_node(ControllerNode)


if __name__ == "__main__":
    main()
