"""The prefix of a chunk as the expert sees it: keys and values of each layer, made once.

LeRobot keeps them as a dictionary per layer or as a transformers ``DynamicCache``, by version and
policy; a DynamicCache may be appended to by each denoising step. Before transformers 4.54 that has
two lists in place of layers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_COPIES = 3
"""How often a candidate's share of the prefix is in memory: kept, and joined with the chunk's own
keys and values while a layer runs."""


@dataclass(frozen=True)
class Prefix:
    """What each denoising step reads: images and language, and the state where it is read there.

    ``pad_masks`` is bool[B, P]; ``cache`` has the keys and values; ``state`` is [B, S] for a
    policy whose expert reads it at each step, else None.
    """

    pad_masks: Tensor
    cache: Any
    state: Tensor | None = None

    def repeat(self, times: int) -> Prefix:
        """Return it with each row ``times`` times in a row, for several noises each."""
        if isinstance(self.cache, dict):
            cache: Any = {
                layer: {n: value.repeat_interleave(times, dim=0) for n, value in entry.items()}
                for layer, entry in self.cache.items()
            }
        else:
            cache = step_cache(self.cache)
            cache.batch_repeat_interleave(times)
        state = None if self.state is None else self.state.repeat_interleave(times, dim=0)
        return Prefix(self.pad_masks.repeat_interleave(times, dim=0), cache, state)

    @property
    def bytes(self) -> int:
        """What its keys and values take [bytes]."""
        if isinstance(self.cache, dict):
            tensors = [t for entry in self.cache.values() for t in entry.values()]
        elif hasattr(self.cache, "layers"):
            tensors = [t for layer in self.cache.layers for t in (layer.keys, layer.values)]
        else:
            tensors = [*self.cache.key_cache, *self.cache.value_cache]
        return sum(t.numel() * t.element_size() for t in tensors)


def step_cache(cache: Any) -> Any:
    """Return a cache that one denoising step may append to, sharing the prefix's tensors.

    A DynamicCache's layers bind new tensors when they are appended to. On the shared one the
    graph of each step, needed for its vector-Jacobian product, would stay in the cache.
    """
    if isinstance(cache, dict):
        return cache
    own = copy.copy(cache)
    if hasattr(cache, "layers"):
        own.layers = [copy.copy(layer) for layer in cache.layers]
    else:
        own.key_cache, own.value_cache = list(cache.key_cache), list(cache.value_cache)
    return own


def most_candidates(prefix_bytes: int, device: torch.device) -> int:
    """Return how many chunks fit half of the device's free memory, with a prefix each."""
    cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if cuda else _available()
    return max(1, int(free // 2 // max(1, _COPIES * prefix_bytes)))


def _available() -> int:
    """Return what the machine can still give [bytes]."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 0
