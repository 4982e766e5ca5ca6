"""One layer of SmolVLA's action expert, forward and, by hand, backward.

R rows of actions, D their width, F that of the MLP; G ≤ R rows are those a gradient is for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.fast.attention import Attention, AttentionBack, Scratch, Sizes
from rtc_ros.policy.fast.elementwise import elementwise
from rtc_ros.policy.fast.linear import Linear, linear
from rtc_ros.policy.fast.norm import Norm
from rtc_ros.policy.fast.rotation import paired_rows


class ExpertLayer:
    """The weights of one layer: norms folded, heads reordered, packed for both directions."""

    def __init__(self, layer: Any, sizes: Sizes, joint: bool) -> None:
        """Take over a transformers Llama layer.

        ``joint`` says that the rows attend to themselves too and not to the prefix only.
        """
        self.sizes, self.joint = sizes, joint
        attention, mlp = layer.self_attn, layer.mlp
        self.norm1, self.norm2 = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)
        inputs = [paired_rows(attention.q_proj.weight, sizes.head_dim)]
        if joint:
            inputs.append(paired_rows(attention.k_proj.weight, sizes.head_dim))
            inputs.append(attention.v_proj.weight)
        self.like = attention.q_proj.weight
        self.ops = elementwise(self.like.device, self.like.dtype)
        self.width, self.hidden = self.like.shape[1], mlp.gate_proj.weight.shape[0]
        qkv = self.norm1.folded(*inputs)
        gate_up = self.norm2.folded(mlp.gate_proj.weight, mlp.up_proj.weight)
        self.qkv, self.qkv_back = linear(qkv), linear(qkv.T)
        self.out, self.out_back = _both_ways(attention.o_proj.weight)
        self.gate_up, self.gate_up_back = linear(gate_up), linear(gate_up.T)
        self.down, self.down_back = _both_ways(mlp.down_proj.weight)

    def products_back(self) -> tuple[Linear, ...]:
        """Return the products of the way back."""
        return self.qkv_back, self.out_back, self.gate_up_back, self.down_back


def _both_ways(weight: Tensor) -> tuple[Linear, Linear]:
    return linear(weight), linear(weight.T)


class LayerPass:
    """One layer's forward pass for prefixes of P tokens, with what its way back needs."""

    def __init__(self, layer: ExpertLayer, prefix: int, scratch: Scratch) -> None:
        """Make room for the R rows and the P tokens."""
        self.layer = layer
        self.attention = Attention(layer.sizes, prefix, layer.joint, layer.like.dtype, scratch)
        rows = layer.sizes.rows

        def room(columns: int) -> Tensor:
            return torch.zeros(rows, columns, device=layer.like.device)

        self.y1, self.y2 = room(layer.width), room(layer.width)
        self.rho1, self.rho2 = room(1), room(1)
        self.silu = room(layer.hidden).to(layer.like.dtype)
        self.values = room(2 * layer.hidden)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output for x [R, D]."""
        layer, ops, dtype = self.layer, self.layer.ops, self.layer.like.dtype
        y = ops.norm(x, layer.norm1.floor, self.y1, self.rho1, dtype)
        x = layer.out.plus(self.attention.attend(layer.qkv(y)), x)
        self.values = layer.gate_up(ops.norm(x, layer.norm2.floor, self.y2, self.rho2, dtype))
        return layer.down.plus(ops.gate(self.values, self.silu), x)


class LayerBack:
    """The way back through a ``LayerPass``, for the first G rows."""

    def __init__(self, forward: LayerPass, rows: int, scratch: Scratch) -> None:
        """Make room for G = ``rows``; the views follow what the forward pass writes."""
        self._forward, self._layer, self._rows = forward, forward.layer, rows
        self._attention = AttentionBack(forward.attention, rows, scratch)
        self._y1, self._rho1 = forward.y1[:rows], forward.rho1[:rows]
        self._y2, self._rho2 = forward.y2[:rows], forward.rho2[:rows]
        self._silu, hidden = forward.silu[:rows], forward.layer.hidden
        self._d_gate_up = scratch("d_gate_up", rows, 2 * hidden, dtype=self._silu.dtype)

    def __call__(self, dx: Tensor) -> Tensor:
        """Return the gradient at the input [G, D] for ``dx``, that at the output."""
        layer, ops = self._layer, self._layer.ops
        values = self._forward.values[: self._rows]
        d_values = ops.gate_back(layer.down_back(dx), values, self._silu, self._d_gate_up)
        dx = ops.norm_back(layer.gate_up_back(d_values), self._y2, self._rho2, dx)
        d_qkv = self._attention.pull_back(layer.out_back(dx))
        return ops.norm_back(layer.qkv_back(d_qkv), self._y1, self._rho1, dx)
