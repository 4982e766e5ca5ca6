"""What an observation leaves to the expert: the VLM over cameras, language and state.

Only tokens that count go in: padding of language and prefix, and cameras that aren't there,
are hidden from every other token, and positions are counted without them. But a CUDA graph is
for one length of the prefix; where it is to serve every sentence, language is padded after all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast.attention import pairs
from rtc_ros.policy.fast.expert import PrefixLayer
from rtc_ros.policy.fast.linear import linear
from rtc_ros.policy.fast.norm import Norm
from rtc_ros.policy.fast.parts import Parts
from rtc_ros.policy.fast.rotation import paired_rows, turns
from rtc_ros.policy.fast.vision import Vision


@dataclass(frozen=True)
class Gathered:
    """What goes into the VLM: images [1, 3, h, w] each, embedded language [T, width], state."""

    images: list[Tensor]
    blank: int
    """Images that LeRobot adds to them and hides."""
    language: Tensor
    state: Tensor
    padding: int
    """How many rows of ``language``, its last, are blank."""


class PrefixEncoder:
    """Encodes the prefix of a chunk; remembers the language of the last one."""

    def __init__(self, policy: Any, parts: Parts, *, padded: bool) -> None:
        """Take over the VLM of a LeRobot policy; its weights must not change any more.

        ``padded``: let every prefix have the length of that with the longest sentence.
        """
        self._policy, self._parts = policy, parts
        self._longest = int(policy.config.tokenizer_max_length) if padded else 0
        self.vision = Vision(parts)
        heard = [i for i, layer in enumerate(parts.layers) if layer.expert is not None]
        self._layers = [
            VlmLayer(layer.vlm, parts, heard=i in heard, last=i == heard[-1])
            for i, layer in enumerate(parts.layers[: heard[-1] + 1])
        ]
        self._language: tuple[Any, Tensor, int] = (None, torch.zeros(0), 0)
        self._tables: tuple[int, Tensor, Tensor] = (0, torch.zeros(0), torch.zeros(0))
        self._padding = 0

    def gather(self, batch: dict[str, Any]) -> Gathered:
        """Take what is needed of a preprocessed batch of one observation."""
        images, blank, state = SMOLVLA.images_and_state(self._policy, batch)
        language, padding = self._embedded_language(batch)
        if padding != self._padding and self._tables[0]:
            self._fill_tables(*self._tables, padding)
        self._padding = padding
        return Gathered(images, blank, language, state, padding)

    def run(
        self, images: list[Tensor], blank: int, language: Tensor, state: Tensor
    ) -> list[PrefixLayer]:
        """Return keys and values of each layer that the expert has, padding included."""
        x = self.embed(images, blank, language, state)
        turn, hidden = self._constants(len(x))
        kept = []
        for layer in self._layers:
            x, offered = layer(x, turn, hidden)
            if offered is not None:
                kept.append(offered)
        return kept

    def embed(self, images: list[Tensor], blank: int, language: Tensor, state: Tensor) -> Tensor:
        """Return the prefix's tokens [P, width]: cameras, language, state.

        Of ``blank`` images only what stands around them, which LeRobot doesn't hide.
        """
        tokens = []
        for image in self.vision.encode(images):
            tokens += [*self._around(0, image), image, *self._around(1, image)]
        tokens += blank * [*self._around(0, state), *self._around(1, state)]
        return torch.cat([*tokens, language, self._parts.model.state_proj(state).reshape(1, -1)])

    def _around(self, end: int, image: Tensor) -> list[Tensor]:
        """Return the special tokens before (0) or after (1) an image, where the policy has any."""
        model = self._parts.model
        if not model.add_image_special_tokens:
            return []
        ids = model.image_end_token if end else model.global_image_start_token
        return [self._embed(ids.to(image.device))]

    def _embedded_language(self, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """Return the sentence's embedding, looked up when the sentence changes, and padding."""
        sentence = batch.get("task")
        told, embedded, padding = self._language
        if sentence is None or told != sentence:
            tokens, mask = batch[compat.TOKENS], batch[compat.TOKEN_MASK]
            embedded = self._embed(tokens[mask])
            embedded = embedded * embedded.shape[-1] ** 0.5
            padding = max(0, self._longest - len(embedded))
            embedded = torch.nn.functional.pad(embedded, (0, 0, 0, padding))
            self._language = (sentence, embedded, padding)
        return embedded, padding

    def _embed(self, ids: Tensor) -> Tensor:
        return self._parts.text.get_input_embeddings()(ids)

    def _constants(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Return turns [P, 1, d/2] and what is hidden from whom [P · g, P]."""
        if self._tables[0] != tokens:
            parts, device = self._parts, self._parts.model.state_proj.weight.device
            turn = torch.zeros(
                tokens, 1, parts.head_dim // 2, dtype=torch.complex64, device=device
            )
            hidden = torch.zeros(tokens * parts.heads // parts.kv_heads, tokens, device=device)
            self._tables = (tokens, turn, hidden)
            self._fill_tables(*self._tables, self._padding)
        return self._tables[1], self._tables[2]

    def _fill_tables(self, tokens: int, turn: Tensor, hidden: Tensor, padding: int) -> None:
        """Hide the state from all but itself, padding from all; count positions without it."""
        positions = torch.arange(tokens, device=turn.device)
        positions[-1] -= padding
        turn.copy_(turns(positions, self._parts.head_dim)[:, None])
        groups = len(hidden) // tokens
        hidden.zero_()
        hidden[:-groups, -1] = -torch.inf
        hidden[:, tokens - 1 - padding : tokens - 1] = -torch.inf


class VlmLayer:
    """One layer of the VLM's text model."""

    def __init__(self, layer: Any, parts: Parts, *, heard: bool, last: bool) -> None:
        """Take over a transformers Llama layer.

        ``heard``: the expert wants its keys and values. ``last``: nobody wants its output.
        """
        attention, mlp = layer.self_attn, layer.mlp
        self._parts, self._heard, self._last = parts, heard, last
        self._norm1 = Norm(layer.input_layernorm)
        q = [] if last else [paired_rows(attention.q_proj.weight, parts.head_dim)]
        k = paired_rows(attention.k_proj.weight, parts.head_dim)
        self._qkv = linear(self._norm1.folded(*q, k, attention.v_proj.weight))
        if last:
            return
        self._norm2 = Norm(layer.post_attention_layernorm)
        self._hidden = mlp.gate_proj.weight.shape[0]
        self._out = linear(attention.o_proj.weight)
        self._gate_up = linear(self._norm2.folded(mlp.gate_proj.weight, mlp.up_proj.weight))
        self._down = linear(mlp.down_proj.weight)

    def __call__(
        self, x: Tensor, turn: Tensor, hidden: Tensor
    ) -> tuple[Tensor, PrefixLayer | None]:
        """Return the layer's output (the last one's input) for x [P, D], and what is heard."""
        parts, rows = self._parts, len(x)
        qkv = self._qkv(self._norm1(x)).float().view(rows, -1, parts.head_dim)
        turned = torch.view_as_real(pairs(qkv[:, : -parts.kv_heads]) * turn).flatten(-2)
        q, k = turned.split([turned.shape[1] - parts.kv_heads, parts.kv_heads], dim=1)
        v = qkv[:, -parts.kv_heads :]
        offered = PrefixLayer(k.reshape(rows, -1), v.reshape(rows, -1)) if self._heard else None
        if self._last:
            return x, offered
        # [K, rows · g, d]: the queries of a key/value head are rows of one attention.
        q = q.unflatten(1, (parts.kv_heads, -1)).transpose(0, 1).flatten(1, 2)
        seen = torch.nn.functional.scaled_dot_product_attention(
            q[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], attn_mask=hidden
        )[0]
        seen = seen.unflatten(1, (rows, -1)).transpose(0, 1).flatten(1)
        x = self._out.plus(seen, x)
        gate, up = self._gate_up(self._norm2(x)).split(self._hidden, dim=1)
        return self._down.plus(torch.nn.functional.silu(gate) * up, x), offered
