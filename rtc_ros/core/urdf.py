"""Joint limits out of a robot description (URDF)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

_MOVING = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True)
class StatedLimits:
    """What one source says of a joint [rad or m; per s, s², s³]; NaN where it says nothing.

    ``unused`` names limits that it states and nothing here keeps.
    """

    lower: float = math.nan
    upper: float = math.nan
    velocity: float = math.nan
    acceleration: float = math.nan
    jerk: float = math.nan
    unused: tuple[str, ...] = ()


def urdf_limits(text: str) -> dict[str, StatedLimits]:
    """Return the limits of each joint that moves.

    A continuous joint has no position limits (±inf). A velocity of 0, and a position range
    without extent, are what a URDF has where nobody filled it in: they count as not stated.

    Raises:
        ValueError: the text isn't a robot's XML, declares a document type (nothing of a robot
            needs one, and entities can be made to fill the memory), or holds no number where
            one belongs.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(
            "the robot description declares a document type or entities; a URDF needs neither"
        )
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the robot description is not XML ({error})") from error
    if root.tag != "robot":
        raise ValueError(f"the robot description begins with <{root.tag}>, not with <robot>")
    found = {}
    for joint in root.findall("joint"):
        name, kind = joint.get("name", ""), joint.get("type", "")
        if name and kind in _MOVING:
            found[name] = _of(name, joint.find("limit"), kind == "continuous")
    return found


def _of(name: str, limit: ElementTree.Element | None, endless: bool) -> StatedLimits:
    attributes = {} if limit is None else limit.attrib
    lower, upper, velocity = (
        _number(name, key, attributes.get(key)) for key in ("lower", "upper", "velocity")
    )
    if endless:
        lower, upper = -math.inf, math.inf
    else:
        # An attribute that is left out is 0, by the format; a limit element left out says nothing.
        lower, upper = (0.0 if math.isnan(x) else x for x in (lower, upper))
        if not lower < upper:
            lower = upper = math.nan
    return StatedLimits(lower, upper, velocity if velocity > 0 else math.nan)


def _number(joint: str, key: str, text: str | None) -> float:
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        raise ValueError(
            f"the robot description says {key}={text!r} of joint {joint}, which is not a number"
            + ("; let xacro make a URDF of it first" if text and "${" in text else "")
        ) from None
    return number
