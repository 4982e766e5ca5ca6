"""What the expert computes between its products: norms, gates, and their ways back.

By PyTorch's operations, or, on a CUDA device where Triton works, by one kernel each: a small
kernel costs a microsecond or two even in a CUDA graph, and a guided step has hundreds of them.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from rtc_ros.policy.fast.norm import norm_pull_back

logger = logging.getLogger(__name__)


class Elementwise(Protocol):
    """The operations on rows of D numbers, and on [R, 2 F], gates beside what they let through."""

    def norm(
        self, x: Tensor, floor: Tensor, y: Tensor, rho: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Write ρ = √(‖x‖² + floor²) into ``rho`` [R, 1] and x / ρ into ``y`` [R, D].

        Returns y for a product with weights of ``dtype``; it may be in that precision.
        """
        ...

    def norm_back(self, dy: Tensor, y: Tensor, rho: Tensor, residual: Tensor) -> Tensor:
        """Return residual + (dy − y (y · dy)) / ρ: dy through y = x / ρ, and what goes round."""
        ...

    def gate(self, values: Tensor, silu: Tensor) -> Tensor:
        """Return silu(gate) · up of ``values`` [R, 2 F]; write silu(gate) into ``silu``."""
        ...

    def gate_back(self, dh: Tensor, values: Tensor, silu: Tensor, d_values: Tensor) -> Tensor:
        """Write the gradient at ``values`` for ``dh``, that at ``gate``'s result; return it."""
        ...


class ByOperations:
    """By PyTorch's operations."""

    def norm(
        self, x: Tensor, floor: Tensor, y: Tensor, rho: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """See ``Elementwise``."""
        torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), floor, out=rho)
        return torch.div(x, rho, out=y)

    def norm_back(self, dy: Tensor, y: Tensor, rho: Tensor, residual: Tensor) -> Tensor:
        """See ``Elementwise``."""
        return norm_pull_back(dy, y, rho, residual)

    def gate(self, values: Tensor, silu: Tensor) -> Tensor:
        """See ``Elementwise``."""
        gate, up = values.chunk(2, dim=1)
        return torch.ops.aten.silu.out(gate, out=silu) * up

    def gate_back(self, dh: Tensor, values: Tensor, silu: Tensor, d_values: Tensor) -> Tensor:
        """See ``Elementwise``."""
        gate, up = values.chunk(2, dim=1)
        d_gate, d_up = d_values.chunk(2, dim=1)
        torch.mul(dh, silu, out=d_up)
        torch.ops.aten.silu_backward.grad_input(dh * up, gate, grad_input=d_gate)
        return d_values


class Fused:
    """By a Triton kernel each, all of which compute in float32."""

    def __init__(self) -> None:
        from rtc_ros.policy.fast import triton_kernels

        self._kernels: Any = triton_kernels

    def norm(
        self, x: Tensor, floor: Tensor, y: Tensor, rho: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """See ``Elementwise``."""
        rows, width = x.shape
        narrow = y if dtype == y.dtype else torch.empty_like(y, dtype=dtype)
        self._kernels.norm[(rows,)](
            x, floor, y, narrow, rho, x.stride(0), D=width, B=_block(width)
        )
        return narrow

    def norm_back(self, dy: Tensor, y: Tensor, rho: Tensor, residual: Tensor) -> Tensor:
        """See ``Elementwise``."""
        rows, width = dy.shape
        out = torch.empty(rows, width, device=dy.device)
        # A residual that is one number, 0, is no row of a matrix: its stride is 0.
        stride = residual.stride(0) if residual.ndim == 2 else 0
        self._kernels.norm_back[(rows,)](
            *(dy, y, rho, residual, out, dy.stride(0), stride),
            ZERO=residual.ndim != 2,
            D=width,
            B=_block(width),
        )
        return out

    def gate(self, values: Tensor, silu: Tensor) -> Tensor:
        """See ``Elementwise``."""
        out = torch.empty_like(silu)
        rows, width = out.shape
        grid = (rows, -(-width // _GATE_BLOCK))
        self._kernels.gate[grid](values, silu, out, values.stride(0), F=width, B=_GATE_BLOCK)
        return out

    def gate_back(self, dh: Tensor, values: Tensor, silu: Tensor, d_values: Tensor) -> Tensor:
        """See ``Elementwise``."""
        rows, width = dh.shape
        grid = (rows, -(-width // _GATE_BLOCK))
        self._kernels.gate_back[grid](
            *(dh, values, silu, d_values, dh.stride(0), values.stride(0), d_values.stride(0)),
            F=width,
            B=_GATE_BLOCK,
        )
        return d_values


_GATE_BLOCK = 1024


def _block(width: int) -> int:
    return 1 << (width - 1).bit_length()


def elementwise(device: torch.device, dtype: torch.dtype) -> Elementwise:
    """Return the quickest that works on the device, for weights of ``dtype``."""
    # Triton launches on the current device only.
    here = device.type == "cuda" and device.index in (None, torch.cuda.current_device())
    if here and _fuses(device, dtype):
        return Fused()
    return ByOperations()


@cache
def _fuses(device: torch.device, dtype: torch.dtype) -> bool:
    """Say if Triton's kernels work here, by trying them: it compiles, and may lack a compiler."""
    try:
        off = apart(Fused(), device, dtype)
    except Exception as error:  # whatever Triton, its compiler or the driver raise
        logger.warning("no fused kernels, each operation is a kernel of its own: %s", error)
        return False
    if off > _limit(dtype):
        logger.warning("no fused kernels: theirs is %.2g off PyTorch's arithmetic", off)
        return False
    return True


def _limit(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else 0.02


@torch.no_grad()
def apart(
    other: Elementwise, device: torch.device, dtype: torch.dtype, rows: int = 5, width: int = 96
) -> float:
    """Return how far ``other`` is off PyTorch's operations, relative to the largest entry."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    results = []
    x, floor, dx = some(rows, width), torch.tensor(0.3, device=device), some(rows, width)
    values, dh = some(rows, 2 * width).to(dtype), some(rows, width).to(dtype)
    for each in (ByOperations(), other):
        y, rho, silu = torch.zeros_like(x), torch.zeros_like(x[:, :1]), torch.zeros_like(dh)
        d_values = torch.zeros_like(values)
        narrow = each.norm(x, floor, y, rho, dtype)
        results.append(
            [
                *(narrow, y, rho),
                each.norm_back(dh, y, rho, dx),
                each.norm_back(dh, y, rho, torch.zeros((), device=device)),
                *(each.gate(values, silu), silu),
                each.gate_back(dh, values, silu, d_values),
            ]
        )
    pairs = [(a.float(), b.float()) for a, b in zip(*results, strict=True)]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
