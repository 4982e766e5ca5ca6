"""The joint limits: parameters, over a joint_limits.yaml, over the robot description."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rtc_ros.controller.joint_limits_file import yaml_limits
from rtc_ros.core.jerk import jerk_window, jerk_windows
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.urdf import StatedLimits, urdf_limits
from rtc_ros.ros.parameters import ConfigurationError, per_joint

PARAMETERS = {
    "lower": "position_lower",
    "upper": "position_upper",
    "velocity": "max_velocity",
    "acceleration": "max_acceleration",
    "jerk": "max_jerk",
}
_WORDS = {
    "lower": "lower position limit",
    "upper": "upper position limit",
    "velocity": "velocity limit",
    "acceleration": "acceleration limit",
    "jerk": "jerk limit",
}
_NEEDED = ("lower", "upper", "velocity")
_NONE = ""
"""The origin of a limit that a joint doesn't have."""
BRAKE_S = 3.0
"""Braking at the end of the process is given up after this: a launch kills it after 5 s."""
_MOST_S = 1.0
"""Longer than this no jerk limit may prolong a stop."""


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
        for name in ("acceleration", "jerk"):
            if math.isnan(stated[name][i]):
                stated[name][i], origin[name][i] = math.inf, _NONE
        if math.isinf(stated["jerk"][i]):
            origin["jerk"][i] = _NONE
    limits = _made(p, joints, stated, period_s)
    return limits, [*_sentences(joints, origin), *_delayed(limits, joints, period_s), *unused]


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
        for name in ("velocity", "acceleration", "jerk"):
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
        stated["jerk"],
    )


def slow_to_brake(limits: JointLimits, period_s: float) -> str:
    """Say so if braking from full speed takes longer than an ending process may; else ""."""
    ticks = np.max(limits.max_step / limits.max_bend, initial=0.0, where=limits.max_step < np.inf)
    seconds = (ticks + jerk_window(limits) - 1) * period_s
    if seconds <= BRAKE_S:
        return ""
    return (
        f"from full speed the arm is braked within {seconds:.1f} s, and a controller that is "
        f"ended gives up after {BRAKE_S:g} s"
    )


def jerk_delay_s(limits: JointLimits, period_s: float) -> float:
    """Return how late the commands are because of the jerk limits [s]."""
    return (jerk_window(limits) - 1) * period_s / 2


def _delayed(limits: JointLimits, joints: Sequence[str], period_s: float) -> list[str]:
    """Say what the jerk limits cost, and refuse them where that is too much."""
    windows = jerk_windows(limits)
    worst = int(np.argmax(windows))
    n = float(windows[worst])
    longer_s = (n - 1) * period_s
    if longer_s > _MOST_S:
        bend = min(limits.max_bend[worst], 2 * limits.max_step[worst])
        raise ConfigurationError(
            f"the joint limits can't be used: for the jerk limit of {joints[worst]}, "
            f"{limits.max_twist[worst] / period_s**3:g}, with accelerations of up to "
            f"{bend / period_s**2:g}, each command would be the mean of {n:g} rows, and a "
            f"stop would take {longer_s:g} s longer (at most {_MOST_S:g}): raise max_jerk (.inf: "
            "none) or lower max_acceleration"
        )
    if n == 1:
        return []
    return [
        f"because of the jerk limits each command is the mean of the last {n:g} rows, "
        f"{longer_s / 2 * 1e3:g} ms late; a stop takes {longer_s * 1e3:g} ms longer"
    ]


def _sentences(joints: Sequence[str], origin: Mapping[str, Sequence[str]]) -> list[str]:
    """Return, for each limit, where it comes from, joints of one origin together."""
    lines = []
    for name, places in origin.items():
        whose: dict[str, list[str]] = {}
        for joint, place in zip(joints, places, strict=True):
            whose.setdefault(place, []).append(joint)
        without = whose.pop(_NONE, [])
        if not whose and name == "jerk":
            continue
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
