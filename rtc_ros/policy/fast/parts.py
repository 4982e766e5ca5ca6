"""Where LeRobot's SmolVLA keeps what the fast path computes with, and what it must look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


class UnsupportedModelError(ValueError):
    """The fast path's arithmetic isn't this model's; the message says in what."""


@dataclass(frozen=True)
class Layer:
    """One layer: the VLM's, and the expert's where it has one there.

    ``joint`` says that the expert attends to itself and to the VLM's keys and values as they
    are; otherwise it attends only to those, projected once more.
    """

    vlm: Any
    expert: Any | None
    joint: bool


@dataclass(frozen=True)
class Parts:
    """A policy's modules (LeRobot's and transformers' own) and sizes."""

    model: Any
    vision: Any
    connector: Any
    text: Any
    expert: Any
    layers: tuple[Layer, ...]
    heads: int
    kv_heads: int
    head_dim: int
    horizon: int


def find_parts(policy: Any) -> Parts:
    """Return the parts of a LeRobot SmolVLAPolicy.

    Raises:
        UnsupportedModelError: it isn't laid out, or doesn't compute, as the fast path takes for
            granted.
    """
    try:
        return _find_parts(policy)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"this LeRobot lays the model out differently: {error}"
        ) from error


def _find_parts(policy: Any) -> Parts:
    model, config = policy.model, policy.config
    both = model.vlm_with_expert
    vlm, expert = both.get_vlm_model(), both.lm_expert
    text_config = both.config.text_config
    vlm_layers, expert_layers = both.get_model_layers([vlm.text_model, expert])
    every = both.self_attn_every_n_layers
    layers = tuple(
        Layer(own, other, "cross" not in both.attention_mode or (every > 0 and i % every == 0))
        for i, (own, other) in enumerate(zip(vlm_layers, expert_layers, strict=True))
    )
    _require(config.use_cache, "use_cache is false")
    for layer in layers:
        _check_layer(layer.vlm)
        if layer.expert is not None:
            _check_layer(layer.expert)
            keys, queries = layer.expert.self_attn.k_proj, layer.expert.self_attn.q_proj
            offered = (
                queries.in_features if layer.joint else layer.vlm.self_attn.k_proj.out_features
            )
            _require(keys.in_features == offered, "keys are made of something else")
    kv_heads = int(text_config.num_key_value_heads)
    heads = int(text_config.num_attention_heads)
    head_dim = int(text_config.head_dim)
    _require(heads % kv_heads == 0 and head_dim % 2 == 0, "heads don't divide evenly")
    return Parts(
        model=model,
        vision=vlm.vision_model,
        connector=vlm.connector,
        text=vlm.text_model,
        expert=expert,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        horizon=int(config.chunk_size),
    )


def _check_layer(layer: Any) -> None:
    attention, mlp = layer.self_attn, layer.mlp
    products = (
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    )
    _require(all(type(p) is nn.Linear for p in products), "a projection isn't a plain Linear")
    _require(all(p.bias is None for p in products), "a projection of a transformer has a bias")
    _require(_is_silu(mlp.act_fn), f"the MLP's activation is {type(mlp.act_fn).__name__}")
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        _require(hasattr(norm, "variance_epsilon"), f"a norm is {type(norm).__name__}")


def _is_silu(activation: Any) -> bool:
    return type(activation).__name__ in ("SiLU", "SiLUActivation")


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise UnsupportedModelError(otherwise)
