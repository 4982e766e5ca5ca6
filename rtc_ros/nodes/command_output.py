"""Commands out to the arm driver, in the message type that each group's driver takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from rclpy.duration import Duration as RclpyDuration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rtc_ros.core.controller import Command
from rtc_ros.core.limits import JointLimits
from rtc_ros.nodes.parameter_table import GROUP
from rtc_ros.nodes.parameters import ConfigurationError, declare, require

Ahead = Callable[[], tuple[np.ndarray, np.ndarray]]
"""What goes out if no chunk comes any more: positions and velocities, as of Controller.ahead."""


def duration(seconds: float) -> Duration:
    """Return ``seconds`` as a ROS duration."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


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
        ahead: Ahead,
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
        self._columns = [list(joints).index(j) for j in self.joints]
        self._period_s = period_s
        self._first_s = values["time_from_start"] or 1.5 * period_s
        self._ahead = ahead
        # A spline through points with velocities stays within the limits only where the change
        # of velocity is limited, too.
        self._with_velocities = bool(np.isfinite(limits.max_bend[self._columns]).all())
        kind = values["type"]
        self._send_rest = kind == "joint_trajectory_chunk"
        message: type[Any] = {
            "joint_state": JointState,
            "float64_multi_array": Float64MultiArray,
        }.get(kind, JointTrajectory)
        self._publisher = None if dry_run else node.create_publisher(message, values["topic"], 10)
        self._make = {
            "joint_state": self._joint_state,
            "float64_multi_array": self._array,
        }.get(kind, self._point)
        self._held = False

    def send(self, command: Command, stamp: Any) -> None:
        """Publish one tick's command."""
        if command.target is None:
            return
        if self._send_rest:
            self._send_chunk(command)
        else:
            self._publish(self._make(command.target[self._columns], stamp))

    def hold(self) -> None:
        """Replace what the driver still has to execute by the way to rest.

        Only a driver that was sent the rest of a chunk has anything; the others are braked tick
        by tick.
        """
        if self._send_rest and not self._held:
            self._held = True
            self._publish_ahead()

    def wait_until_sent(self, seconds: float) -> None:
        """Wait until every driver that listens has what was published, no longer than this."""
        if self._publisher is not None:
            with contextlib.suppress(RuntimeError):  # a middleware that can't tell
                self._publisher.wait_for_all_acked(RclpyDuration(nanoseconds=round(seconds * 1e9)))

    def _publish(self, message: Any) -> None:
        if self._publisher is not None:
            self._publisher.publish(message)

    def _joint_state(self, row: np.ndarray, stamp: Any) -> JointState:
        message = JointState(name=self.joints, position=row.tolist())
        message.header.stamp = stamp
        return message

    def _array(self, row: np.ndarray, stamp: Any) -> Float64MultiArray:
        return Float64MultiArray(data=row.tolist())

    def _point(self, row: np.ndarray, stamp: Any) -> JointTrajectory:
        return self._trajectory(row[None], np.zeros((1, len(row))))

    def _trajectory(self, rows: np.ndarray, velocities: np.ndarray | None) -> JointTrajectory:
        # Stamp 0 means "now" to a joint_trajectory_controller, whatever its clock says.
        message = JointTrajectory(joint_names=self.joints)
        for i, row in enumerate(rows):
            message.points.append(
                JointTrajectoryPoint(
                    positions=row.tolist(),
                    velocities=[] if velocities is None else velocities[i].tolist(),
                    time_from_start=duration(self._first_s + i * self._period_s),
                )
            )
        message.points[-1].velocities = [0.0] * len(self.joints)
        return message

    def _send_chunk(self, command: Command) -> None:
        """Send the rest of the chunk at a swap, and once the way to rest when a hold begins."""
        if command.wanted is None:
            self.hold()
            return
        held, self._held = self._held, False
        if command.played.swap is not None or held:
            self._publish_ahead()

    def _publish_ahead(self) -> None:
        rows, steps = self._ahead()
        velocities = steps[:, self._columns] / self._period_s if self._with_velocities else None
        self._publish(self._trajectory(rows[:, self._columns], velocities))


def command_groups(
    node: Node,
    names: Sequence[str],
    joints: Sequence[str],
    period_s: float,
    limits: JointLimits,
    ahead: Ahead,
    dry_run: bool = False,
) -> list[CommandGroup]:
    """Make the configured groups.

    Raises:
        ConfigurationError: a joint is in no group, or in two.
    """
    groups = [CommandGroup(node, name, joints, period_s, limits, ahead, dry_run) for name in names]
    commanded = [joint for group in groups for joint in group.joints]
    twice = sorted({j for j in commanded if commanded.count(j) > 1})
    missing = [j for j in joints if j not in commanded]
    if twice:
        raise ConfigurationError(f"more than one command group has {', '.join(twice)}")
    if missing:
        raise ConfigurationError(f"no command group has {', '.join(missing)}")
    return groups
