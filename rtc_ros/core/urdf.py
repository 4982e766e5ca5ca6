"""Joint limits out of a robot description (URDF)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any
from xml.etree import ElementTree

_TURNING = ("revolute", "continuous")
_MOVING = (*_TURNING, "prismatic")
MOST_RAD, MOST_RAD_S = 12.6, 50.0
"""No arm's joint has position limits beyond two turns (12.5663706144, many wrists' limit, is a
little more than 4 π), or a velocity limit beyond this: what has, is in another unit."""
_UNLIKELY = {"rad": (MOST_RAD, MOST_RAD_S, "degrees"), "m": (20.0, 20.0, "millimetres")}
"""Such a limit is in another unit or stands for none (1e16, 1000)."""
_PROLOGUE = re.compile(r"(?:\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
"""What may come before a document type: comments too, and they may tell of one."""


@dataclass(frozen=True)
class StatedLimits:
    """What one source says of a joint [rad or m; per s, s², s³]; NaN where it says nothing.

    An infinite position limit says that the joint has none (it turns endlessly). ``instead``
    tells, by the names of the fields, what the source has in place of a limit that it doesn't
    state; ``within`` which part of it a limit is from; ``unused`` names limits that it states and
    nothing here keeps; ``doubts`` are whole sentences.
    """

    lower: float = math.nan
    upper: float = math.nan
    velocity: float = math.nan
    acceleration: float = math.nan
    jerk: float = math.nan
    unused: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    within: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


def urdf_limits(text: str, joints: Sequence[str] | None = None) -> dict[str, StatedLimits]:
    """Return the limits of each of ``joints`` (None: of all that move).

    Of the limits that a description states in several places the narrowest counts: ``<limit>``,
    the soft limits of ``<safety_controller>``, ``min`` and ``max`` of the command interfaces in
    ``<ros2_control>``. A continuous joint has no position limits (±inf) unless one of the others
    states some. Not stated are what a URDF has where nobody filled it in: an infinite number, a
    velocity of 0 or less, a position range without extent, a number far beyond any arm's.

    Raises:
        ValueError: the text isn't a robot's XML, declares a document type (nothing of a robot
            needs one, and entities can be made to fill the memory), still is xacro's, has a joint
            of ``joints`` twice, or holds no number where one belongs.
    """
    root = _robot(text)
    elements: dict[str, list[ElementTree.Element]] = {}
    for joint in _children(root, "joint"):
        elements.setdefault(joint.get("name", ""), []).append(joint)
    found = {}
    for name in [n for n in elements if n] if joints is None else joints:
        same = elements.get(name, [])
        if len(same) > 1:
            raise ValueError(f"the robot description has joint {name} {len(same)} times")
        kind = same[0].get("type", "") if same else ""
        if kind in _MOVING:
            found[name] = _Joint(name, kind).stated(same[0], _controlled(root, name))
        elif joints is not None:
            found[name] = StatedLimits(instead=_all(_absent(name, same, kind, elements)))
    return found


def _robot(text: str) -> ElementTree.Element:
    text = text.lstrip("\ufeff \t\r\n")
    begins = _PROLOGUE.match(text)
    assert begins is not None, "it matches nothing, too"
    if text.startswith(("<!DOCTYPE", "<!ENTITY"), begins.end()):
        raise ValueError(
            "the robot description declares a document type or entities; a URDF needs neither"
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeError) as error:
        hint = "; let xacro make a URDF of it first" if "xacro" in text else ""
        raise ValueError(f"the robot description is not XML ({error}){hint}") from error
    if _tag(root) != "robot":
        raise ValueError(f"the robot description begins with <{_tag(root)}>, not with <robot>")
    for element in root.iter():
        left = isinstance(element.tag, str) and "xacro}" in element.tag
        if left or "${" in element.get("name", ""):
            said = f"<xacro:{_tag(element)}>" if left else f"name={element.get('name')!r}"
            raise ValueError(
                f"the robot description still has {said}; let xacro make a URDF of it first"
            )
    return root


def _tag(element: ElementTree.Element) -> str:
    """Return the element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _children(element: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    return (child for child in element if _tag(child) == tag)


def _child(element: ElementTree.Element, tag: str) -> Mapping[str, str] | None:
    """Return the attributes of the first child of that name, None where there is none."""
    return next((child.attrib for child in _children(element, tag)), None)


def _controlled(root: ElementTree.Element, name: str) -> Iterator[tuple[str, str, str]]:
    """Return interface, parameter and text of what <ros2_control> says of a joint's commands."""
    for control in _children(root, "ros2_control"):
        for joint in _children(control, "joint"):
            if joint.get("name") == name:
                for interface in _children(joint, "command_interface"):
                    for parameter in _children(interface, "param"):
                        key = parameter.get("name", "")
                        if key in ("min", "max"):
                            yield interface.get("name", ""), key, parameter.text or ""


def _all(said: str) -> dict[str, str]:
    return dict.fromkeys(("lower", "upper", "velocity", "acceleration", "jerk"), said)


def _absent(
    name: str, same: Sequence[object], kind: str, elements: Mapping[str, object]
) -> str:
    if same:
        return f"the robot description has {name} as a joint of type {kind or 'nothing'}"
    return f"the robot description has no joint {name}{nearest(name, elements)}"


def nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return the words that offer the known name most like ``name``; "" where none is like it."""
    others = [k for k in known if k and k != name]
    like = [k for k in others if k.endswith(name) or name.endswith(k)]  # a prefix more, or less
    like = like or get_close_matches(name, others, 1, 0.7)
    return f" (it has {like[0]})" if like else ""


class _Joint:
    """Collects what one description says of one joint."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._endless = name, kind == "continuous"
        self._unit = "rad" if kind in _TURNING else "m"
        names = ("lower", "upper", "velocity", "acceleration")
        self._values: dict[str, Any] = dict.fromkeys(names, math.nan)
        self._instead: dict[str, str] = {}
        self._within: dict[str, str] = {}

    def stated(
        self, joint: ElementTree.Element, controlled: Iterator[tuple[str, str, str]]
    ) -> StatedLimits:
        limit = _child(joint, "limit")
        self._limit(limit)
        if (soft := _child(joint, "safety_controller")) is not None:
            self._soft(soft)
        for interface, key, text in controlled:
            self._command(interface, key, text)
        if self._endless:
            for key, none in (("lower", -math.inf), ("upper", math.inf)):
                if math.isnan(self._values[key]):
                    self._values[key] = none
        doubts: tuple[str, ...] = ()
        if (mimic := _child(joint, "mimic")) is not None:
            doubts = (
                f"{self._name} mimics {mimic.get('joint', 'a joint')} in the robot description: "
                "its driver may move it along, whatever it is commanded",
            )
        unused = ("jerk",) if limit is not None and "jerk" in limit else ()
        said = StatedLimits(
            instead=self._instead, within=self._within, unused=unused, doubts=doubts
        )
        return replace(said, **self._values)

    def _limit(self, limit: Mapping[str, str] | None) -> None:
        if limit is None:
            self._instead |= _all(f"the robot description has no <limit> of {self._name}")
            return
        self._instead |= {
            key: f"the robot description has no {key} in the <limit> of {self._name}"
            for key in ("velocity", "acceleration")
        }
        if not self._endless:
            self._range(limit)
        for key, name in (
            ("velocity", "velocity"),
            ("acceleration", "acceleration"),
            ("deceleration", "acceleration"),
        ):
            if key not in limit:
                continue
            number = self._number(key, limit[key])
            if number > 0 and math.isfinite(number):
                self._narrow(name, number, "")
            else:
                self._instead[name] = self._quoted(**{key: limit[key]})

    def _range(self, limit: Mapping[str, str]) -> None:
        # An attribute that is left out is 0, by the format.
        ends = {key: self._number(key, limit.get(key, "0")) for key in ("lower", "upper")}
        quoted = self._quoted(**{key: limit.get(key, "left out") for key in ends})
        self._instead |= dict.fromkeys(ends, quoted)
        if ends["lower"] >= ends["upper"]:
            return
        for key, number in ends.items():
            if self._believed(key, number):
                self._values[key] = number

    def _soft(self, soft: Mapping[str, str]) -> None:
        ends = {
            key: self._number(f"soft_{key}_limit", soft[f"soft_{key}_limit"])
            for key in ("lower", "upper")
            if f"soft_{key}_limit" in soft
        }
        if len(ends) == 2 and not ends["lower"] < ends["upper"]:
            if ends["lower"] != 0 or ends["upper"] != 0:
                raise ValueError(
                    self._quoted(**dict(soft)) + ", a range from top to bottom: leave it out "
                    "or put it right"
                )
            return
        for key, number in ends.items():
            self._narrow(key, number, "soft limit")

    def _command(self, interface: str, key: str, text: str) -> None:
        at = f"{key} of {interface} in <ros2_control>"
        if interface == "position":
            number = self._number(at, text)
            self._narrow("lower" if key == "min" else "upper", number, "ros2_control")
        elif interface in ("velocity", "acceleration"):
            number = self._number(at, text)
            # Symmetric here, so the narrower of both; 0 is what nobody filled in.
            number = -number if key == "min" else number
            if number > 0:
                self._narrow(interface, number, "ros2_control")

    def _narrow(self, key: str, number: float, within: str) -> None:
        if not self._believed(key, number):
            return
        value = self._values[key]
        closer = max if key == "lower" else min
        if math.isnan(value) or closer(value, number) != value:
            self._values[key] = number
            if within:
                self._within[key] = within

    def _number(self, key: str, text: str) -> float:
        try:
            if "_" in text:  # which Python takes, and nothing that reads URDFs
                raise ValueError
            return float(text)
        except ValueError:
            hint = ""
            if "${" in text or "$(" in text:
                hint = "; let xacro make a URDF of it first"
            elif "," in text:
                hint = "; decimals have a point"
            raise ValueError(
                f"the robot description says {key}={text!r} of joint {self._name}, which is not a "
                f"number{hint}"
            ) from None

    def _believed(self, key: str, number: float) -> bool:
        """Tell whether a limit can be meant, in that unit; else note what was said."""
        position, speed, other = _UNLIKELY[self._unit]
        most = {"lower": position, "upper": position, "velocity": speed}.get(key, math.inf)
        if not math.isfinite(number):
            return False
        if abs(number) <= most:
            return True
        per = "/s" if key == "velocity" else ""
        self._instead[key] = (
            self._quoted(**{key: f"{number:g}"})
            + f", which is in {self._unit}{per} and beyond {most:.3g}: in {other}, or no limit?"
        )
        return False

    def _quoted(self, **attributes: str) -> str:
        said = ", ".join(f"{key}={value}" for key, value in attributes.items())
        return f"the robot description says {said} of {self._name}"
