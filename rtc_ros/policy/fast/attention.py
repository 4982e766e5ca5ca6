"""Attention of the expert's rows to prefix and rows, forward and, by hand, backward.

R rows of actions, K key/value heads of d numbers, g query heads to each, L keys: P of the prefix
and, where a layer is joint, the R rows' own behind them, row i seeing those up to i. Query heads
that share a key/value head are g times as many rows of one query: row i·g + j is head j of row i.

All tensors stay in their places from step to step and their views are made once: a step costs
the operations that compute, and a CUDA graph can be captured over it. Scores and probabilities
are float32, as LeRobot's, whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rtc_ros.policy.fast.rotation import turns


@dataclass(frozen=True)
class Sizes:
    """R, K, g, d, and whether prefixes may hold padding."""

    rows: int
    kv_heads: int
    groups: int
    head_dim: int
    padded: bool = False

    @property
    def queries(self) -> int:
        """Return the width of a row's queries."""
        return self.kv_heads * self.groups * self.head_dim

    @property
    def keys(self) -> int:
        """Return the width of a row's keys, and of its values."""
        return self.kv_heads * self.head_dim


@dataclass
class Scratch:
    """Room that layers use one after the other: the same for the same name and shape."""

    device: torch.device
    _rooms: dict[tuple, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return room of a shape; its content lasts until the next layer."""
        key = (name, shape, dtype)
        if key not in self._rooms:
            self._rooms[key] = torch.zeros(shape, dtype=dtype, device=self.device)
        return self._rooms[key]


class Attention:
    """One layer's attention for prefixes of P tokens."""

    def __init__(
        self, sizes: Sizes, prefix: int, joint: bool, dtype: torch.dtype, scratch: Scratch
    ) -> None:
        """Make room; ``output`` [R, K·g·d] is of ``dtype``, that of the weights.

        ``count_tokens`` and ``set_prefix`` are to follow.
        """
        self.sizes, self.prefix, self.joint = sizes, prefix, joint
        r, heads, g, d = sizes.rows, sizes.kv_heads, sizes.groups, sizes.head_dim
        device = scratch.device

        def room(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        length = prefix + (r if joint else 0)
        self.q, self.k, self.v = (
            room(heads, r * g, d),
            room(heads, length, d),
            room(heads, length, d),
        )
        self.p, self._scores = room(heads, r * g, length), scratch("p", heads, r * g, length)
        self._out = scratch("out", heads, r * g, d)
        self.output = scratch("output", r, sizes.queries, dtype=dtype)
        pairs_of = torch.zeros(r, 1, 1, d // 2, dtype=torch.complex64, device=device)
        self.turn_q, self.back_q = pairs_of, pairs_of.clone()
        self.turn_k, self.back_k = pairs_of[:, 0].clone(), pairs_of[:, 0].clone()
        self._q_pairs = pairs(self.q.view(heads, r, g, d)).transpose(0, 1)
        self._k_transposed = self.k.transpose(1, 2)
        self._out_rows = self._out.view(heads, r, g, d).transpose(0, 1)
        self._output_heads = self.output.view(r, heads, g, d)
        width = (sizes.queries + (2 * sizes.keys if joint else 0)) // 2
        self._q_layout = ((r, heads, g, d // 2), (width, g * d // 2, d // 2, 1), 0)
        self._hidden = room(r * g, length)
        # Where some keys are hidden from some rows: the scores, and −inf to add to them.
        self._partly_hidden: tuple[Tensor, Tensor] | None = None
        if sizes.padded:
            self._partly_hidden = (self._scores, self._hidden)
        elif joint:
            self._partly_hidden = (self._scores[:, :, prefix:], self._hidden[:, prefix:])
        if joint:
            later = torch.ones(r, r, dtype=torch.bool, device=device).triu(1)
            own = room(r, r).masked_fill(later, -torch.inf)
            self._hidden[:, prefix:] = own.repeat_interleave(g, dim=0)
            self._own_k_pairs = pairs(self.k[:, prefix:]).transpose(0, 1)
            self._own_v = self.v[:, prefix:].transpose(0, 1)
            self._k_layout = ((r, heads, d // 2), (width, d // 2, 1), sizes.queries // 2)
            self._v_layout = ((r, heads, d), (2 * width, d, 1), sizes.queries + sizes.keys)

    def count_tokens(self, tokens: int) -> None:
        """Say that ``tokens`` of the prefix count: its last one, and the first but one.

        What lies between is padding, for which there must be room (``Sizes.padded``).
        """
        if tokens != self.prefix and not self.sizes.padded:
            raise ValueError(f"{tokens} of {self.prefix} tokens count, but none may be padding")
        r, d = self.sizes.rows, self.sizes.head_dim
        # Cross-attention counts rows from 0, attention to all from the prefix's end.
        first = tokens if self.joint else 0
        positions = torch.arange(first, first + r, device=self.turn_k.device)
        turn = turns(positions, d)[:, None]
        scaled = (turn * d**-0.5)[:, :, None]
        for table, value in (
            *((self.turn_k, turn), (self.back_k, turn.conj())),
            *((self.turn_q, scaled), (self.back_q, scaled.conj())),
        ):
            table.copy_(value)
        self._hidden[:, : self.prefix] = 0.0
        self._hidden[:, tokens - 1 : self.prefix - 1] = -torch.inf

    def set_prefix(self, keys: Tensor, values: Tensor) -> None:
        """Take the prefix's keys and values [P, K·d], turned where the model turns them."""
        for to, rows in ((self.k, keys), (self.v, values)):
            heads = rows.view(self.prefix, self.sizes.kv_heads, self.sizes.head_dim)
            to[:, : self.prefix] = heads.transpose(0, 1)

    def attend(self, qkv: Tensor) -> Tensor:
        """Return ``output`` for what the rows ask and, where joint, offer [R, K·g·d (+ 2·K·d)]."""
        qkv = qkv.float()
        two = qkv.view(torch.complex64)
        torch.mul(two.as_strided(*self._q_layout), self.turn_q, out=self._q_pairs)
        if self.joint:
            torch.mul(two.as_strided(*self._k_layout), self.turn_k, out=self._own_k_pairs)
            self._own_v.copy_(qkv.as_strided(*self._v_layout))
        torch.bmm(self.q, self._k_transposed, out=self._scores)
        if self._partly_hidden is not None:
            scores, hidden = self._partly_hidden
            scores.add_(hidden)
        torch.softmax(self._scores, dim=-1, out=self.p)
        torch.bmm(self.p, self.v, out=self._out)
        self._output_heads.copy_(self._out_rows)
        return self.output


class AttentionBack:
    """The way back through an ``Attention``, for the first G rows.

    The expert is causal over its rows: where the gradient at the output is 0 from row G on, so
    it is everywhere, and what those rows did needs no way back.
    """

    def __init__(self, forward: Attention, rows: int, room: Scratch) -> None:
        """Make room for G = ``rows``."""
        sizes, prefix, joint = forward.sizes, forward.prefix, forward.joint
        heads, g, d = sizes.kv_heads, sizes.groups, sizes.head_dim
        self._joint = joint
        self._p, self._k = forward.p[:, : rows * g], forward.k
        self._v_transposed = forward.v.transpose(1, 2)
        self._d_out, self._dq = (room(name, heads, rows * g, d) for name in ("d_out", "dq"))
        self._dp, self._ds = (room(name, *self._p.shape) for name in ("dp", "ds"))
        self.d_qkv = room("d_qkv", rows, sizes.queries + (2 * sizes.keys if joint else 0))
        self._heads = (rows, heads, g, d)
        self._d_out_rows = self._d_out.view(heads, rows, g, d).transpose(0, 1)
        self._dq_pairs = pairs(self._dq.view(heads, rows, g, d)).transpose(0, 1)
        self._back_q, self._back_k = forward.back_q[:rows], forward.back_k[:rows]
        d_q, d_k, d_v = self.d_qkv.split(
            [sizes.queries, *([sizes.keys] * 2 if joint else [0, 0])], dim=1
        )
        self._to_q = pairs(d_q.view(rows, heads, g, d))
        if joint:
            own = slice(prefix, prefix + rows)
            self._q = forward.q[:, : rows * g]
            self._own_ds_transposed = self._ds[:, :, own].transpose(1, 2)
            self._own_p_transposed = self._p[:, :, own].transpose(1, 2)
            self._dk, self._dv = (room(name, heads, rows, d) for name in ("dk", "dv"))
            self._dk_pairs, self._dv_rows = (
                pairs(self._dk).transpose(0, 1),
                self._dv.transpose(0, 1),
            )
            self._to_k = pairs(d_k.view(rows, heads, d))
            self._to_v = d_v.view(rows, heads, d)

    def pull_back(self, d_output: Tensor) -> Tensor:
        """Return the gradient at ``attend``'s argument, [G, …], for that at its output [G, …]."""
        self._d_out_rows.copy_(d_output.view(self._heads))
        torch.bmm(self._d_out, self._v_transposed, out=self._dp)
        torch.ops.aten._softmax_backward_data.out(
            self._dp, self._p, -1, torch.float32, grad_input=self._ds
        )
        torch.bmm(self._ds, self._k, out=self._dq)
        # f(z) = c z turns and scales; its transpose on gradients is the product with conj(c).
        torch.mul(self._dq_pairs, self._back_q, out=self._to_q)
        if self._joint:
            # The scale is in q already, so in this product too.
            torch.bmm(self._own_ds_transposed, self._q, out=self._dk)
            torch.mul(self._dk_pairs, self._back_k, out=self._to_k)
            torch.bmm(self._own_p_transposed, self._d_out, out=self._dv)
            self._to_v.copy_(self._dv_rows)
        return self.d_qkv


def pairs(x: Tensor) -> Tensor:
    """Return complex64[…, d / 2], a view of float32[…, d]: x[0] + i x[1], x[2] + i x[3], …."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
