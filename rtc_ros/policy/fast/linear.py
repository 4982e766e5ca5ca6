"""Matrix products with frozen weights, packed once for the CPU's kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

# A packed product costs 10 µs more to begin; it is quicker from about this many weights on.
_LEAST_TO_PACK = 80_000


class Linear(Protocol):
    """y = x Wᵀ + b of float[R, K] to [R, N], in the precision of W [N, K], whose shape it has."""

    shape: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        ...

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return residual + x Wᵀ + b, in the wider of the two precisions."""
        ...


def linear(weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Linear:
    """Return the product with ``weight`` [N, K], the quickest that runs on its device.

    Args:
        weight: W; it is copied or kept, and must not change any more.
        bias: b [N] or None.
        activation: "none" or "gelu_tanh", applied to x Wᵀ + b (not with ``plus``).
    """
    weight = weight.detach()
    bias = None if bias is None else bias.detach().to(weight.dtype)
    large = weight.numel() >= _LEAST_TO_PACK
    if weight.device.type == "cpu" and large and _packs(weight.dtype):
        return PackedLinear(weight, bias, activation)
    return DenseLinear(weight, bias, activation)


@contextmanager
def unpacked() -> Iterator[None]:
    """Let the CPU make its products within the block as a GPU makes them, for a comparison."""
    global _LEAST_TO_PACK
    own, _LEAST_TO_PACK = _LEAST_TO_PACK, 1 << 62
    try:
        yield
    finally:
        _LEAST_TO_PACK = own


class DenseLinear:
    """The product by torch's own matrix multiplication."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self._weight = weight.contiguous().T
        self._dtype, self._bias = weight.dtype, bias
        self._gelu = activation == "gelu_tanh"

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Linear``."""
        x = x if x.dtype == self._dtype else x.to(self._dtype)
        if self._bias is None:
            y = torch.mm(x, self._weight)
        else:
            y = torch.addmm(self._bias, x, self._weight)
        return torch.nn.functional.gelu(y, approximate="tanh") if self._gelu else y

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``Linear``."""
        if self._bias is None and residual.dtype == x.dtype == self._dtype:
            return torch.addmm(residual, x, self._weight)
        return residual + self(x)


class PackedLinear:
    """The product by oneDNN on weights in its own blocked layout.

    With the 25 to 50 rows of an action chunk the usual product spends most of its time on
    bringing the weights into that layout, at every call anew.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str) -> None:
        self.shape = (weight.shape[0], weight.shape[1])
        self._dtype, self._bias = weight.dtype, bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._activation = ("gelu", "tanh") if activation == "gelu_tanh" else ("none", "")
        self._product = torch.ops.mkldnn._linear_pointwise.default
        self._product_plus = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: Tensor) -> Tensor:
        """See ``Linear``."""
        name, algorithm = self._activation
        x = x if x.dtype == self._dtype else x.to(self._dtype)
        return self._product(x, self._packed, self._bias, name, [], algorithm)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``Linear``."""
        if residual.dtype != self._dtype or x.dtype != self._dtype:
            return residual + self(x)
        return self._product_plus(x, residual, self._packed, self._bias, "add")


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Say if oneDNN's packed product works here, by trying it (they are torch's own, unstable)."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(r, 32, generator=generator).to(dtype) for r in (4, 48))
    other = torch.randn(4, 48, generator=generator).to(dtype)
    expected = x.float() @ weight.float().T
    gelu = torch.nn.functional.gelu(expected, approximate="tanh")
    limit = 1e-5 if dtype == torch.float32 else 0.1
    try:
        with torch.no_grad():
            packed = PackedLinear(weight, None, "none")
            curved = PackedLinear(weight, None, "gelu_tanh")
            errors = (
                packed(x).float() - expected,
                packed.plus(x, other).float() - expected - other.float(),
                curved(x).float() - gelu,
            )
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return all(float(error.abs().max()) <= limit * float(expected.abs().max()) for error in errors)
