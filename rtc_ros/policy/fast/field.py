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


class FastField:
    """A ``VelocityField``: conditioned on a batch of one observation, once per chunk.

    On a CUDA device prefix and sampling become one graph each when ``warm_up`` has been called:
    delay and stride are in the mask, the sentence's length in masks and positions, so they serve
    all chunks. Another number of steps or another ``jacobian`` takes another graph.
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
        shapes = tuple(image.shape for image in got.images)
        self.run(("prefix", shapes), self._prefill, got.language, got.state, *got.images)
        self.expert.count_tokens(self.expert.prefix_tokens - got.padding)

    def _prefill(self, language: Tensor, state: Tensor, *images: Tensor) -> Tensor:
        self.expert.condition(self.prefix.run(list(images), language, state))
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


class FastVelocity:
    """The velocity function of one chunk, which integrates itself (``guidance.Integrator``)."""

    def __init__(self, field: FastField) -> None:
        """Use the expert of a field that was conditioned on the chunk's prefix."""
        self._field, self._expert = field, field.expert

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
        guided = self._guided_rows(target, gains)
        times = self._expert.times(len(gains))
        steps = partial(_euler, self._expert, times, jacobian == "vjp")
        key = (len(gains), jacobian if guided else None)
        return self._field.run(key, steps, _single(actions), *guided)[None]

    def _guided_rows(
        self, target: tuple[Tensor, Tensor] | None, gains: Sequence[float]
    ) -> tuple[Tensor, ...]:
        """Return A_prev and W of the rows up to the last that has a weight, and the gains.

        On a CUDA device of all rows: one graph is to serve every stride, and nothing waits.
        """
        if target is None or not any(gains):
            return ()
        prev, weights = target
        rows = len(weights)
        if not self._expert.on_cuda:
            rows = int(weights.any(dim=1).nonzero().max()) + 1
        return prev[0, :rows], weights[:rows], torch.tensor(gains, device=prev.device)


def _euler(
    expert: Expert, times: list[Tensor], way_back: bool, actions: Tensor, *guided: Tensor
) -> Tensor:
    """Return the actions after an Euler step for each time; ``guided``: A_prev, W, gains."""
    a, num_steps = actions, len(times)
    for step, time in enumerate(times):
        v = expert.velocity(a, time)
        if guided:
            prev, weights, gains = guided
            remaining, rows = 1.0 - step / num_steps, len(prev)
            error = weights * (prev - torch.add(a[:rows], v[:rows], alpha=remaining))
            product = error
            if way_back:
                product = torch.add(error, expert.pull_back(error), alpha=remaining)
            v[:rows].addcmul_(product, gains[step])
        a = torch.add(a, v, alpha=1.0 / num_steps)
    return a


def _single(actions: Tensor) -> Tensor:
    if len(actions) != 1:
        raise ValueError(
            f"the fast path makes one chunk at a time, not {len(actions)}: use fast: false"
        )
    return actions[0].float()
