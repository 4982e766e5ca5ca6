"""The joint limits: parameters, over a joint_limits.yaml, over the robot description."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rtc_ros.core.limits import JointLimits
from rtc_ros.core.urdf import StatedLimits, urdf_limits
from rtc_ros.nodes.parameters import ConfigurationError, per_joint

PARAMETERS = {
    "lower": "position_lower",
    "upper": "position_upper",
    "velocity": "max_velocity",
    "acceleration": "max_acceleration",
}
_WORDS = {
    "lower": "lower position limit",
    "upper": "upper position limit",
    "velocity": "velocity limit",
    "acceleration": "acceleration limit",
}
_NEEDED = ("lower", "upper", "velocity")
_NONE = ""
"""The origin of a limit that a joint doesn't have."""
_YAML = {
    "has_position_limits": {"min_position": "lower", "max_position": "upper"},
    "has_velocity_limits": {"max_velocity": "velocity"},
    "has_acceleration_limits": {"max_acceleration": "acceleration"},
    "has_deceleration_limits": {"max_deceleration": "deceleration"},
}
_UNUSED = {
    "has_jerk_limits": ("max_jerk",),
    "has_soft_limits": ("soft_lower_limit", "soft_upper_limit"),
}
"""Limits that such files may have and that are not kept here, which is said."""
_IGNORED = (
    *(key for has, keys in _UNUSED.items() for key in (has, *keys)),
    *("has_effort_limits", "max_effort", "k_position", "k_velocity", "angle_wraparound"),
)
"""What such files may hold beside."""


def yaml_limits(path: str) -> dict[str, StatedLimits]:
    """Return the limits in a joint_limits.yaml, by joint.

    The file is that of MoveIt: ``joint_limits: {JOINT: {has_velocity_limits: true, max_velocity:
    1.0, …}}``. A limit counts unless its ``has_…`` is false, which says that the joint has none.
    Here one limit holds for gaining and for losing speed: the lesser of acceleration and
    deceleration.

    Raises:
        ConfigurationError: the file can't be read, or holds what isn't understood.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"joint_limits_file {path} can't be read: {words}") from error
    joints = tree.get("joint_limits") if isinstance(tree, dict) else None
    if not isinstance(joints, dict):
        raise ConfigurationError(
            f"joint_limits_file {path} has no map `joint_limits` of joints to limits"
        )
    return {str(name): _stated(path, name, entry) for name, entry in joints.items()}


def _stated(path: str, joint: object, entry: object) -> StatedLimits:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"joint_limits_file {path}: {joint} is no map of limits")
    known = {key for has, keys in _YAML.items() for key in (has, *keys)}
    unknown = sorted(str(k) for k in entry if k not in known and k not in _IGNORED)
    if unknown:
        raise ConfigurationError(
            f"joint_limits_file {path}: {joint} has {', '.join(unknown)}, which is no limit; "
            f"known are {', '.join(sorted(known))}"
        )
    values = {}
    for has, keys in _YAML.items():
        for key, name in keys.items():
            none = -math.inf if name == "lower" else math.inf
            value = none if entry.get(has) is False else entry.get(key, math.nan)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigurationError(
                    f"joint_limits_file {path}: {key} of {joint} is {value!r}, not a number"
                )
            values[name] = float(value)
    # Some write a deceleration with a minus.
    slowing = abs(values.pop("deceleration"))
    values["acceleration"] = float(np.fmin(values["acceleration"], slowing))
    unused = (k for has, keys in _UNUSED.items() if entry.get(has) is not False for k in keys)
    return StatedLimits(**values, unused=tuple(k for k in unused if k in entry))


def joint_limits(
    p: Mapping[str, Any],
    joints: Sequence[str],
    period_s: float,
    await_description: Callable[[], str],
) -> tuple[JointLimits, list[str]]:
    """Return the limits, and sentences that say where each of them comes from.

    Args:
        p: the controller's parameters.
        joints: the A joints.
        period_s: Δt.
        await_description: returns the robot description, "" where none came. It is asked only
            for limits that neither parameter nor file has.

    Raises:
        ConfigurationError: a limit is missing, with the joint's name; or they can't be.
    """
    stated: dict[str, list[float]] = {}
    origin: dict[str, list[str]] = {}
    for name, parameter in PARAMETERS.items():
        stated[name] = per_joint(dict(p), parameter, list(joints), unset=True)
        origin[name] = [f"parameter {parameter}"] * len(joints)
    file, unused = p["joint_limits_file"], []
    if file:
        filed = yaml_limits(file)
        _fill(stated, origin, joints, filed, file)
        unused = _unused(joints, filed, file)
    description = p["robot_description"]
    needed = any(math.isnan(x) for name in _NEEDED for x in stated[name])
    if needed and not description:
        description = await_description()
    if needed and description:
        try:
            described = urdf_limits(description)
        except ValueError as error:
            raise ConfigurationError(f"the joint limits can't be used: {error}") from error
        _fill(stated, origin, joints, described, "robot_description")
    for i, joint in enumerate(joints):
        for name in _NEEDED:
            if math.isnan(stated[name][i]):
                raise ConfigurationError(_missing(joint, name, p, bool(description)))
        if math.isnan(stated["acceleration"][i]):
            stated["acceleration"][i], origin["acceleration"][i] = math.inf, _NONE
    return _made(p, joints, stated, period_s), [*_sentences(joints, origin), *unused]


def _fill(
    stated: dict[str, list[float]],
    origin: dict[str, list[str]],
    joints: Sequence[str],
    found: Mapping[str, StatedLimits],
    where: str,
) -> None:
    """Take from ``found`` what isn't stated yet."""
    for name in PARAMETERS:
        for i, joint in enumerate(joints):
            value = getattr(found.get(joint, StatedLimits()), name)
            if math.isnan(stated[name][i]) and not math.isnan(value):
                stated[name][i], origin[name][i] = value, where


def _unused(joints: Sequence[str], found: Mapping[str, StatedLimits], where: str) -> list[str]:
    """Say which limits a file states in vain."""
    whose: dict[str, list[str]] = {}
    for joint in joints:
        for key in found.get(joint, StatedLimits()).unused:
            whose.setdefault(key, []).append(joint)
    return [
        f"{key} of {', '.join(mine)} in {where} is not kept: there is no such limit here"
        for key, mine in whose.items()
    ]


def _missing(joint: str, name: str, p: Mapping[str, Any], described: bool) -> str:
    if described:
        seen = "the robot description has none either"
    elif p["robot_description_topic"]:
        seen = (
            f"nothing came on {p['robot_description_topic']} within "
            f"{p['robot_description_timeout']:g} s"
        )
    else:
        seen = "no robot_description_topic is set"
    file = f", {p['joint_limits_file']} doesn't have it" if p["joint_limits_file"] else ""
    return (
        f"joint {joint} has no {_WORDS[name]}: parameter {PARAMETERS[name]} must be set, or "
        f"joint_limits_file or the robot description must have it ({seen}{file})"
    )


def _made(
    p: Mapping[str, Any], joints: Sequence[str], stated: dict[str, list[float]], period_s: float
) -> JointLimits:
    margin = np.array(per_joint(dict(p), "position_margin", list(joints)))
    if (margin < 0).any():
        raise ConfigurationError("a position_margin is negative; it is kept from both limits")
    lower, upper = np.array(stated["lower"]), np.array(stated["upper"])
    for i, joint in enumerate(joints):
        if not lower[i] + margin[i] < upper[i] - margin[i]:
            within = f" with the margin {margin[i]:g}" if margin[i] else ""
            raise ConfigurationError(
                f"the joint limits can't be used: the lower limit of {joint}, {lower[i]:g}, is "
                f"not below its upper limit {upper[i]:g}{within}"
            )
        for name in ("velocity", "acceleration"):
            if stated[name][i] <= 0:
                raise ConfigurationError(
                    f"the joint limits can't be used: the {_WORDS[name]} of {joint} is "
                    f"{stated[name][i]:g}; it could never move"
                )
    endless = p["wrap_joints"]
    for joint in endless:
        if joint not in joints:
            raise ConfigurationError(f"wrap_joints names {joint}, not among `joints`")
        i = list(joints).index(joint)
        if math.isfinite(lower[i]) or math.isfinite(upper[i]):
            raise ConfigurationError(
                f"wrap_joints names {joint}, which has position limits ({lower[i]:g} to "
                f"{upper[i]:g}): the short way may lead past them"
            )
    return JointLimits.from_velocity(
        (lower + margin).tolist(),
        (upper - margin).tolist(),
        stated["velocity"],
        period_s,
        stated["acceleration"],
        [2 * math.pi if j in endless else 0.0 for j in joints],
        p["limit_mode"] == "path",
    )


def _sentences(joints: Sequence[str], origin: Mapping[str, Sequence[str]]) -> list[str]:
    """Return, for each limit, where it comes from, joints of one origin together."""
    lines = []
    for name, places in origin.items():
        whose: dict[str, list[str]] = {}
        for joint, place in zip(joints, places, strict=True):
            whose.setdefault(place, []).append(joint)
        without = whose.pop(_NONE, [])
        if not whose:
            lines.append(
                f"no {_WORDS[name]}s: neither parameter {PARAMETERS[name]} nor a "
                "joint_limits_file has them"
            )
            continue
        one = len(whose) == 1 and not without
        parts = [at + ("" if one else f" ({', '.join(mine)})") for at, mine in whose.items()]
        none = f"; none for {', '.join(without)}" if without else ""
        lines.append(f"{_WORDS[name]}s from {'; '.join(parts)}{none}")
    return lines
