"""Between the robot's numbers and the policy's: commanded joints, and those it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtc_ros.ros.parameters import ConfigurationError, named_once, per_joint


@dataclass(frozen=True, eq=False)
class JointUnits:
    """policy value = scale × robot value + offset, for each of ``joints`` [A]."""

    joints: tuple[str, ...]
    scale: np.ndarray
    offset: np.ndarray

    def to_policy(self, robot: np.ndarray) -> np.ndarray:
        """Convert positions [..., A] from the robot's units to the policy's."""
        return robot * self.scale + self.offset

    def to_robot(self, policy: np.ndarray) -> np.ndarray:
        """Convert positions [..., A] from the policy's units to the robot's."""
        return (policy - self.offset) / self.scale


@dataclass(frozen=True, eq=False)
class PolicyUnits:
    """What the policy's vectors are made of: its ``actions``, and the ``state`` it is shown."""

    actions: JointUnits
    state: JointUnits

    @classmethod
    def of(cls, values: dict[str, Any]) -> PolicyUnits:
        """Read them from the inference node's parameters.

        The state's joints and numbers are the actions' where ``state_joints`` and so on don't say
        otherwise.

        Raises:
            ConfigurationError: a number is missing, not finite, or a scale of 0; a joint is named
                twice.
        """
        actions = _actions(values)
        return cls(actions, _state(values, actions))


def _actions(values: dict[str, Any]) -> JointUnits:
    joints = values["joints"]
    return _checked(
        joints,
        per_joint(values, "joint_scale", joints),
        per_joint(values, "joint_offset", joints),
        "joint",
    )


def _state(values: dict[str, Any], actions: JointUnits) -> JointUnits:
    joints: list[str] = [name for name in values["state_joints"] if name] or list(actions.joints)
    numbers = []
    for name, of_actions in (("scale", actions.scale), ("offset", actions.offset)):
        known: Mapping[str, float] = dict(zip(actions.joints, of_actions, strict=True))
        given = per_joint(values, f"state_{name}", joints, unset=True)
        numbers.append(
            [
                known.get(joint, np.nan) if np.isnan(x) else x
                for joint, x in zip(joints, given, strict=True)
            ]
        )
        unset = [j for j, x in zip(joints, numbers[-1], strict=True) if np.isnan(x)]
        if unset:
            raise ConfigurationError(
                f"parameter state_{name} must be set for {', '.join(unset)}, which "
                f"{'is' if len(unset) == 1 else 'are'} not among the commanded joints"
            )
    return _checked(joints, numbers[0], numbers[1], "state")


def _checked(joints: list[str], scale: list[float], offset: list[float], what: str) -> JointUnits:
    named_once(joints, "state_joints" if what == "state" else "joints")
    units = JointUnits(tuple(joints), np.asarray(scale), np.asarray(offset))
    if not (np.isfinite(units.scale).all() and np.isfinite(units.offset).all()):
        raise ConfigurationError(f"{what}_scale and {what}_offset must be finite")
    if (units.scale == 0).any():
        raise ConfigurationError(f"a {what}_scale is 0: the joint's position would be lost")
    return units
