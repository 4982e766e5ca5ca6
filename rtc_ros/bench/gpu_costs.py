"""What a chunk must move and compute, and what that should take on a card: an expectation.

Counted on the operations that PyTorch dispatches: of each that computes, one kernel is taken.
What a run reads without having written it (weights, the prefix's keys and values, images) comes
from the card's memory; what it makes itself is taken to stay in the card's cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import add, sub
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rtc_ros.policy.fast.elementwise import Elementwise

# Dispatched, but nothing is launched for them.
_NO_KERNEL = ("empty", "new_empty", "_unsafe_view", "lift_fresh", "detach", "resize_", "alias")


@dataclass(frozen=True)
class Card:
    """Public figures of a card: memory [GB/s], dense bf16 [TFLOP/s]; and a small kernel's time.

    The last, from and to [µs], is no maker's figure: what a small kernel of a CUDA graph is taken
    to cost before the next one, which waits for it, begins.
    """

    name: str
    gigabytes_s: float
    teraflops: float
    kernel_us: tuple[float, float]


CARDS = (
    Card("H100 SXM", 3350.0, 989.0, (1.0, 2.0)),
    Card("H200", 4800.0, 989.0, (1.0, 2.0)),
    Card("RTX 4090", 1008.0, 165.0, (1.0, 2.0)),
    Card("Jetson AGX Orin 64 GB", 204.8, 42.5, (3.0, 5.0)),
)


@dataclass
class Cost:
    """What was counted."""

    kernels: int = 0
    flops: float = 0.0
    read_bytes: int = 0
    """Of what it didn't write itself."""
    touched_bytes: int = 0
    """Of all operands and results."""
    names: Counter[str] = field(default_factory=Counter)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*map(sub, vars(self).values(), vars(other).values()))

    def __add__(self, other: Cost) -> Cost:
        return Cost(*map(add, vars(self).values(), vars(other).values()))

    def floor_s(self, card: Card) -> float:
        """Return what it takes at least, the longer of reading and arithmetic [s]."""
        return max(
            self.read_bytes / (1e9 * card.gigabytes_s), self.flops / (1e12 * card.teraflops)
        )

    def in_a_graph_s(self, card: Card) -> tuple[float, float]:
        """Return what is expected of a CUDA graph: the floor, and a small kernel's time each."""
        least, most = (self.floor_s(card) + 1e-6 * us * self.kernels for us in card.kernel_us)
        return least, most


class AsOneKernel:
    """An ``Elementwise`` whose methods count as one kernel each, whatever they dispatch."""

    def __init__(self, ops: Elementwise) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ops, name)

        def call(*args: Any) -> Any:
            counting = _Counting.now
            if counting is None:
                return method(*args)
            with torch.utils._python_dispatch._disable_current_modes():
                got = method(*args)
                if name == "norm":  # a kernel narrows what it writes
                    got = got.to(args[-1])
            counting.launched(f"fused {name}", args, got)
            return got

        return call


class _Counting(TorchDispatchMode):
    now: _Counting | None = None

    def __init__(self) -> None:
        super().__init__()
        self.cost = Cost()
        self._written: set[int] = set()

    def launched(self, name: str, args: Any, got: Any) -> None:
        """Count a kernel; of what it is given it writes some, but all was written before."""
        given, made = list(_tensors(args)), list(_tensors((got,)))
        self.cost.kernels += 1
        self.cost.names[name] += 1
        self.cost.touched_bytes += sum(map(_bytes, (*given, *made)))
        self._written |= {_place(t) for t in made}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        got = operation(*args, **kwargs)
        packet = operation.overloadpacket
        name = packet.__name__
        if operation.is_view:
            return got
        written = list(_tensors((got, kwargs.get("out"))))
        places = {_place(t) for t in written}
        if not name.startswith(_NO_KERNEL):
            read = [t for t in _tensors((args, list(kwargs.values()))) if _place(t) not in places]
            cost = self.cost
            cost.kernels += 1
            cost.names[name] += 1
            cost.touched_bytes += sum(map(_bytes, (*read, *written)))
            cost.read_bytes += sum(_bytes(t) for t in read if _place(t) not in self._written)
            if name.startswith("_scaled_dot_product"):  # not all of them are registered
                query, key = args[0], args[1]
                cost.flops += 4.0 * query.numel() * key.shape[-2]
            elif packet in flop_registry:
                cost.flops += flop_registry[packet](*args, **kwargs, out_val=got)
        self._written |= places
        return got


def count(run: Callable[[], object]) -> Cost:
    """Return the cost of ``run``."""
    with _Counting() as counting:
        _Counting.now = counting
        try:
            run()
        finally:
            _Counting.now = None
    return counting.cost


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
