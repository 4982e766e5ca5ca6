"""Sampling with known rows overwritten at each denoising step, without guidance.

Diffuser (arXiv 2205.09991) does so with the clean values, as it was trained. A flow policy was
trained on rows that are all at the noise level of τ, so here known rows are put on the straight
path from their noise to their value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rtc_ros.policy.guidance import Velocity


@torch.no_grad()
def overwrite_chunk(
    velocity: Velocity, noise: Tensor, prev: Tensor, weights: Tensor, *, num_steps: int
) -> Tensor:
    """Integrate the velocity field with n Euler steps over the rows that aren't known.

    Args:
        velocity: velocity(actions[B, H, A], tau) -> [B, H, A].
        noise: [B, H, A], the actions at τ = 0.
        prev: [B, H, A]; entries that aren't known are never read.
        weights: [H] or [H, A]; an entry is known where it is 1.
        num_steps: n.

    Returns:
        [B, H, A]; known entries are those of ``prev``.

    Raises:
        ValueError: n is below 1, or shapes don't fit.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; at least one Euler step is needed")
    if prev.shape != noise.shape or len(weights) != noise.shape[1]:
        raise ValueError(
            f"noise is {list(noise.shape)}, prev {list(prev.shape)} and weights "
            f"{list(weights.shape)}; rows and dimensions must be the same"
        )
    start = noise.to(torch.promote_types(noise.dtype, torch.float32))
    known = (weights.to(start.device) >= 1.0).reshape(len(weights), -1).expand(start.shape[1:])
    goal = torch.where(known, prev.to(start), torch.zeros_like(start))
    actions = start
    for step in range(num_steps):
        tau = step / num_steps
        actions = torch.where(known, torch.lerp(start, goal, tau), actions)
        actions = actions + velocity(actions, tau).to(actions.dtype) / num_steps
    return torch.where(known, goal, actions)
