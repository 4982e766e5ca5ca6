"""rtc_controller: executes one action per Δt and streams it to the arm driver.

This process must never import torch or lerobot: the tick shares its GIL with nothing heavy.
"""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState

from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.resume import ResumeGuard
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.nodes.command_output import command_groups
from rtc_ros.nodes.command_watch import CommandWatch
from rtc_ros.nodes.controller_parameters import CONTROLLER
from rtc_ros.nodes.controller_reports import DRY_RUN, motion_report, ring_report, tick_report
from rtc_ros.nodes.diagnostics import Diagnostics, Report
from rtc_ros.nodes.gate import Gate
from rtc_ros.nodes.joint_input import JointInput
from rtc_ros.nodes.limit_sources import joint_limits
from rtc_ros.nodes.parameter_record import announce_parameters
from rtc_ros.nodes.parameter_table import COMMON
from rtc_ros.nodes.parameters import declare, handoff_base, per_joint, require
from rtc_ros.nodes.provenance import executed_message, swap_message
from rtc_ros.nodes.robot_description import await_description
from rtc_ros.nodes.runner import run_node
from rtc_ros.nodes.ticker import DeadlineTicker, TimerTicker

BRAKE_S = 3.0
"""Braking at the end of the process is given up after this: a launch kills it after 5 s."""


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
        limits, origins = joint_limits(
            p,
            self._joints,
            self._period_s,
            lambda: await_description(
                self, p["robot_description_topic"], p["robot_description_timeout"]
            ),
        )
        for sentence in origins:
            self.get_logger().info(sentence)
        self._controller = Controller(
            len(self._joints), limits, round(p["soft_start"] / self._period_s)
        )
        self._lock = threading.Lock()
        self._input = JointInput(
            self, p["joint_state_topics"], self._joints, prefixes=p["joint_state_prefixes"]
        )
        self._dry_run: bool = p["dry_run"]
        tolerance = np.array(per_joint(p, "resume_tolerance", self._joints))
        # In a dry run the arm never follows.
        self._guard = ResumeGuard(np.inf * tolerance if self._dry_run else tolerance, self._joints)
        self._groups = command_groups(
            self,
            p["command_groups"],
            self._joints,
            self._period_s,
            limits,
            self._controller.ahead,
            self._dry_run,
        )
        self._executed = self.create_publisher(JointState, "~/executed", 50)
        self._swap = self.create_publisher(DiagnosticStatus, "~/swap", 10)
        announce_parameters(self)

        self._handoff_name = handoff_base(self, p["handoff_name"])
        self._spec = HandoffSpec(tuple(self._joints), self._period_s)
        self._cursor = StepCursor.create(f"{self._handoff_name}.cursor", self._spec)
        inherited = self._cursor.inherited
        if inherited is not None and inherited.mode is Mode.LATCHED:
            self._controller.latch()
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
            self.get_logger().warning("the stop that was latched before still is: call ~/clear")
        self._ring: ChunkRing | None = None
        self._ring_problem = ""
        self._ring_due_s = 0.0

        self._gate = Gate(
            self,
            self._controller,
            self._lock,
            self._input,
            self._state_timeout_s,
            self._groups,
            self._cursor.epoch,
            p["start_when_ready"],
        )
        self._opening = self.create_timer(
            0.05, self._open_when_ready, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        by_timer = p["tick_source"] == "timer" or self.get_parameter("use_sim_time").value
        priority: int = p["realtime_priority"]
        self.executor_priority = max(0, priority - 1)
        self._ticker = (
            TimerTicker(self, self._period_s, self._tick, priority)
            if by_timer
            else DeadlineTicker(self._period_s, self._tick, priority)
        )
        self._tick_source = "timer" if by_timer else "deadline"
        self._told, self._faults_told = "", 0
        self._diagnostics = Diagnostics(
            self,
            {
                "motion": self._report_motion,
                "tick": self._report_tick,
                "handoff": self._report_ring,
                "commands": CommandWatch(self, p["command_groups"]).report,
            },
        )

    def run(self) -> None:
        """Begin to tick."""
        self._ticker.start()
        self.get_logger().info(
            f"ready: {len(self._joints)} joints, one action every {self._period_s * 1e3:g} ms, "
            + ("starts by itself" if self._gate.when_ready else "waiting for ~/start")
        )
        if self._dry_run:
            self.get_logger().warning(DRY_RUN)

    def close(self) -> None:
        """Brake, stop ticking, say so to the inference node; the arm holds its last command."""
        self._gate.close(BRAKE_S)
        self._ticker.stop()
        for group in self._groups:
            group.wait_until_sent(0.2)
        with contextlib.suppress(HandoffError):
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
        self._cursor.close()
        if self._ring is not None:
            self._ring.close()

    def _tick(self, late_s: float) -> None:
        with self._lock:
            controller = self._controller
            self._take_chunk()
            if not controller.stopped:
                pose, problem = self._input.read(self._state_timeout_s)
                controller.set_fault(
                    problem or self._guard.problem(controller.mode, pose, controller.target)
                )
            command = controller.tick()
            stamp = self.get_clock().now().to_msg()
            if command is not None:
                for group in self._groups:
                    group.send(command, stamp)
            epoch = controller.player.epoch
            self._gate.after_tick()
            self._cursor.write(controller.cursor(time.monotonic_ns()))
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
                # With the gate closed a chunk can only be of a run that is over.
                if chunk is not None and not self._controller.stopped:
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

    def _open_when_ready(self) -> None:
        if self._gate.when_ready:
            self._gate.open_if_ready()
        else:
            self._opening.cancel()

    def _report_motion(self) -> Report:
        report = motion_report(self._controller, self._input.not_finite, self._dry_run)
        if report.message != self._told and self._controller.mode in (Mode.STARVED, Mode.FAULT):
            self.get_logger().warning(report.message)
        elif self._controller.counts["faults"] > self._faults_told:
            self.get_logger().warning(f"held for a moment: {self._controller.last_fault}")
        self._told, self._faults_told = report.message, self._controller.counts["faults"]
        return report

    def _report_tick(self) -> Report:
        return tick_report(self._ticker, self._tick_source)

    def _report_ring(self) -> Report:
        return ring_report(self._ring, self._ring_problem)


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    run_node(ControllerNode)


if __name__ == "__main__":
    main()
