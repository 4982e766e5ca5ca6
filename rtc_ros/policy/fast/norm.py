"""RMSNorm in three operations, with its scale folded into the products that follow it.

x · rsqrt(mean(x²) + ε) · g = (x / ρ) · √D g with ρ = √(‖x‖² + D ε): the unit-length x / ρ is what
is computed, √D g goes into the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Norm:
    """One RMSNorm over D numbers, its scale apart."""

    def __init__(self, module: Any) -> None:
        """Take over ε and g of a transformers RMSNorm."""
        weight = module.weight.detach()
        width = weight.numel()
        self.scale = (weight.double() * width**0.5).float()
        self.floor = torch.tensor(
            (width * float(module.variance_epsilon)) ** 0.5, device=weight.device
        )

    def folded(self, *weights: Tensor) -> Tensor:
        """Return [W₁; W₂; …] · diag(√D g) for products W [N, D] of this norm's output."""
        joined = torch.cat([weight.detach().float() for weight in weights])
        return (joined * self.scale).to(weights[0].dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x / ρ for x [R, D]."""
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor)


def norm_pull_back(dy: Tensor, y: Tensor, rho: Tensor, residual: Tensor) -> Tensor:
    """Return residual + (dy − y (y · dy)) / ρ: dy through y = x / ρ, and what goes round it."""
    along = (y * dy).sum(dim=-1, keepdim=True)
    return torch.addcdiv(residual, torch.addcmul(dy, y, along, value=-1.0), rho)
