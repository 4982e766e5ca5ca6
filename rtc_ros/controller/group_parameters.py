"""The command groups as the parameters have them, checked; for rtc_controller and preflight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.node import Node

from rtc_ros.controller.command_types import CHUNK
from rtc_ros.controller.parameters import GROUP
from rtc_ros.core.set_points import ratio
from rtc_ros.ros.parameters import ConfigurationError, declare, named_once, repeated, require


@dataclass(frozen=True)
class GroupParameters:
    """One group: ``joints`` as the policy calls them, ``names`` as its driver does."""

    name: str
    topic: str
    """As it was given."""
    kind: str
    joints: tuple[str, ...]
    names: tuple[str, ...]
    driver_group: str
    time_from_start_s: float


def read_groups(node: Node, names: Sequence[str], joints: Sequence[str]) -> list[GroupParameters]:
    """Declare and read the groups ``names``, which command the ``joints``.

    Raises:
        ConfigurationError: a group lacks something or is there twice, names a joint that isn't
            among ``joints``, or more than its driver takes; a joint is in no group, or in two.
    """
    named_once(names, "command_groups")
    groups = [_read(node, name, joints) for name in names]
    commanded = [joint for group in groups for joint in group.joints]
    missing = [j for j in joints if j not in commanded]
    if twice := repeated(commanded):
        raise ConfigurationError(f"more than one command group has {', '.join(twice)}")
    if missing:
        raise ConfigurationError(f"no command group has {', '.join(missing)}")
    return groups


def _read(node: Node, name: str, joints: Sequence[str]) -> GroupParameters:
    prefix = f"group.{name}."
    values = declare(node, GROUP, prefix)
    require(values, "topic", "joints", prefix=prefix)
    own: list[str] = values["joints"]
    named_once(own, f"{prefix}joints")
    unknown = [j for j in own if j not in joints]
    if unknown:
        raise ConfigurationError(
            f"parameter {prefix}joints names {', '.join(unknown)}, not among `joints`"
        )
    if values["type"] == "joint_single_command" and len(own) > 1:
        raise ConfigurationError(
            f"parameter {prefix}type is joint_single_command, which is for one joint, and "
            f"{prefix}joints has {len(own)}: give each a group of its own"
        )
    return GroupParameters(
        name,
        values["topic"],
        values["type"],
        tuple(own),
        tuple(bare_names(own, values["joint_prefix"], f"{prefix}joint_prefix")),
        values["driver_group"],
        values["time_from_start"],
    )


def set_points(
    command_rate: float, control_period_s: float, groups: Sequence[GroupParameters]
) -> tuple[int, str]:
    """Return m, the set points in each period of drivers of rows, and what is to be said of it.

    Raises:
        ConfigurationError: the rate is no multiple of the rows'; some groups get whole chunks, and
            others rows.
    """
    try:
        points = ratio(command_rate, control_period_s)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    chunks = [group.name for group in groups if group.kind == CHUNK]
    if points == 1 or not chunks:
        return points, ""
    if len(chunks) < len(groups):
        raise ConfigurationError(
            f"command_rate is {command_rate:g} Hz, and of the command groups "
            f"{', '.join(chunks)} gets whole chunks while others get rows: give all of them a "
            "type of rows, or leave command_rate out"
        )
    return 1, f"command_rate {command_rate:g} Hz changes nothing: each driver plays chunks"


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
