"""SmolVLA's velocity field by the fast path: the same numbers as LeRobot's code, sooner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.fast.expert import Expert
from rtc_ros.policy.fast.graph import TensorFunction, captured
from rtc_ros.policy.fast.parts import find_parts
from rtc_ros.policy.fast.prefix import PrefixEncoder
from rtc_ros.policy.guidance import Field, Tau


class FastField:
    """A ``VelocityField``: conditioned on a batch of one observation, once per chunk.

    On a CUDA device prefix and sampling become one graph each when ``warm_up`` has been called:
    delay and stride are in the mask, the sentence's length in masks and positions, so they serve
    all chunks. Another number of steps, or another way to sample, takes another graph.
    """

    def __init__(self, policy: Any, *, padded: bool | None = None) -> None:
        """Fold and pack the weights of a LeRobot SmolVLAPolicy, which must not change any more.

        Args:
            policy: the policy.
            padded: pad language to the longest sentence; None: on a CUDA device.

        Raises:
            UnsupportedModelError: the model isn't one that the fast path computes.
        """
        parts = find_parts(policy)
        if padded is None:
            padded = next(policy.parameters()).is_cuda
        with torch.no_grad():
            self.prefix = PrefixEncoder(policy, parts, padded=padded)
            self.expert = Expert(policy, parts, padded=padded)
        self._graphs: dict[Any, TensorFunction] | None = None

    def __call__(self, batch: dict[str, Any]) -> FastVelocity:
        """Encode the prefix; the velocity function is valid until the next call."""
        self.encode(batch)
        return FastVelocity(self)

    @torch.no_grad()
    def encode(self, batch: dict[str, Any]) -> None:
        """Condition the expert on a preprocessed batch of one observation."""
        got = self.prefix.gather(batch)
        key = ("prefix", got.blank, *(image.shape for image in got.images))
        fill = partial(self._prefill, got.blank)
        self.run(key, fill, got.language, got.state, *got.images)
        self.expert.count_tokens(self.expert.prefix_tokens - got.padding)

    def _prefill(self, blank: int, language: Tensor, state: Tensor, *images: Tensor) -> Tensor:
        self.expert.condition(self.prefix.run(list(images), blank, language, state))
        return state

    def run(self, key: Any, function: TensorFunction, *inputs: Tensor) -> Tensor:
        """Return ``function(*inputs)``, by the graph named ``key`` where there are graphs.

        Graphs read and write where the expert's tensors were when they were captured: where a
        prefix of another length (cameras were left out) moves those, no older graph is used.
        """
        if self._graphs is None:
            return function(*inputs)
        if key not in self._graphs:
            moved = self.expert.moved
            graph = captured(function, inputs)
            if self.expert.moved != moved:
                self._graphs.clear()
            self._graphs[key] = graph
        return self._graphs[key](*inputs)

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Launch operations one by one within the block, for a comparison."""
        graphs, moved, self._graphs = self._graphs, self.expert.moved, None
        try:
            yield
        finally:
            self._graphs = {} if graphs and self.expert.moved != moved else graphs

    @torch.no_grad()
    def warm_up(self) -> None:
        """Get ready for any number of guided rows; to be called after a first chunk."""
        if self.expert.on_cuda:
            self._graphs = {}
        else:
            self.expert.warm_up()


class FastVelocity(Field):
    """The velocity function of one chunk, which knows its own Jacobian (``guidance.Field``)."""

    def __init__(self, field: FastField) -> None:
        """Use the expert of a field that was conditioned on the chunk's prefix."""
        self._field, self._expert = field, field.expert

    @torch.no_grad()
    def __call__(self, actions: Tensor, tau: Tau) -> Tensor:
        """Return the velocity [1, H, max_action_dim]; no gradient flows through it."""
        times = self._expert.biases(torch.as_tensor(tau, dtype=torch.float64).reshape(-1))
        return self.at(actions, times if isinstance(tau, Tensor) and tau.ndim else times[0])

    def times(self, num_steps: int, clean: Tensor | None = None) -> Sequence[Tensor]:
        """Return what each step's time adds, [D], or [H, D] where ``clean`` are rows at τ = 1."""
        times = self._expert.times(num_steps)
        if clean is None:
            return times.unbind()
        return torch.where(clean, self._expert.done, times[:, None]).unbind()

    def at(self, actions: Tensor, time: Tensor, back: bool = False) -> Tensor:
        """See ``Field``; the product can be asked for whatever ``back`` is."""
        return self._expert.velocity(_single(actions), time)[None]

    def pull_back(self, error: Tensor) -> Tensor:
        """See ``Field``; of the rows that ``error`` has, which are the first ones."""
        return self._expert.pull_back(error[0])[None]

    def reached(self, prev: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows up to the last with a weight: later ones get no gradient.

        On a CUDA device all rows: one graph is to serve every stride, and nothing waits.
        """
        if self._expert.on_cuda:
            return prev, weights
        rows = int(weights.any(dim=1).nonzero().max()) + 1
        return prev[:, :rows], weights[:rows]

    def run(self, key: Any, function: TensorFunction, *inputs: Tensor) -> Tensor:
        """Run by a CUDA graph where there are graphs."""
        return self._field.run(key, function, *inputs)


def _single(actions: Tensor) -> Tensor:
    if len(actions) != 1:
        raise ValueError(
            f"the fast path makes one chunk at a time, not {len(actions)}: use fast: false"
        )
    return actions[0].float()
