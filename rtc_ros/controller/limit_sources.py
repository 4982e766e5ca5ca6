"""The joint limits: parameters, over a joint_limits.yaml, over the robot description."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rtc_ros.controller.joint_limits_file import LimitsFile, yaml_limits
from rtc_ros.core.jerk import jerk_window, jerk_windows
from rtc_ros.core.limits import BRAKE_ROWS, JointLimits
from rtc_ros.core.urdf import MOST_RAD, MOST_RAD_S, StatedLimits, urdf_limits
from rtc_ros.ros.parameters import ConfigurationError, per_joint
from rtc_ros.spelling import few

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
_POSITIONS = ("lower", "upper")
_ENDS = {"lower": "-.inf", "upper": ".inf"}
BRAKE_S = 3.0
"""Braking at the end of the process is given up after this: a launch kills it after 5 s."""
_MOST_S = 1.0
"""Longer than this no jerk limit may prolong a stop."""
_FAST_RAD_S = 25.0
"""Faster than most arms' joints may be (OpenArm 20.9; but Unitree's G1 37): worth a look."""
_GRIPPERS = re.compile("grip|finger|thumb|jaw|claw", re.IGNORECASE)
"""Joints of which nobody knows the unit: metres, 0 to 100, a motor's steps."""


def joint_limits(
    p: Mapping[str, Any],
    joints: Sequence[str],
    period_s: float,
    await_description: Callable[[], str],
) -> tuple[JointLimits, list[str]]:
    """Return the limits, and sentences that say where each of them comes from.

    A source that states no limit (NaN, and an infinite velocity) leaves it to the next: parameter,
    file, description. So every joint has a finite velocity limit, and with it a soft start. A
    position limit may be none where that was said: by an infinite parameter, by a continuous
    joint, by ``wrap_joints``; an acceleration or jerk limit where none states one.

    Args:
        p: the controller's parameters.
        joints: the A joints.
        period_s: Δt.
        await_description: returns the robot description, "" where none came. It is asked only
            for limits that neither parameter nor file has.

    Raises:
        ConfigurationError: a limit is missing, with the joint's name and what each source has in
            its place; or they can't be.
    """
    sources = Sources(p, joints)
    if path := p["joint_limits_file"]:
        file = yaml_limits(path, joints)
        sources.fill(file.joints, path)
    else:
        file = LimitsFile({})
    description = p["robot_description"].strip()
    if not description and sources.needed:
        description = await_description().strip()
    if description and (sources.needed or sources.unlimited):
        try:
            described = urdf_limits(description, joints)
        except ValueError as error:
            raise ConfigurationError(f"the joint limits can't be used: {error}") from error
        sources.fill(described, "robot_description")
    sources.wrapped()
    for name in _NEEDED:
        sources.refuse_missing(name, bool(description))
    doubts = [f"{path} {doubt}" for doubt in file.doubts]
    doubts += sources.scaled(file, path) + sources.doubts()
    limits = _made(p, joints, sources, period_s)
    doubts += _loose(joints, sources, limits)
    if degrees := _in_degrees(joints, sources, limits):
        doubts.append(degrees)
    _refuse_slow_brakes(joints, sources, limits, period_s)
    facts = [*sources.sentences(), *_delayed(limits, joints, period_s), *sources.unused()]
    facts += _abrupt(joints, limits)
    marked = (d if isinstance(d, Doubt) else Doubt(d) for d in doubts)
    return limits, [*facts, *marked]


class Doubt(str):
    """A sentence on the limits that somebody should look at: it is logged as a warning."""


class Degrees(Doubt):
    """A doubt whether limits are in degrees; ``sure`` where most joints' can't be in radians."""

    sure = False


class Sources:
    """Each limit of each joint, with its origin, filled from one source after the other."""

    def __init__(self, p: Mapping[str, Any], joints: Sequence[str]) -> None:
        self._p, self._joints = p, joints
        self.stated: dict[str, list[float]] = {}
        self._origin: dict[str, list[str]] = {}
        self._instead: dict[str, list[list[str]]] = {}
        self._found: list[tuple[str, Mapping[str, StatedLimits]]] = []
        for name, parameter in PARAMETERS.items():
            values = per_joint(dict(p), parameter, list(joints), unset=True)
            self._instead[name] = [[] for _ in joints]
            if name == "velocity":
                for i, value in enumerate(values):
                    if value == math.inf:
                        values[i] = math.nan
                        self._instead[name][i].append(f"parameter {parameter} is inf")
            self.stated[name] = values
            self._origin[name] = [f"parameter {parameter}"] * len(joints)

    def fill(self, found: Mapping[str, StatedLimits], where: str) -> None:
        """Take from ``found`` what isn't stated yet."""
        self._found.append((where, found))
        for name, values in self.stated.items():
            for i, joint in enumerate(self._joints):
                limits = found.get(joint, StatedLimits())
                value = getattr(limits, name)
                if not math.isnan(values[i]):
                    continue
                if math.isnan(value):
                    if said := limits.instead.get(name):
                        self._instead[name][i].append(
                            said if where == "robot_description" else f"{where} says {said}"
                        )
                    continue
                part = limits.within.get(name)
                values[i] = value
                self._origin[name][i] = f"{where} ({part})" if part else where

    def wrapped(self) -> None:
        """Do without position limits where a joint was said to turn endlessly and has none."""
        for i, joint in enumerate(self._joints):
            for name, none in (("lower", -math.inf), ("upper", math.inf)):
                if joint in self._p["wrap_joints"] and math.isnan(self.stated[name][i]):
                    self.stated[name][i], self._origin[name][i] = none, "wrap_joints"

    @property
    def needed(self) -> bool:
        """Whether a limit is missing that there must be."""
        return any(math.isnan(x) for name in _NEEDED for x in self.stated[name])

    @property
    def unlimited(self) -> bool:
        """Whether a joint has no position limit because a parameter says so."""
        return any(math.isinf(x) for name in _POSITIONS for x in self.stated[name])

    def refuse_missing(self, name: str, described: bool) -> None:
        """Refuse the first joint without that limit, with what each source has in its place."""
        for i, joint in enumerate(self._joints):
            if not math.isnan(self.stated[name][i]):
                continue
            said = list(self._instead[name][i])
            if described and not said:
                said.append("the robot description has none either")
            elif not described:
                said.append(_nothing_came(self._p))
            none = "" if name == "velocity" else f" ({_ENDS[name]}: none)"
            raise ConfigurationError(
                f"joint {joint} has no {_WORDS[name]}: parameter {PARAMETERS[name]} must be set"
                f"{none}, or joint_limits_file or the robot description must have it "
                f"({'; '.join(said)})"
            )

    def scaled(self, file: LimitsFile, path: str) -> list[str]:
        """Slow down by the file's factor, as MoveIt does; say so, and what isn't scaled."""
        lines = []
        values, origin = self.stated["velocity"], self._origin["velocity"]
        mine = [i for i, at in enumerate(origin) if not at.startswith("parameter ")]
        if file.velocity_scale != 1 and mine:
            for i in mine:
                values[i] *= file.velocity_scale
                origin[i] += f" × {file.velocity_scale:g}"
            slow = ", ".join(f"{self._joints[i]} {values[i]:.3g}" for i in mine)
            lines.append(
                f"default_velocity_scaling_factor {file.velocity_scale:g} of {path} holds, as in "
                f"MoveIt: the velocity limits are {slow}. For more set it to 1, or max_velocity"
            )
        filed = any(at == path for at in self._origin["acceleration"])
        if file.acceleration_scale != 1 and filed:
            lines.append(
                f"default_acceleration_scaling_factor {file.acceleration_scale:g} of {path} is "
                "not applied: the arm is braked by this limit, too, and would stop later"
            )
        return lines

    def doubts(self) -> list[str]:
        """Say what was said of limits and doesn't hold, or may not be meant."""
        lines = []
        for i, joint in enumerate(self._joints):
            if f"parameter {PARAMETERS['velocity']} is inf" in self._instead["velocity"][i]:
                lines.append(
                    f"parameter {PARAMETERS['velocity']} of {joint} is inf, which is no limit: "
                    f"{self.stated['velocity'][i]:g} from {self.of('velocity', i)} holds"
                )
            for name in _POSITIONS:
                parameter = f"parameter {PARAMETERS[name]}"
                other = self._elsewhere(name, joint)
                if other and math.isinf(self.stated[name][i]) and self.of(name, i) == parameter:
                    lines.append(
                        f"{parameter} says that {joint} has no {_WORDS[name]}, though {other}"
                    )
        for _, found in self._found:
            for joint in self._joints:
                lines += found.get(joint, StatedLimits()).doubts
        return lines

    def _elsewhere(self, name: str, joint: str) -> str:
        for where, found in self._found:
            value = getattr(found.get(joint, StatedLimits()), name)
            if math.isfinite(value):
                return f"{where} has {value:g}"
        return ""

    def unused(self) -> list[str]:
        """Say which limits the sources state in vain."""
        lines = []
        for where, found in self._found:
            whose: dict[str, list[str]] = {}
            for joint in self._joints:
                for key in found.get(joint, StatedLimits()).unused:
                    whose.setdefault(key, []).append(joint)
            lines += [
                f"{key} of {', '.join(mine)} in {where} is not kept: there is no such limit here"
                for key, mine in whose.items()
            ]
        return lines

    def of(self, name: str, i: int) -> str:
        """Return where a limit comes from."""
        return self._origin[name][i]

    def sentences(self) -> list[str]:
        """Return, for each limit, where it comes from, joints of one origin together."""
        lines = []
        for name, places in self._origin.items():
            whose: dict[str, list[str]] = {}
            without: dict[str, list[str]] = {}
            for i, place in enumerate(places):
                value = self.stated[name][i]
                said = name in _POSITIONS or place.startswith("parameter ")
                if math.isfinite(value):
                    whose.setdefault(place, []).append(self._joints[i])
                elif math.isnan(value) or not said:
                    without.setdefault("", []).append(self._joints[i])
                else:
                    without.setdefault(f" ({place})", []).append(self._joints[i])
            if not whose and name == "jerk":
                continue
            none = [f"none for {', '.join(mine)}{why}" for why, mine in without.items()]
            if not whose and list(without) == [""]:
                lines.append(
                    f"no {_WORDS[name]}s: neither parameter {PARAMETERS[name]} nor a "
                    "joint_limits_file has them"
                )
                continue
            one = len(whose) == 1 and not without
            parts = [at + ("" if one else f" ({', '.join(mine)})") for at, mine in whose.items()]
            have = f"{_WORDS[name]}s from {'; '.join(parts)}" if parts else f"{_WORDS[name]}s"
            lines.append("; ".join([have, *none]) if parts else f"{have}: {'; '.join(none)}")
        return lines


def _nothing_came(p: Mapping[str, Any]) -> str:
    if not p["robot_description_topic"]:
        return "no robot_description_topic is set"
    return (
        f"nothing came on {p['robot_description_topic']} within "
        f"{p['robot_description_timeout']:g} s"
    )


def _made(
    p: Mapping[str, Any], joints: Sequence[str], sources: Sources, period_s: float
) -> JointLimits:
    margin = np.array(per_joint(dict(p), "position_margin", list(joints)))
    if (margin < 0).any():
        raise ConfigurationError("a position_margin is negative; it is kept from both limits")
    stated = {name: np.array(values) for name, values in sources.stated.items()}
    lower, upper = stated["lower"], stated["upper"]
    for i, joint in enumerate(joints):
        if not lower[i] + margin[i] < upper[i] - margin[i]:
            within = f" with the margin {margin[i]:g}" if margin[i] else ""
            raise ConfigurationError(
                f"the joint limits can't be used: the lower limit of {joint}, {lower[i]:g}, is "
                f"not below its upper limit {upper[i]:g}{within} (from {sources.of('lower', i)} "
                f"and {sources.of('upper', i)})"
            )
        for name in ("velocity", "acceleration", "jerk"):
            if stated[name][i] <= 0:
                raise ConfigurationError(
                    f"the joint limits can't be used: the {_WORDS[name]} of {joint} is "
                    f"{stated[name][i]:g}; it could never move (from {sources.of(name, i)})"
                )
    endless = p["wrap_joints"]
    for joint in endless:
        if joint not in joints:
            raise ConfigurationError(f"wrap_joints names {joint}, not among `joints`")
        i = list(joints).index(joint)
        if math.isfinite(lower[i]) or math.isfinite(upper[i]):
            raise ConfigurationError(
                f"wrap_joints names {joint}, which has position limits ({lower[i]:g} to "
                f"{upper[i]:g}): the short way may lead past them; if it has none, say so with "
                "position_lower -.inf and position_upper .inf"
            )
    try:
        return JointLimits.from_velocity(
            (lower + margin).tolist(),
            (upper - margin).tolist(),
            stated["velocity"].tolist(),
            period_s,
            _or_none(stated["acceleration"]),
            [2 * math.pi if j in endless else 0.0 for j in joints],
            p["limit_mode"] == "path",
            _or_none(stated["jerk"]),
        )
    except ValueError as error:
        raise ConfigurationError(f"the joint limits can't be used: {error}") from error


def _or_none(values: np.ndarray) -> list[float]:
    return np.where(np.isnan(values), np.inf, values).tolist()  # type: ignore[no-any-return]


def _way(limits: JointLimits) -> np.ndarray:
    """Return how far each joint [A] can go at most."""
    return np.where(limits.turn > 0, 0.5 * limits.turn, limits.upper - limits.lower)


def _loose(joints: Sequence[str], sources: Sources, limits: JointLimits) -> list[str]:
    """Refuse, or doubt where a parameter says it, a velocity limit that limits nothing."""
    lines = []
    span = _way(limits)
    for i in np.flatnonzero(limits.max_step >= span):
        said = (
            f"the velocity limit of {joints[i]}, {sources.stated['velocity'][i]:g} from "
            f"{sources.of('velocity', i)}, lets it cross {span[i]:.3g}, all its way, within one "
            "period: it limits nothing"
        )
        if not sources.of("velocity", i).startswith("parameter "):
            raise ConfigurationError(
                f"the joint limits can't be used: {said}. Set max_velocity to what the arm may do"
            )
        lines.append(said)
    return lines


def may_be_degrees(joints: Sequence[str], limits: JointLimits) -> list[int]:
    """Return which joints can be judged by the size of their limits: no grippers, none endless."""
    return [
        i for i, joint in enumerate(joints) if not (limits.turn[i] or _GRIPPERS.search(joint))
    ]


def _in_degrees(
    joints: Sequence[str], sources: Sources, limits: JointLimits
) -> Degrees | None:
    """Doubt limits that no arm's joints have in radians: they would limit nothing.

    Not refused: a driver may speak degrees, and a joint that isn't called a gripper be none that
    turns. Preflight, which sees where the arm stands, tells more.
    """
    judged = may_be_degrees(joints, limits)
    lower, upper, speed = (sources.stated[name] for name in ("lower", "upper", "velocity"))
    span = {i: max((abs(x) for x in (lower[i], upper[i]) if math.isfinite(x)), default=0.0)
            for i in judged}  # fmt: skip
    wide = [i for i in judged if span[i] > MOST_RAD]
    loose = limits.max_step >= _way(limits)  # that is said of it anyway
    fast = [i for i in judged if speed[i] > _FAST_RAD_S and not loose[i]]
    if not wide and not fast:
        return None

    def named(which: Sequence[int], said: Callable[[int], str]) -> str:
        return few([f"{joints[i]} {said(i)}" for i in which], 3)

    parts, first = [], (wide or fast)[0]
    if wide:
        parts.append(
            f"position limits beyond two turns (±{MOST_RAD:g} rad): "
            + named(wide, lambda i: f"{lower[i]:g} to {upper[i]:g} ({sources.of('upper', i)})")
        )
    if fast:
        parts.append(
            f"velocity limits beyond {_FAST_RAD_S:g} rad/s: "
            + named(fast, lambda i: f"{speed[i]:g} ({sources.of('velocity', i)})")
        )
    low, high, most = (math.radians(x[first]) for x in (lower, upper, speed))
    meant = [f"{low:.3g} to {high:.3g}"] * (first in wide) + [f"{most:.3g}/s"] * (first in fast)
    told = Degrees(
        f"{'; '.join(parts)}. Are they in degrees? In radians those of {joints[first]} would be "
        f"{' and '.join(meant)}"
    )
    beyond = [i for i in judged if span[i] > MOST_RAD or speed[i] > MOST_RAD_S]
    told.sure = 2 * len(beyond) >= len(judged)
    return told


def _refuse_slow_brakes(
    joints: Sequence[str], sources: Sources, limits: JointLimits, period_s: float
) -> None:
    steps = limits.max_step / limits.max_bend
    worst = int(np.argmax(steps))
    if steps[worst] <= BRAKE_ROWS:
        return
    speed, braked = (sources.stated[name][worst] for name in ("velocity", "acceleration"))
    raise ConfigurationError(
        f"the joint limits can't be used: with the acceleration limit {braked:g} of "
        f"{joints[worst]} (from {sources.of('acceleration', worst)}) braking from its velocity "
        f"limit {speed:g} takes {steps[worst] * period_s:.4g} s (at most "
        f"{BRAKE_ROWS * period_s:g}): raise max_acceleration or lower max_velocity"
    )


def _abrupt(joints: Sequence[str], limits: JointLimits) -> list[str]:
    """Say where an acceleration limit (1000 is often found) is as good as none."""
    loose = np.isfinite(limits.max_bend) & (limits.max_bend >= limits.max_step)
    if not loose.any():
        return []
    named = ", ".join(joints[i] for i in np.flatnonzero(loose))
    return [f"the acceleration limit of {named} lets it stop from full speed within one period"]


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
