"""SmolVLA's velocity field, by LeRobot's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.guidance import Velocity

VelocityField = Callable[[dict[str, Any]], Velocity]
"""What is conditioned on a preprocessed batch (images, tokens, state; batch size B) once per
chunk and gives the velocity function of that chunk. A faster expert replaces this callable."""


class LeRobotField:
    """The velocity field as LeRobot computes it: prefix once, then ``denoise_step``."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __call__(self, batch: dict[str, Any]) -> Velocity:
        """Encode the prefix and return velocity(actions[B, H, max_action_dim], tau)."""
        prefix = compat.encode_prefix(self._policy, batch)

        def velocity(actions: Tensor, tau: float) -> Tensor:
            # The one place where τ, 0 at noise, meets LeRobot's time, 1 at noise, along which
            # its velocity points from actions to noise.
            time = torch.full(
                (len(actions),), 1.0 - tau, dtype=torch.float32, device=actions.device
            )
            return -compat.denoise(self._policy, prefix, actions, time)

        return velocity
