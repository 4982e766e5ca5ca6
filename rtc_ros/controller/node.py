"""rtc_controller: executes one action per Δt and streams it to the arm driver.

This process must never import torch or lerobot: the tick shares its GIL with nothing heavy.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import traceback
from typing import Any

import numpy as np
from rclpy.node import Node

from rtc_ros.controller.chunk_input import ChunkInput
from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.controller.command_watch import CommandWatch
from rtc_ros.controller.gate import Gate
from rtc_ros.controller.group_parameters import GroupParameters, read_groups, set_points
from rtc_ros.controller.limit_sources import BRAKE_S, Doubt, joint_limits, slow_to_brake
from rtc_ros.controller.reports import DRY_RUN, ExecutedReports, MotionReports, tick_report
from rtc_ros.controller.robot_description import await_description
from rtc_ros.controller.tick import ControlTick
from rtc_ros.controller.ticker import DeadlineTicker, TimerTicker
from rtc_ros.core.controller import Controller
from rtc_ros.core.cursor import Mode
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.set_points import SetPoints
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.latch import LatchFile
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.ros.diagnostics import Diagnostics, Report, logged
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.parameter_record import announce_parameters
from rtc_ros.ros.parameters import (
    ConfigurationError,
    declare_all,
    declare_qos,
    handoff_base,
    named_once,
    per_joint,
    require,
)
from rtc_ros.ros.runner import run_node
from rtc_ros.running.entry import leave_after


class ControllerNode(Node):
    """Owns time: counts the steps, plays the chunks, publishes the commands."""

    def __init__(self) -> None:
        """Declare, check and connect everything; the tick begins with ``run``."""
        super().__init__("rtc_controller")
        p = declare_all(self, "rtc_controller")
        require(p, "joints", "command_groups")
        named_once(p["joints"], "joints")
        self._joints: list[str] = p["joints"]
        self._period_s: float = p["control_period"]
        self._dry_run: bool = p["dry_run"]
        self._lock = threading.Lock()
        self._failed = False
        self._decided = self.get_clock().now()

        limits = self._limits(p)
        groups = read_groups(self, p["command_groups"], self._joints)
        self._points = self._set_points(p, limits, groups)
        self._groups = [
            CommandGroup(
                self, group, self._joints, self._period_s, limits, self._dry_run, self._points
            )
            for group in groups
        ]
        soft_start_ticks = round(p["soft_start"] / self._period_s)
        self._controller = Controller(
            limits, soft_start_ticks, self._watching(p, limits), self._points
        )
        self._hear_the_arm(p, limits)
        if self._dry_run:  # what is for publishers that there are otherwise has its place
            for group in groups:
                declare_qos(self, self.resolve_topic_name(group.topic), "publisher", "reliable")
        self.executor_priority = max(0, p["realtime_priority"] - 1)
        self._executed = ExecutedReports(
            self, self._joints, self._period_s, self.executor_priority, self._points
        )
        announce_parameters(self)

        latch = self._open_handoff(p)
        self._watch = CommandWatch(self, [group.topic for group in groups])
        self._gate = Gate(
            self,
            self._controller,
            self._lock,
            self._groups,
            pose=lambda: self._arm(jumps=True),
            obstacle=self._obstacle,
            missing=self._chunks.missing,
            epoch=self._cursor.epoch,
            latch=latch,
            when_ready=p["start_when_ready"],
            first_chunk_ticks=self._ticks(p["first_chunk_timeout"]),
            hold_ticks=self._ticks(p["hold_timeout"]),
            dry_run=self._dry_run,
        )
        self._ticker = self._made_ticker(p)
        self._control = ControlTick(
            self._controller,
            self._groups,
            newest=self._chunks.newest,
            look=self._look_at_the_arm,
            lost=self._ticker.lost,
            late_s=self._ticker.late_s,
            clock_s=self._ticker.clock_s,
            stamp=self._stamp,
            now_ns=time.monotonic_ns,
            period_s=self._period_s,
        )
        self._diagnostics = Diagnostics(
            self,
            {
                "motion": MotionReports(self, self._controller, self._input, self._dry_run),
                "tick": self._report_tick,
                "handoff": self._chunks.report,
                "commands": logged(
                    self, self._watch.report, lambda: not self._controller.state.stopped
                ),
            },
        )

    # ------------------------------------------------------------- parts of the constructor

    def _ticks(self, seconds: float) -> int:
        """Return how many ticks a time lasts: 0 for none, at least one for any other."""
        return max(1, math.ceil(seconds / self._period_s - 1e-6)) if seconds > 0.0 else 0

    def _limits(self, p: dict[str, Any]) -> JointLimits:
        limits, origins = joint_limits(
            p,
            self._joints,
            self._period_s,
            lambda: await_description(
                self, p["robot_description_topic"], p["robot_description_timeout"]
            ),
        )
        for sentence in origins:
            # Two lines on purpose: rclpy refuses one line that logs at two severities.
            if isinstance(sentence, Doubt):
                self.get_logger().warning(sentence)
            else:
                self.get_logger().info(sentence)
        if slow := slow_to_brake(limits, self._period_s):
            self.get_logger().warning(f"{slow}: call ~/stop first")
        return limits

    def _set_points(
        self, p: dict[str, Any], limits: JointLimits, groups: list[GroupParameters]
    ) -> int:
        """Return m, the set points in each period."""
        points, said = set_points(p["command_rate"], self._period_s, groups)
        try:
            SetPoints(limits, points)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if said:
            self.get_logger().info(said)
        return points

    def _watching(self, p: dict[str, Any], limits: JointLimits) -> Guards:
        names = ("resume_tolerance", "following_tolerance")
        resume, following = (
            # In a dry run the arm never follows.
            np.full(len(self._joints), np.inf)
            if self._dry_run
            else np.broadcast_to(per_joint(p, name, self._joints), len(self._joints))
            for name in names
        )
        behind = np.zeros(len(self._joints), int)
        for group in self._groups:
            behind[group.columns] = group.behind
        return Guards(tuple(self._joints), limits, resume, following, self._period_s, behind)

    def _hear_the_arm(self, p: dict[str, Any], limits: JointLimits) -> None:
        self._input = JointInput(
            self, p["joint_state_topics"], self._joints, prefixes=p["joint_state_prefixes"]
        )
        self._input.expect(limits.bounded_speed(self._period_s))
        self._state_timeout_s: float = p["joint_state_timeout"]
        self._looked_at = time.monotonic()

    def _open_handoff(self, p: dict[str, Any]) -> LatchFile:
        """Become the cursor's writer; a stop that was latched before still is."""
        name = handoff_base(self, p["handoff_name"])
        spec = HandoffSpec(tuple(self._joints), self._period_s)
        self._cursor = StepCursor.create(f"{name}.cursor", spec)
        self._chunks = ChunkInput(f"{name}.ring", spec)
        inherited, latch = self._cursor.inherited, LatchFile(name)
        if latch.there or (inherited is not None and inherited.mode is Mode.LATCHED):
            self._controller.stop(latch=True)
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
            self.get_logger().warning(
                "the stop that was latched before still is: call ~/clear, then ~/start"
            )
        return latch

    def _made_ticker(self, p: dict[str, Any]) -> DeadlineTicker | TimerTicker:
        by_timer = p["tick_source"] == "timer" or self.get_parameter("use_sim_time").value
        priority: int = p["realtime_priority"]
        self._tick_source = "timer" if by_timer else "deadline"
        options: dict[str, Any] = {
            "points": self._points,
            "on_point": lambda index: self._control.send(index),
        }
        if by_timer:
            return TimerTicker(self, self._period_s, self._tick, priority, **options)
        return DeadlineTicker(self._period_s, self._tick, priority, **options)

    # --------------------------------------------------------------------------- life

    def run(self) -> None:
        """Begin to tick."""
        self._ticker.start()
        self.get_logger().info(
            f"ready: {len(self._joints)} joints, one action every {self._period_s * 1e3:g} ms, "
            + (f"{self._points} set points in each, " if self._points > 1 else "")
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
        self._executed.close(0.5)
        for group in self._groups:
            group.wait_until_sent(0.2)
        with contextlib.suppress(HandoffError):
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
        self._cursor.close()
        self._chunks.close()

    # --------------------------------------------------------------------------- ticks

    def _tick(self, late_s: float, missed: int) -> None:
        with self._lock:
            try:
                done = self._control.run(missed)
                reason = done[-1].command.reason if done else ""
                self._gate.after_tick(reason, self._control.missed)
                self._failed = False
            except Exception as error:
                if self._failed:  # it can't even brake
                    raise
                self._failed, done = True, []
                self.get_logger().error(f"a tick failed: {traceback.format_exc()}")
                self._gate.give_up(f"a tick failed ({type(error).__name__}: {error})")
            epoch = self._controller.state.player.epoch
            self._cursor.write(self._controller.cursor(time.monotonic_ns()))
            now_ns = self._decided.nanoseconds
            self._executed.put(done, epoch, late_s, now_ns, self._control.ended)

    def _stamp(self) -> Any:
        """Return the time of a decision, as a message has it; the last one is what was sent."""
        self._decided = self.get_clock().now()
        return self._decided.to_msg()

    def _look_at_the_arm(self, missed: int) -> Arm:
        now = time.monotonic()
        if missed:  # on a simulator's clock that may be more than time that passed
            self._input.stood_still(min(missed * self._period_s, now - self._looked_at))
        self._looked_at = now
        # Once it moves, it goes by its commands; a jump then matters to the policy alone.
        return self._arm(jumps=self._controller.state.row is None)

    def _arm(self, *, jumps: bool) -> Arm:
        pose, problem = self._input.read(self._state_timeout_s, jumps=jumps)
        return Arm(pose, self._input.read_received_ns, problem)

    def _obstacle(self) -> str:
        """Say why nothing may be commanded, or nothing could come that might be."""
        driver = "" if self._dry_run else self._watch.obstacle()
        return driver or self._chunks.missing(self._inference_is_there)

    def _inference_is_there(self) -> bool:
        return ("rtc_inference", self.get_namespace()) in self.get_node_names_and_namespaces()

    def _report_tick(self) -> Report:
        simulated = self.get_parameter("use_sim_time").value
        return tick_report(self._ticker, self._control, self._tick_source, simulated=simulated)


def main() -> None:
    """Run the node until a signal asks to end."""
    run_node(ControllerNode, alone_as="rtc_controller")


if __name__ == "__main__":
    leave_after(main)
