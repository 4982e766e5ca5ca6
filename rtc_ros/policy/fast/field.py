"""SmolVLA's velocity field by the fast path: the same numbers as LeRobot's code, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.fast.expert import Expert
from rtc_ros.policy.fast.parts import find_parts
from rtc_ros.policy.fast.prefix import PrefixEncoder


class FastField:
    """A ``VelocityField``: conditioned on a batch of one observation, once per chunk."""

    def __init__(self, policy: Any) -> None:
        """Fold and pack the weights of a LeRobot SmolVLAPolicy, which must not change any more.

        Raises:
            UnsupportedModelError: the model isn't one that the fast path computes.
        """
        parts = find_parts(policy)
        with torch.no_grad():
            self.prefix, self.expert = PrefixEncoder(policy, parts), Expert(policy, parts)

    def __call__(self, batch: dict[str, Any]) -> FastVelocity:
        """Encode the prefix; the velocity function is valid until the next call."""
        self.encode(batch)
        return FastVelocity(self.expert)

    @torch.no_grad()
    def encode(self, batch: dict[str, Any]) -> None:
        """Condition the expert on a preprocessed batch of one observation."""
        self.expert.condition(self.prefix(batch))

    @torch.no_grad()
    def warm_up(self) -> None:
        """Have the products for every number of guided rows made ready (after a first chunk)."""
        self.expert.warm_up()


class FastVelocity:
    """The velocity function of one chunk, which integrates itself (``guidance.Integrator``)."""

    def __init__(self, expert: Expert) -> None:
        """Use an expert that was conditioned on the chunk's prefix."""
        self._expert = expert

    @torch.no_grad()
    def __call__(self, actions: Tensor, tau: float) -> Tensor:
        """Return the velocity [1, H, max_action_dim]; no gradient flows through it."""
        (time,) = self._expert.biases(torch.tensor([tau], dtype=torch.float64))
        return self._expert.velocity(_single(actions), time)[None]

    @torch.no_grad()
    def integrate(
        self,
        actions: Tensor,
        target: tuple[Tensor, Tensor] | None,
        gains: Sequence[float],
        jacobian: str,
    ) -> Tensor:
        """Take len(gains) guided Euler steps; see ``guidance.Integrator``."""
        expert, num_steps = self._expert, len(gains)
        a = _single(actions)
        rows, prev, weights = self._guided_rows(target, gains)
        for step, time in enumerate(expert.times(num_steps)):
            v = expert.velocity(a, time)
            if rows:
                remaining = 1.0 - step / num_steps
                error = weights * (prev - torch.add(a[:rows], v[:rows], alpha=remaining))
                v[:rows].add_(error, alpha=gains[step])
                if jacobian == "vjp":
                    product = expert.pull_back(error)
                    v[:rows].add_(product, alpha=gains[step] * remaining)
            a = torch.add(a, v, alpha=1.0 / num_steps)
        return a[None]

    def _guided_rows(
        self, target: tuple[Tensor, Tensor] | None, gains: Sequence[float]
    ) -> tuple[int, Tensor, Tensor]:
        """Return up to which row there is a weight, and A_prev and W up to there."""
        if target is None or not any(gains):
            return 0, torch.zeros(0), torch.zeros(0)
        prev, weights = target
        rows = int(weights.any(dim=1).nonzero().max()) + 1
        return rows, prev[0, :rows], weights[:rows]


def _single(actions: Tensor) -> Tensor:
    if len(actions) != 1:
        raise ValueError(
            f"the fast path makes one chunk at a time, not {len(actions)}: use fast: false"
        )
    return actions[0].float()
