"""SmolVLA's action expert: the velocity of a chunk and its vector-Jacobian product.

What doesn't change from step to step is computed once: for a policy the folded and packed
weights, for a number of steps the times' contributions, for a prefix its keys and values as the
expert's layers see them, positions, turns and masks. Batch size 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast.attention import Scratch, Sizes
from rtc_ros.policy.fast.elementwise import elementwise
from rtc_ros.policy.fast.expert_layer import ExpertLayer, LayerBack, LayerPass
from rtc_ros.policy.fast.linear import Linear, linear
from rtc_ros.policy.fast.norm import Norm
from rtc_ros.policy.fast.parts import Parts
from rtc_ros.policy.fast.rotation import paired_columns, paired_rows


@dataclass(frozen=True)
class PrefixLayer:
    """What a layer of the VLM leaves to the expert: keys (turned, in pairs), values [P, K·d]."""

    keys: Tensor
    values: Tensor


class Expert:
    """The expert's weights, and its passes for the prefix length in use."""

    def __init__(self, policy: Any, parts: Parts, *, padded: bool) -> None:
        """Take over the expert of a LeRobot policy; its weights must not change any more.

        ``padded``: prefixes may hold padding.
        """
        model = parts.model
        self._policy = policy
        groups = parts.heads // parts.kv_heads
        sizes = Sizes(parts.horizon, parts.kv_heads, groups, parts.head_dim, padded)
        self._layers = [
            ExpertLayer(layer.expert, sizes, layer.joint)
            for layer in parts.layers
            if layer.expert is not None
        ]
        self._projections = [
            None if layer.joint else _prefix_projections(layer.expert, parts.head_dim)
            for layer in parts.layers
            if layer.expert is not None
        ]
        self.horizon = parts.horizon
        # mlp_in(cat(action_in(A), time)) = A (W_a W_in)ᵀ + (W_a b_in + W_t time + b)
        width = model.action_in_proj.out_features
        mixed = model.action_time_mlp_in.weight.detach().double()
        self._actions_half, self._time_half = mixed[:, :width], mixed[:, width:]
        embed = (self._actions_half @ model.action_in_proj.weight.double()).float()
        self._constant = (
            self._actions_half @ model.action_in_proj.bias.double()
            + model.action_time_mlp_in.bias.double()
        )
        self._embed_weight, self._embed_back = embed.T.contiguous(), linear(embed.T)
        mlp_out = model.action_time_mlp_out
        self._mlp_out = linear(mlp_out.weight, mlp_out.bias)
        self._mlp_out_back = linear(mlp_out.weight.T)
        self._norm = Norm(parts.expert.norm)
        # LeRobot's velocity points to the noise, ours to the actions.
        out = -self._norm.folded(model.action_out_proj.weight)
        self._out, self._out_back = linear(out, -model.action_out_proj.bias), linear(out.T)
        self._times: dict[int, Tensor] = {}
        self._passes: list[LayerPass] = []
        self._backs: dict[int, list[LayerBack]] = {}
        self._tokens = 0
        self.prefix_tokens = 0
        self.moved = 0
        """How often the tensors that a pass works on were made anew, elsewhere."""
        device = model.action_out_proj.weight.device
        self.ops = elementwise(device, torch.float32)  # as its own projections are
        self._y = torch.zeros(parts.horizon, width, device=device)
        self._rho = torch.zeros(parts.horizon, 1, device=device)
        self._zero = torch.zeros((), device=device)
        self._embedded = torch.zeros(0)
        self._scratch = Scratch(device)

    @property
    def on_cuda(self) -> bool:
        """Say where the expert is."""
        return self._y.is_cuda

    def condition(self, prefix: list[PrefixLayer]) -> None:
        """Take the prefix of a new chunk: one entry for each layer of the expert.

        ``count_tokens`` is to follow.
        """
        tokens = len(prefix[0].keys)
        if tokens != self.prefix_tokens:
            self._scratch = Scratch(self._y.device)
            self._passes = [LayerPass(layer, tokens, self._scratch) for layer in self._layers]
            self._backs, self.prefix_tokens, self._tokens = {}, tokens, 0
            self.moved += 1
        for layer, each, project in zip(self._passes, prefix, self._projections, strict=True):
            if project is None:
                layer.attention.set_prefix(each.keys, each.values)
            else:
                to_keys, to_values = project
                layer.attention.set_prefix(to_keys(each.keys), to_values(each.values))

    def count_tokens(self, tokens: int) -> None:
        """Say how many tokens of the prefix count; see ``Attention.count_tokens``."""
        if tokens != self._tokens:
            for layer in self._passes:
                layer.attention.count_tokens(tokens)
            self._tokens = tokens

    @cached_property
    def done(self) -> Tensor:
        """The ``biases`` of τ = 1, [D]: of rows that are given."""
        return self.biases(torch.ones(1, dtype=torch.float64))[0]

    def times(self, num_steps: int) -> Tensor:
        """Return the ``biases`` of τ = 0, 1/n, …, (n − 1)/n."""
        if num_steps not in self._times:
            taus = torch.arange(num_steps, dtype=torch.float64) / num_steps
            self._times = {num_steps: self.biases(taus)}
        return self._times[num_steps]

    @torch.no_grad()
    def biases(self, taus: Tensor) -> Tensor:
        """Return what each τ of float64[n] adds to a row ahead of the MLP's SiLU, [n, D]."""
        embedding = SMOLVLA.time_embedding(self._policy, (1.0 - taus).float()).double()
        return (embedding @ self._time_half.T + self._constant).float()

    def velocity(self, actions: Tensor, time: Tensor) -> Tensor:
        """Return v at ``actions``, both [R, max_action_dim].

        ``time`` is one of ``biases``, [D], or one for each row, [R, D].
        """
        self._embedded = torch.addmm(time, actions, self._embed_weight)
        x = self._mlp_out(torch.nn.functional.silu(self._embedded))
        for each in self._passes:
            x = each(x)
        y = self.ops.norm(x, self._norm.floor, self._y, self._rho, self._y.dtype)
        return self._out(y)

    def pull_back(self, dv: Tensor) -> Tensor:
        """Return Jᵀ dv at the point of the last ``velocity``, J = ∂v/∂actions.

        ``dv`` [G, max_action_dim] is the first G rows of a cotangent that is 0 in all others.
        So is what is returned.
        """
        rows = len(dv)
        if rows not in self._backs:
            self._backs[rows] = [
                LayerBack(each, rows, self._scratch) for each in reversed(self._passes)
            ]
        d_y, y, rho = self._out_back(dv), self._y[:rows], self._rho[:rows]
        dx = self.ops.norm_back(d_y, y, rho, self._zero)
        for back in self._backs[rows]:
            dx = back(dx)
        dh = self._mlp_out_back(dx)
        return self._embed_back(torch.ops.aten.silu_backward(dh, self._embedded[:rows]))

    def warm_up(self) -> None:
        """Run each shape of product of the way back once: oneDNN compiles one for each shape."""
        products = {p.shape: p for layer in self._layers for p in layer.products_back()}
        others = (self._mlp_out_back, self._out_back, self._embed_back)
        for rows in range(1, self.horizon + 1):
            for product in (*products.values(), *others):
                product(torch.zeros(rows, product.shape[1], device=self._y.device))


def _prefix_projections(layer: Any, head_dim: int) -> tuple[Linear, Linear]:
    """Return a layer's key and value projections of what the VLM's layer offers."""
    attention = layer.self_attn
    keys = paired_rows(paired_columns(attention.k_proj.weight, head_dim), head_dim)
    return linear(keys), linear(attention.v_proj.weight)
