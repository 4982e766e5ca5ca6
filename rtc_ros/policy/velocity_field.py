"""A policy's velocity field: by LeRobot's own code, or by the fast path where that is equal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.families import FAMILIES, SMOLVLA
from rtc_ros.policy.fast.field import FastField, FastVelocity
from rtc_ros.policy.fast.parts import UnsupportedModelError
from rtc_ros.policy.guidance import Field, Tau, Velocity

VelocityField = Callable[[dict[str, Any]], Velocity | FastVelocity]
"""What is conditioned on a preprocessed batch (images, tokens, state; batch size B) once per
chunk and gives the velocity function of that chunk."""

# Largest difference of a velocity, relative to the velocity's largest entry.
_LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.1}
logger = logging.getLogger(__name__)


def quickest_field(policy: Any) -> VelocityField:
    """Return the fast path's field of a LeRobot policy, or LeRobot's where it can't be that.

    Only SmolVLA has a fast path.
    """
    if policy.name != SMOLVLA.kind:
        return LeRobotField(policy)
    try:
        return FastField(policy)
    except UnsupportedModelError as error:
        logger.warning("LeRobot's own code computes this policy, not the fast path: %s", error)
        return LeRobotField(policy)


@torch.no_grad()
def checked(
    field: VelocityField, policy: Any, batch: dict[str, Any], actions: Tensor
) -> VelocityField:
    """Return ``field``, or LeRobot's where ``field`` is the fast path and isn't equal to it.

    A later LeRobot may compute something else under the same names. One velocity of the loaded
    policy at ``actions`` tells, one with a third of the rows given, and one product back.
    """
    if not isinstance(field, FastField):
        return field
    lerobot = LeRobotField(policy)
    limit = _LIMITS.get(SMOLVLA.transformer_dtype(policy), 0.0)
    ours, theirs = _compared(field(batch), actions), _compared(Field(lerobot(batch)), actions)
    for what, expected in theirs.items():
        off = float((ours[what] - expected).abs().max() / expected.abs().max())
        if not off <= limit:
            logger.warning(
                "LeRobot's own code computes this policy: the fast path's %s is %.2g off it",
                what,
                off,
            )
            return lerobot
    return field


def _compared(field: Field, actions: Tensor) -> dict[str, Tensor]:
    rows = torch.arange(actions.shape[1], device=actions.device)[:, None]
    found = {"velocity": field.at(actions, field.times(2)[1], back=True).float()}
    found["vector-Jacobian product"] = field.pull_back(actions).float()
    given = field.times(2, rows < len(rows) // 3)[1]
    found["velocity beside given rows"] = field.at(actions, given).float()
    return found


class LeRobotField:
    """The velocity field as LeRobot computes it: prefix once, then ``denoise_step``."""

    def __init__(self, policy: Any) -> None:
        self._policy, self._family = policy, FAMILIES[policy.name]

    def __call__(self, batch: dict[str, Any], times: int = 1) -> Velocity:
        """Encode the prefix and return velocity(actions[B · times, H, max_action_dim], tau).

        Each observation of the batch serves ``times`` chunks.
        """
        prefix = self._family.encode_prefix(self._policy, batch)
        if times > 1:
            prefix = prefix.repeat(times)

        def velocity(actions: Tensor, tau: Tau) -> Tensor:
            # The one place where τ, 0 at noise, meets LeRobot's time, 1 at noise, along which
            # its velocity points from actions to noise.
            time = torch.as_tensor(1.0 - tau, dtype=torch.float32, device=actions.device)
            time = time.expand(len(actions), *time.shape)
            return -self._family.denoise(self._policy, prefix, actions, time)

        return velocity
