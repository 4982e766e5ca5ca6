"""Rotary position embedding as one complex product, on weights that were reordered for it.

LeRobot turns the pairs (x[j], x[j + D/2]) of a head of D numbers by position · 10000^(−2j/D).
With the output rows of the query's and the key's weights in the order 0, D/2, 1, D/2 + 1, … a
pair lies side by side, is a complex number, and the turn is a product. Scores don't change: query
and key are reordered alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_WAVELENGTH = 10_000.0  # a constant of LeRobot's apply_rope, whatever the config says


def turns(positions: Tensor, head_dim: int) -> Tensor:
    """Return complex64[N, head_dim / 2], the turn of each pair at int[N] positions."""
    half = head_dim // 2
    # Step by step as LeRobot, so that cosine and sine are its to the bit.
    exponents = (2.0 / head_dim) * torch.arange(half, dtype=torch.float32, device=positions.device)
    radians = positions[:, None].to(torch.float32) / (MAX_WAVELENGTH**exponents)[None]
    return torch.complex(torch.cos(radians), torch.sin(radians))


def paired_rows(weight: Tensor, head_dim: int) -> Tensor:
    """Return ``weight`` [heads · head_dim, K] with the rows of each head in pairs."""
    heads = weight.shape[0] // head_dim
    split = weight.reshape(heads, 2, head_dim // 2, -1)
    return split.transpose(1, 2).reshape(weight.shape)


def paired_columns(weight: Tensor, head_dim: int) -> Tensor:
    """Return ``weight`` [N, heads · head_dim] for an input whose heads are in pairs."""
    return paired_rows(weight.T, head_dim).T
