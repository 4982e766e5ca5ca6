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

from rtc_ros.controller.chunk_input import ChunkInput
from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.controller.command_watch import CommandWatch
from rtc_ros.controller.gate import Gate
from rtc_ros.controller.group_parameters import read_groups
from rtc_ros.controller.limit_sources import BRAKE_S, joint_limits, slow_to_brake
from rtc_ros.controller.reports import DRY_RUN, MotionReports, tick_report
from rtc_ros.controller.robot_description import await_description
from rtc_ros.controller.tick import ControlTick
from rtc_ros.controller.ticker import DeadlineTicker, TimerTicker
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.following import FollowingGuard
from rtc_ros.core.resume import ResumeGuard
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.latch import LatchFile
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.ros.diagnostics import Diagnostics, Report
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.parameter_record import announce_parameters
from rtc_ros.ros.parameters import declare_all, handoff_base, named_once, per_joint, require
from rtc_ros.ros.provenance import executed_message, swap_message
from rtc_ros.ros.runner import run_node
from rtc_ros.running.entry import leave_after

_FOLLOWS_WITHIN_S = 0.2


class ControllerNode(Node):
    """Owns time: counts the steps, plays the chunks, publishes the commands."""

    def __init__(self) -> None:
        """Declare, check and connect everything; the tick begins with ``start_ticking``."""
        super().__init__("rtc_controller")
        p = declare_all(self, "rtc_controller")
        require(p, "joints", "command_groups")
        named_once(p["joints"], "joints")
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
        if slow := slow_to_brake(limits, self._period_s):
            self.get_logger().warning(f"{slow}: call ~/stop first")
        self._controller = Controller(
            len(self._joints), limits, round(p["soft_start"] / self._period_s)
        )
        self._lock = threading.Lock()
        self._input = JointInput(
            self, p["joint_state_topics"], self._joints, prefixes=p["joint_state_prefixes"]
        )
        self._input.expect(limits.bounded_speed(self._period_s))
        self._looked_at = time.monotonic()
        self._dry_run: bool = p["dry_run"]
        resume, following = (
            # In a dry run the arm never follows.
            np.array([np.inf] if self._dry_run else per_joint(p, name, self._joints))
            for name in ("resume_tolerance", "following_tolerance")
        )
        self._resume = ResumeGuard(resume, self._joints, limits)
        patience = round(_FOLLOWS_WITHIN_S / self._period_s)
        self._following = FollowingGuard(following, self._joints, limits, patience)
        groups = read_groups(self, p["command_groups"], self._joints)
        self._groups = [
            CommandGroup(self, group, self._joints, self._period_s, limits, self._dry_run)
            for group in groups
        ]
        self._executed = self.create_publisher(JointState, "~/executed", 50)
        self._swap = self.create_publisher(DiagnosticStatus, "~/swap", 10)
        announce_parameters(self)

        self._handoff_name = handoff_base(self, p["handoff_name"])
        self._spec = HandoffSpec(tuple(self._joints), self._period_s)
        self._cursor = StepCursor.create(f"{self._handoff_name}.cursor", self._spec)
        inherited, latch = self._cursor.inherited, LatchFile(self._handoff_name)
        if latch.there or (inherited is not None and inherited.mode is Mode.LATCHED):
            self._controller.latch()
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
            self.get_logger().warning("the stop that was latched before still is: call ~/clear")
        self._chunks = ChunkInput(f"{self._handoff_name}.ring", self._spec)

        watch = CommandWatch(self, [group.topic for group in groups])
        self._gate = Gate(
            self,
            self._controller,
            self._lock,
            self._input,
            self._state_timeout_s,
            self._groups,
            self._cursor.epoch,
            latch,
            (lambda: "") if self._dry_run else watch.nobody_listens,
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
        self._control = ControlTick(
            self._controller,
            self._groups,
            self._chunks,
            self._look_at_the_arm,
            self._ticker.lost,
            self._ticker.late_s,
            self._period_s,
        )
        self._diagnostics = Diagnostics(
            self,
            {
                "motion": MotionReports(self, self._controller, self._input, self._dry_run),
                "tick": self._report_tick,
                "handoff": self._chunks.report,
                "commands": watch.report,
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
        # Of a node that ends because its tick failed neither ticks nor publishers are left.
        with contextlib.suppress(RuntimeError):
            self._gate.close(BRAKE_S if self._ticker.alive else 0.0)
        self._ticker.stop()
        for group in self._groups:
            group.wait_until_sent(0.2)
        with contextlib.suppress(HandoffError):
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
        self._cursor.close()
        self._chunks.close()

    def _tick(self, late_s: float, missed: int) -> None:
        controller = self._controller
        with self._lock:
            done = self._control.run(missed, self.get_clock())
            epoch = controller.player.epoch
            self._gate.after_tick()
            self._cursor.write(controller.cursor(time.monotonic_ns()))
        for command, at in done:
            message = executed_message(command, self._joints, epoch, late_s, at.to_msg())
            self._executed.publish(message)
            if command.played.swap is not None:
                self._swap.publish(swap_message(command.played.swap, self.get_name()))

    def _look_at_the_arm(self, missed: int) -> None:
        controller, now = self._controller, time.monotonic()
        if missed:  # on a simulator's clock that may be more than time that passed
            self._input.stood_still(min(missed * self._period_s, now - self._looked_at))
        self._looked_at = now
        # Once it moves, it goes by its commands; a jump then matters to the policy alone.
        pose, problem = self._input.read(self._state_timeout_s, jumps=controller.row is None)
        if not problem:
            controller.stand_at(pose)
            received = self._input.read_received_ns
            problem = self._resume.problem(controller.mode, pose, controller.target, received)
            problem = problem or self._following.problem(pose, controller.target)
        controller.set_fault(problem)

    def _open_when_ready(self) -> None:
        if self._gate.when_ready:
            self._gate.open_if_ready()
        else:
            self._opening.cancel()

    def _report_tick(self) -> Report:
        simulated = self.get_parameter("use_sim_time").value
        return tick_report(self._ticker, self._tick_source, simulated=simulated)


def main() -> None:
    """Run the node until a signal asks to end."""
    run_node(ControllerNode, alone_as="rtc_controller")


if __name__ == "__main__":
    leave_after(main)
