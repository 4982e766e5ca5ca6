"""Commands out to the arm driver, in the message type that each group's driver takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.serialization import serialize_message
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.command import Command
from rtc_ros.core.limits import JointLimits
from rtc_ros.nodes.command_types import CHUNK, message_class, row_maker, trajectory
from rtc_ros.nodes.controller_parameters import GROUP
from rtc_ros.nodes.parameters import ConfigurationError, declare, repeated, require

Ahead = Callable[[], tuple[np.ndarray, np.ndarray]]
"""What goes out if no chunk comes any more: positions and velocities, as of Controller.ahead."""


class CommandGroup:
    """One driver: its topic, its message type, and its joints in its own order.

    With ``dry_run`` nothing is published: there isn't even a publisher.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        joints: Sequence[str],
        period_s: float,
        limits: JointLimits,
        dry_run: bool = False,
    ) -> None:
        prefix = f"group.{name}."
        values = declare(node, GROUP, prefix)
        require(values, "topic", "joints", prefix=prefix)
        unknown = [j for j in values["joints"] if j not in joints]
        if unknown:
            raise ConfigurationError(
                f"parameter {prefix}joints names {', '.join(unknown)}, not among `joints`"
            )
        self.joints = values["joints"]
        self._names = bare_names(self.joints, values["joint_prefix"], f"{prefix}joint_prefix")
        self.columns = [list(joints).index(j) for j in self.joints]
        self._period_s = period_s
        self._first_s = values["time_from_start"] or 1.5 * period_s
        # A spline through points with velocities stays within the limits only where the change
        # of velocity is limited, too.
        self._with_velocities = bool(np.isfinite(limits.max_bend[self.columns]).all())
        kind = values["type"]
        self.plays_chunks = kind == CHUNK
        """Whether the driver was sent what goes on without us."""
        if kind == "joint_single_command" and len(self.joints) > 1:
            raise ConfigurationError(
                f"parameter {prefix}type is joint_single_command, which is for one joint, and "
                f"{prefix}joints has {len(self.joints)}: give each a group of its own"
            )
        message = message_class(kind, f"{prefix}type")
        self._publisher = None if dry_run else node.create_publisher(message, values["topic"], 10)
        self._make = row_maker(kind, message, self._names, values["driver_group"], self._first_s)
        self.playing = False
        """Whether the driver goes on along a chunk that it was sent, and not to rest."""
        self._outdated = False
        self._prepared: Any = None
        self._will_play = False

    def prepare(self, command: Command | None, ahead: Ahead, stamp: Any) -> None:
        """Make what this tick sends, instead of what was made before; ``publish`` sends it.

        Without a command, or with one that holds, a driver of chunks is sent the way to rest once,
        instead of what it still has to execute; the others are braked tick by tick.
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
            self._prepared = serialize_message(self._trajectory(ahead))
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

    def _trajectory(self, ahead: Ahead) -> JointTrajectory:
        rows, steps = ahead()
        velocities = steps[:, self.columns] / self._period_s if self._with_velocities else None
        rows = rows[:, self.columns]
        return trajectory(self._names, rows, velocities, self._first_s, self._period_s)


def bare_names(joints: Sequence[str], prefix: str, parameter: str) -> list[str]:
    """Return the joints as their driver calls them: without ``prefix``.

    Raises:
        ConfigurationError: one doesn't begin with it; ``parameter`` is where it comes from.
    """
    others = [joint for joint in joints if not joint.startswith(prefix)]
    if others:
        raise ConfigurationError(
            f"parameter {parameter} is {prefix!r}, and {', '.join(others)} doesn't begin with it"
        )
    return [joint.removeprefix(prefix) for joint in joints]


def command_groups(
    node: Node,
    names: Sequence[str],
    joints: Sequence[str],
    period_s: float,
    limits: JointLimits,
    dry_run: bool = False,
) -> list[CommandGroup]:
    """Make the configured groups.

    Raises:
        ConfigurationError: a joint is in no group, or in two.
    """
    groups = [CommandGroup(node, name, joints, period_s, limits, dry_run) for name in names]
    commanded = [joint for group in groups for joint in group.joints]
    twice = repeated(commanded)
    missing = [j for j in joints if j not in commanded]
    if twice:
        raise ConfigurationError(f"more than one command group has {', '.join(twice)}")
    if missing:
        raise ConfigurationError(f"no command group has {', '.join(missing)}")
    return groups
