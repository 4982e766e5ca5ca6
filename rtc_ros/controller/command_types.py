"""The message types that drivers take, and how one row of joint positions becomes each of them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rtc_ros.ros.parameters import ConfigurationError
from rtc_ros.ros.provenance import duration

CHUNK = "joint_trajectory_chunk"
MESSAGE_TYPES = {
    "joint_state": "sensor_msgs/msg/JointState",
    "float64_multi_array": "std_msgs/msg/Float64MultiArray",
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    CHUNK: "trajectory_msgs/msg/JointTrajectory",
    "joint_group_command": "interbotix_xs_msgs/msg/JointGroupCommand",
    "joint_single_command": "interbotix_xs_msgs/msg/JointSingleCommand",
}
"""``group.NAME.type`` → the ROS type of its messages."""


def message_class(kind: str, parameter: str) -> type[Any]:
    """Return the Python class of a kind's messages.

    Raises:
        ConfigurationError: its package isn't installed; ``parameter`` is what asks for it.
    """
    package, _, name = MESSAGE_TYPES[kind].split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)  # type: ignore[no-any-return]
    except ImportError as error:
        raise ConfigurationError(
            f"parameter {parameter} is {kind}, which needs the ROS package {package} ({error}): "
            "source the workspace that the driver was built in"
        ) from error


def row_maker(
    kind: str, message: type[Any], names: Sequence[str], driver_group: str, due_s: float
) -> Callable[[np.ndarray, Any], Any]:
    """Return what makes a message of a row [robot units] and the tick's stamp.

    Args:
        kind: ``group.NAME.type``.
        message: the class of its messages.
        names: the joints, as the driver calls them.
        driver_group: the driver's name for them all (``joint_group_command``).
        due_s: when a trajectory's point is due [s].
    """

    def joint_state(row: np.ndarray, stamp: Any) -> Any:
        made = message(name=list(names), position=row.tolist())
        made.header.stamp = stamp
        return made

    def group_command(row: np.ndarray, _: Any) -> Any:
        return message(name=driver_group, cmd=row.tolist())

    def single_command(row: np.ndarray, _: Any) -> Any:
        return message(name=names[0], cmd=float(row[0]))

    def array(row: np.ndarray, _: Any) -> Any:
        return message(data=row.tolist())

    def point(row: np.ndarray, _: Any) -> Any:
        # Without a velocity: with 0 there, the arm would be braked within each period.
        made = trajectory(names, row[None], None, rests=False)
        set_due(made, due_s, due_s)
        return made

    makers = {
        "joint_state": joint_state,
        "float64_multi_array": array,
        "joint_group_command": group_command,
        "joint_single_command": single_command,
    }
    return makers.get(kind, point)


def row_filler(kind: str, message: Any) -> Callable[[np.ndarray, Any], None]:
    """Return what writes another row [robot units], and a stamp, into a kind's ``message``.

    Into the same memory: nothing is made anew.
    """
    if kind == "joint_single_command":

        def single(row: np.ndarray, _: Any) -> None:
            message.cmd = float(row[0])

        return single
    if kind == "joint_state":
        values = message.position
    elif kind == "joint_group_command":
        values = message.cmd
    elif kind == "float64_multi_array":
        values = message.data
    else:
        values = message.points[0].positions
    places = np.frombuffer(values, dtype=values.typecode)

    def fill(row: np.ndarray, stamp: Any) -> None:
        places[:] = row
        if kind == "joint_state":
            message.header.stamp = stamp

    return fill


def trajectory(
    names: Sequence[str], rows: np.ndarray, velocities: np.ndarray | None, *, rests: bool
) -> JointTrajectory:
    """Return rows [R, A] as a trajectory; ``set_due`` says when.

    ``velocities`` [R, A] are [robot units / s]; None: the points have none. Where it ``rests`` at
    its end, the last point's are 0.
    """
    # Stamp 0 means "now" to a joint_trajectory_controller, whatever its clock says.
    message = JointTrajectory(joint_names=list(names))
    for i, row in enumerate(rows.tolist()):
        speeds = [] if velocities is None else velocities[i].tolist()
        message.points.append(JointTrajectoryPoint(positions=row, velocities=speeds))
    if rests:
        message.points[-1].velocities = [0.0] * len(names)
    return message


def set_due(
    message: JointTrajectory, first_s: float, period_s: float, least: float = 0.0
) -> None:
    """Let the points of ``message`` be due after ``first_s`` and then every ``period_s``.

    Points that would be due sooner than ``least`` periods are left out, but for the last one,
    which is due then at the soonest.
    """
    late = max(0, math.ceil(least - first_s / period_s))
    first = min(late, len(message.points) - 1)
    begin_s = max(first_s + first * period_s, least * period_s)
    message.points = message.points[first:]
    for i, point in enumerate(message.points):
        point.time_from_start = duration(begin_s + i * period_s)
