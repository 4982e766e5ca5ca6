"""The loss that teaches a flow policy to go on from given rows: training-time conditioning.

Of each chunk the first d rows are given as they are (arXiv 2512.05964): clean, at the flow time of
actions, and not part of the loss. With d = 0 it is LeRobot's own loss. Times are LeRobot's: 1 at
noise, 0 at actions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.families.family import Family
from rtc_ros.policy.kv_cache import Prefix


def draw_delays(count: int, max_delay: int, device: torch.device | str = "cpu") -> Tensor | None:
    """Return d of each chunk, 0 to ``max_delay`` alike often; None where that is 0."""
    return torch.randint(0, max_delay + 1, (count,), device=device) if max_delay else None


def flow_loss(
    family: Family,
    policy: Any,
    prefix: Prefix,
    actions: Tensor,
    *,
    dims: int,
    noise: Tensor,
    time: Tensor,
    delays: Tensor | None = None,
    padded: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the velocity over what is to be learnt.

    Args:
        family: the policy's.
        policy: LeRobot's.
        prefix: what the chunks are conditioned on.
        actions: [B, H, max_action_dim], normalised, 0 in dimensions beyond ``dims``.
        dims: A, the real action dimensions; only they count.
        noise: as ``actions``.
        time: [B], LeRobot's.
        delays: d, int[B]; None: 0 for all.
        padded: bool[B, H], rows beyond the end of an episode, which don't count.
    """
    given = rows_below(delays, actions)
    at = time if given is None else torch.where(given, 0.0, time[:, None])
    mix = at.reshape(len(actions), -1, 1)
    velocity = family.denoise(policy, prefix, mix * noise + (1.0 - mix) * actions, at)
    error = (velocity - (noise - actions))[:, :, :dims].square()
    left_out = [mask for mask in (given, padded) if mask is not None]
    if not left_out:
        return error.mean()
    counts = ~torch.stack(left_out).any(dim=0)
    # Not error * counts: a row that doesn't count may hold anything.
    return error[counts].sum() / (counts.sum() * dims).clamp_min(1)


def rows_below(delays: Tensor | None, actions: Tensor) -> Tensor | None:
    """Return bool[B, H], the rows of ``actions`` [B, H, A] below d; None for no delays."""
    if delays is None:
        return None
    return torch.arange(actions.shape[1], device=actions.device) < delays[:, None]
