"""Where the time of a chunk goes, and how many operations a denoising step dispatches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Phases = Mapping[str, tuple[Any, str]]
"""Phase → (object, name of its attribute): what takes that phase's time."""


class Timer:
    """Adds up the time [s] that callables take, waiting for the device where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.spent: dict[str, float] = {}
        self._device = device

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, timed under ``name``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + self.now() - start

        return call

    def now(self) -> float:
        """Return the time [s], with nothing left to do on the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @contextmanager
    def watching(self, phases: Phases) -> Iterator[None]:
        """Time the phases' callables in the block."""
        own = {name: vars(owner).get(attribute) for name, (owner, attribute) in phases.items()}
        for name, (owner, attribute) in phases.items():
            setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))
        try:
            yield
        finally:
            for name, (owner, attribute) in phases.items():
                if own[name] is None:  # it was its class's
                    delattr(owner, attribute)
                else:
                    setattr(owner, attribute, own[name])


def measure(run: Callable[[], object], phases: Phases, device: torch.device) -> dict[str, float]:
    """Run once; return the time [s] of the whole ("chunk") and of each phase by itself.

    "guidance" is what sampling takes beside the velocities: the way back, error, mask, steps.
    """
    timer = Timer(device)
    with timer.watching(phases):
        start = timer.now()
        run()
        whole = timer.now() - start
    spent = timer.spent
    denoising, vision = spent["denoising"], spent["vision"]
    around = spent.get("sampling", denoising)
    prefix = spent["model"] - around if "model" in spent else spent["prefix"]
    return {
        "vision": vision,
        "prefix": prefix - vision,
        "denoising": denoising,
        "guidance": around - denoising,
        "pre and post": whole - prefix - around,
        "chunk": whole,
    }


class _Operations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += not operation.is_view
        return operation(*args, **(kwargs or {}))


def operations_per_step(run: Callable[[int], object]) -> float:
    """Return how many operations one step of ``run(num_steps)`` dispatches, views apart."""
    totals = []
    for num_steps in (1, 3):
        with _Operations() as operations:
            run(num_steps)
        totals.append(operations.count)
    return (totals[1] - totals[0]) / 2


def resident_bytes(device: torch.device) -> int:
    """Return the memory that is in use now: of this process, or by it on a GPU [bytes]."""
    import resource

    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
