"""Commands out to the arm driver, in the message type that each group's driver takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import serialize_message
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.controller.command_types import CHUNK, message_class, row_maker, trajectory
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.core.command import Command
from rtc_ros.core.limits import JointLimits

Ahead = Callable[[], tuple[np.ndarray, np.ndarray]]
"""What goes out if no chunk comes any more: positions and velocities, as of Controller.ahead."""


class CommandGroup:
    """One driver: its topic, its message type, and its joints in its own order.

    With ``dry_run`` nothing is published: there isn't even a publisher.
    """

    def __init__(
        self,
        node: Node,
        group: GroupParameters,
        joints: Sequence[str],
        period_s: float,
        limits: JointLimits,
        dry_run: bool = False,
    ) -> None:
        self.columns = [list(joints).index(j) for j in group.joints]
        self._names = group.names
        self._period_s = period_s
        self._first_s = group.time_from_start_s or 1.5 * period_s
        # A spline through points with velocities stays within the limits only where the change
        # of velocity is limited, too.
        self._with_velocities = bool(np.isfinite(limits.max_bend[self.columns]).all())
        self.plays_chunks = group.kind == CHUNK
        """Whether the driver was sent what goes on without us."""
        message = message_class(group.kind, f"group.{group.name}.type")
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = (
            None
            if dry_run
            else node.create_publisher(message, group.topic, 10, qos_overriding_options=overrides)
        )
        self._make = row_maker(group.kind, message, self._names, group.driver_group, self._first_s)
        self.playing = False
        """Whether the driver goes on along a chunk that it was sent, and not to rest."""
        self._outdated = False
        self._prepared: Any = None
        self._will_play = False

    def prepare(
        self, command: Command | None, ahead: Ahead, stamp: Any, late_s: float = 0.0
    ) -> None:
        """Make what this tick sends, instead of what was made before; ``publish`` sends it.

        ``late_s`` after the tick's deadline: that much sooner a trajectory's first point is due,
        so that a late tick shifts no row against those of the next one. Without a command, or with
        one that holds, a driver of chunks is sent the way to rest once, instead of what it still
        has to execute; the others are braked tick by tick.
        """
        self._prepared = None
        target = None if command is None else command.target
        if not self.plays_chunks:
            if target is not None:
                self._prepared = self._make(target[self.columns], stamp)
            return
        executes = command is not None and command.wanted is not None
        swaps = command is not None and command.played.swap is not None
        if self._outdated or executes != self.playing or (executes and swaps):
            # What is left to do when the tick has looked at the clock for the last time is short.
            self._prepared = serialize_message(self._trajectory(ahead, late_s))
            self._will_play = executes

    def send_anew(self) -> None:
        """Replace what a driver that plays chunks has of one, with the next ``publish``."""
        self._outdated = self.plays_chunks

    def publish(self) -> None:
        """Send what was prepared, if anything was."""
        if self._prepared is None:
            return
        if self._publisher is not None:
            self._publisher.publish(self._prepared)
        self._prepared = None
        if self.plays_chunks:
            self.playing, self._outdated = self._will_play, False

    def wait_until_sent(self, seconds: float) -> None:
        """Wait until every driver that listens has what was published, no longer than this."""
        if self._publisher is not None:
            with contextlib.suppress(RuntimeError):  # a middleware that can't tell
                self._publisher.wait_for_all_acked(Duration(nanoseconds=round(seconds * 1e9)))

    def _trajectory(self, ahead: Ahead, late_s: float) -> JointTrajectory:
        rows, steps = ahead()
        # An arm at rest has a whole period for its first step.
        least_s = 0.0 if self.playing else min(self._first_s, self._period_s)
        first_s = max(self._first_s - late_s, least_s, 0.1 * self._period_s)
        velocities = steps[:, self.columns] / self._period_s if self._with_velocities else None
        rows = rows[:, self.columns]
        return trajectory(self._names, rows, velocities, first_s, self._period_s)
