"""What LeRobot 0.4's pi0 and pi05 need of a patched transformers, put onto the installed 4.57.

LeRobot 0.4 builds them only where transformers' Gemma was replaced by openpi's: adaptive norms
that also give a gate, embeddings that aren't scaled, a cache that a denoising step reads and
doesn't append to. No registry has that transformers; here is the same on the modules of the one
that is there, so that LeRobot's own classes run in the tests on Python 3.11, too.
"""

from __future__ import annotations

import sys
import types
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.gemma import modeling_gemma as gemma
from transformers.models.paligemma import modeling_paligemma as paligemma


class Norm(nn.Module):
    """RMSNorm whose scale, shift and gate come from a condition, where the config has one."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        if getattr(config, "use_adarms", False):
            self.dense = nn.Linear(config.adarms_cond_dim, 3 * config.hidden_size)
            nn.init.zeros_(self.dense.weight)
        else:
            self.weight = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, x: torch.Tensor, cond: torch.Tensor | None = None) -> tuple[Any, Any]:
        normed = x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        if not hasattr(self, "dense"):
            return (normed * (1.0 + self.weight.float())).to(x.dtype), None
        modulation = self.dense(cond)
        if x.ndim == 3:
            modulation = modulation.unsqueeze(1)
        scale, shift, gate = modulation.chunk(3, dim=-1)
        return (normed * (1.0 + scale.float()) + shift.float()).to(x.dtype), gate.to(x.dtype)


def gated(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
    return x + (y if gate is None else y * gate)


class Layer(gemma.GemmaDecoderLayer):
    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.input_layernorm, self.post_attention_layernorm = Norm(config), Norm(config)

    def forward(self, x: Any, mask: Any, turn: Any, cache: Any, append: bool, cond: Any) -> Any:
        own = self.self_attn
        normed, gate = self.input_layernorm(x, cond)
        q, k, v = (
            each(normed).unflatten(-1, (-1, own.head_dim)).transpose(1, 2)
            for each in (own.q_proj, own.k_proj, own.v_proj)
        )
        q, k = gemma.apply_rotary_pos_emb(q, k, *turn)
        if append:
            k, v = cache.update(k, v, own.layer_idx)
        elif cache is not None:
            kept = cache.layers[own.layer_idx]
            k, v = torch.cat([kept.keys, k], dim=2), torch.cat([kept.values, v], dim=2)
        attended, _ = gemma.eager_attention_forward(own, q, k, v, mask, own.scaling)
        x = gated(x, own.o_proj(attended.flatten(2)), gate)
        normed, gate = self.post_attention_layernorm(x, cond)
        return gated(x, self.mlp(normed), gate)


class Model(gemma.GemmaModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        count = range(config.num_hidden_layers)
        self.layers, self.norm = nn.ModuleList(Layer(config, i) for i in count), Norm(config)

    def forward(
        self,
        inputs_embeds: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        adarms_cond: Any = None,
    ) -> BaseModelOutputWithPast:
        x = inputs_embeds.to(self.layers[0].self_attn.q_proj.weight.dtype)
        turn = self.rotary_emb(x, position_ids)
        cache = DynamicCache() if use_cache else past_key_values
        for layer in self.layers:
            x = layer(x, attention_mask, turn, cache, use_cache, adarms_cond)
        return BaseModelOutputWithPast(self.norm(x, adarms_cond)[0], cache if use_cache else None)


class CausalLM(gemma.GemmaForCausalLM):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Model(config)


class PaliGemma(paligemma.PaliGemmaForConditionalGeneration):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.language_model = Model(config.text_config)
        self.model.get_image_features = self._unscaled

    def _unscaled(self, pixels: torch.Tensor) -> torch.Tensor:
        tower = self.model.vision_tower
        inner = tower.vision_model.encoder.layers[0].self_attn.q_proj.weight.dtype
        with ExitStack() as late:
            if inner != pixels.dtype:  # patches are embedded in float32
                to = tower.vision_model.encoder
                late.callback(to.register_forward_pre_hook(_cast(inner), with_kwargs=True).remove)
            features = tower(pixels).last_hidden_state
        return self.model.multi_modal_projector(features)


def _cast(dtype: torch.dtype) -> Any:
    def cast(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "inputs_embeds": kwargs["inputs_embeds"].to(dtype)}

    return cast


@contextmanager
def patched(modeling: Any) -> Any:
    """Let a ``modeling_pi0`` or ``modeling_pi05`` of LeRobot 0.4 build its policies."""
    check = types.ModuleType("transformers.models.siglip.check")
    check.check_whether_transformers_replace_is_installed_correctly = lambda: True
    with (
        mock.patch.dict(sys.modules, {check.__name__: check}),
        mock.patch.object(modeling, "PaliGemmaForConditionalGeneration", PaliGemma),
        mock.patch.object(modeling, "GemmaForCausalLM", CausalLM),
    ):
        gemma._gated_residual = gated  # asked for when it is trained, too
        yield
