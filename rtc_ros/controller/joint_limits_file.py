"""Joint limits out of a joint_limits.yaml, as MoveIt has it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import yaml

from rtc_ros.core.urdf import StatedLimits
from rtc_ros.ros.parameters import ConfigurationError

_YAML = {
    "has_position_limits": {"min_position": "lower", "max_position": "upper"},
    "has_velocity_limits": {"max_velocity": "velocity"},
    "has_acceleration_limits": {"max_acceleration": "acceleration"},
    "has_deceleration_limits": {"max_deceleration": "deceleration"},
    "has_jerk_limits": {"max_jerk": "jerk"},
}
_UNUSED = {"has_soft_limits": ("soft_lower_limit", "soft_upper_limit")}
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
