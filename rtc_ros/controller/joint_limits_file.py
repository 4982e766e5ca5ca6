"""Joint limits out of a joint_limits.yaml, as MoveIt has it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import yaml

from rtc_ros.core.urdf import StatedLimits, nearest
from rtc_ros.ros.parameters import ConfigurationError

_YAML = {
    "has_position_limits": {"min_position": "lower", "max_position": "upper"},
    "has_velocity_limits": {"max_velocity": "velocity", "min_velocity": "velocity"},
    "has_acceleration_limits": {
        "max_acceleration": "acceleration",
        "min_acceleration": "acceleration",
    },
    "has_deceleration_limits": {"max_deceleration": "acceleration"},
    "has_jerk_limits": {"max_jerk": "jerk", "min_jerk": "jerk"},
}
_UNUSED = {"has_soft_limits": ("soft_lower_limit", "soft_upper_limit")}
"""Limits that such files may have and that are not kept here, which is said."""
_IGNORED = (
    *(key for has, keys in _UNUSED.items() for key in (has, *keys)),
    *("has_effort_limits", "max_effort", "k_position", "k_velocity", "angle_wraparound"),
)
"""What such files may hold beside."""
_VELOCITY_SCALE = "default_velocity_scaling_factor"
_ACCELERATION_SCALE = "default_acceleration_scaling_factor"
_TOP = ("joint_limits", _VELOCITY_SCALE, _ACCELERATION_SCALE)
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
"""YAML 1.1 takes 1e-1 for a text, whatever reads such files besides takes it for a number."""
_UNREADABLE = (
    *(OSError, yaml.YAMLError, RecursionError),
    *(ValueError, LookupError, AttributeError, TypeError, OverflowError),
)
"""The last line is what PyYAML lets out where a value isn't of the type that its tag names."""
_DEPTH = 5
"""How far down in a parameter file the joint limits may be: node, ros__parameters, MoveIt's."""


@dataclass(frozen=True)
class LimitsFile:
    """What a joint_limits.yaml states: ``joints``, and factors on all velocities, accelerations.

    ``doubts`` are sentences on what may not be as it was meant.
    """

    joints: dict[str, StatedLimits]
    velocity_scale: float = 1.0
    acceleration_scale: float = 1.0
    doubts: tuple[str, ...] = ()


def yaml_limits(path: str, joints: Sequence[str] | None = None) -> LimitsFile:
    """Return what a joint_limits.yaml states of ``joints`` (None: of all that it has).

    The file is that of MoveIt: ``joint_limits: {JOINT: {has_velocity_limits: true, max_velocity:
    1.0, …}}``, or a parameter file that holds it. A limit counts unless its ``has_…`` is false or
    its number infinite: both state nothing, and leave it to the robot description. Here one limit
    holds for gaining and for losing speed: the lesser of acceleration and deceleration.
    ``!degrees`` and ``!radians`` are known, as xacro has them.

    Raises:
        ConfigurationError: the file can't be read, or holds what isn't understood.
    """
    try:
        tree = _Loader(Path(path).read_text(encoding="utf-8")).get_single_data()
    except _UNREADABLE as error:
        words = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ConfigurationError(f"joint_limits_file {path} can't be read: {words}") from error
    try:
        return _limits(tree, joints)
    except ValueError as error:
        raise ConfigurationError(f"joint_limits_file {path}{error}") from error


class _Loader(yaml.SafeLoader):
    """YAML's plain types, xacro's units of angle, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"it has {short(key.value)} twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def angle(self, node: yaml.Node) -> float:
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        if not _NUMBER.fullmatch(text):
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.tag} {short(text)} is not a number", node.start_mark
            )
        return math.radians(float(text)) if node.tag == "!degrees" else float(text)


_Loader.add_constructor("!degrees", _Loader.angle)
_Loader.add_constructor("!radians", _Loader.angle)


def _limits(tree: object, joints: Sequence[str] | None) -> LimitsFile:
    holders = list(_holders(tree))
    if len(holders) > 1:
        raise ValueError(f" has {len(holders)} maps `joint_limits`: which one is meant?")
    if not holders:
        top = [str(key) for key in tree] if isinstance(tree, dict) else []
        if "joint_limits" in top:
            raise ValueError(": `joint_limits` is no map of joints to limits")
        found = f"; it begins with {short(', '.join(top))}{_meant('joint_limits', top)}"
        found = found if top else ""
        raise ValueError(f" has no map `joint_limits` of joints to limits{found}")
    holder = holders[0]
    for key in holder:
        if key not in _TOP and _close(str(key)):
            raise ValueError(f" has {key}, which is unknown{_meant(str(key), _TOP)}")
    entries: dict[str, object] = {}
    for key, entry in holder["joint_limits"].items():
        if str(key) in entries:
            raise ValueError(f": joint {key} is there twice")
        entries[str(key)] = entry
    stated, doubts = {}, []
    for name in entries if joints is None else joints:
        if name in entries:
            stated[name] = _stated(name, entries[name])
            continue
        # The joints that are commanded are no misspellings of each other.
        like = nearest(name, [key for key in entries if key not in (joints or ())])
        stated[name] = StatedLimits(instead=dict.fromkeys(_NAMES, f"nothing of {name}{like}"))
        if like:
            doubts.append(f"has nothing of {name}{like}: are the joints' names the same?")
    if joints and entries and not any(name in entries for name in joints):
        doubts = [f"has none of the joints that are commanded: it has {short(', '.join(entries))}"]
    return LimitsFile(
        stated,
        _scale(holder, _VELOCITY_SCALE),
        _scale(holder, _ACCELERATION_SCALE),
        tuple(doubts),
    )


def _holders(tree: object, depth: int = _DEPTH) -> Iterator[dict[Any, Any]]:
    """Return the maps that have ``joint_limits``: the file's own, or those of a parameter file."""
    if isinstance(tree, dict):
        if isinstance(tree.get("joint_limits"), dict):
            yield tree
        elif depth and "joint_limits" not in tree:
            for below in tree.values():
                yield from _holders(below, depth - 1)


def _close(key: str) -> bool:
    """Tell whether a key at the top is meant for one of ours, not another one of MoveIt's."""
    return key.startswith(("joint_lim", "default_")) or key.endswith("limit")


def _meant(word: str, known: Sequence[str]) -> str:
    return nearest(word, known).replace("it has", "is it")


def _scale(holder: dict[Any, Any], key: str) -> float:
    value = _number(holder.get(key, 1.0))
    if value is None or not 0 < value <= 1:
        raise ValueError(f": {key} is {short(holder[key])}; it must be above 0 and at most 1")
    return value


_NAMES = ("lower", "upper", "velocity", "acceleration", "jerk")


def _stated(joint: str, entry: object) -> StatedLimits:
    if entry is None:
        entry = {}
    if not isinstance(entry, dict):
        raise ValueError(f": {joint} is no map of limits")
    known = {key for has, keys in _YAML.items() for key in (has, *keys)}
    unknown = sorted(str(k) for k in entry if k not in known and k not in _IGNORED)
    if unknown:
        raise ValueError(
            f": {joint} has {', '.join(unknown[:5])}, which is no limit"
            f"{_meant(unknown[0], sorted(known))}; known are {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = dict.fromkeys(_NAMES, math.nan)
    instead = {name: f"nothing of it for {joint}" for name in _NAMES}
    for has, keys in _YAML.items():
        given = _flag(joint, has, entry.get(has, True))
        for key, name in keys.items():
            if not given:
                instead[name] = f"{has} of {joint} is false"
            elif key in entry:
                number = _value(joint, key, entry[key])
                if math.isfinite(number):
                    values[name] = float(np.fmin(values[name], number))
                else:
                    instead[name] = f"{key} of {joint} is {number:g}"
    unused = (
        key
        for has, keys in _UNUSED.items()
        if _flag(joint, has, entry.get(has, True))
        for key in keys
    )
    said = StatedLimits(instead=instead, unused=tuple(key for key in unused if key in entry))
    return replace(said, **values)


def _flag(joint: str, key: str, value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise ValueError(f": {key} of {joint} is {short(value)}, neither true nor false")
    return value


def _value(joint: str, key: str, value: object) -> float:
    number = _number(value)
    if number is None:
        hint = "; decimals have a point" if isinstance(value, str) and "," in value else ""
        raise ValueError(f": {key} of {joint} is {short(value)}, not a number{hint}")
    # Limits are the same in both directions here: `min_…` is `max_…` with a minus. Some write a
    # deceleration with one, too.
    if key in ("min_velocity", "min_acceleration", "min_jerk"):
        if number >= 0:
            raise ValueError(
                f": {key} of {joint} is {number:g}; as the limit in the other direction it must "
                "be negative"
            )
        return -number
    return abs(number) if key == "max_deceleration" else number


def _number(value: object) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
