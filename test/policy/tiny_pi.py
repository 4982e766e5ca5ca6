"""Tiny π0 and π0.5 of LeRobot's own classes: the sizes in its code, made small."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from tiny_checkpoint import make_stats

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.families import FAMILIES
from rtc_ros.policy.tiny import _byte_tokenizer

KINDS = ("pi0", "pi05")
CAMERAS = {"observation.images.top": (48, 64), "observation.images.side": (64, 64)}
_VOCABULARY = 320
_GEMMA = {
    name: SimpleNamespace(
        width=width, depth=2, mlp_dim=2 * width, num_heads=8, num_kv_heads=1, head_dim=8
    )
    for name, width in (("gemma_2b", 32), ("gemma_300m", 24))
}


@contextmanager
def small(kind: str, vocabulary: int = _VOCABULARY) -> Iterator[None]:
    """Let LeRobot build tiny policies of a kind."""
    modeling = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    own = hasattr(modeling, "PiGemmaForCausalLM")  # LeRobot's own Gemma, from 0.5 on
    vlm = "PaliGemmaForConditionalGeneration" + ("WithPiGemma" if own else "")
    expert = "PiGemmaForCausalLM" if own else "GemmaForCausalLM"

    def small_vlm(config: Any) -> Any:
        vision = config.vision_config
        vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads = 24, 1, 2
        vision.intermediate_size, vision.projection_dim = 48, config.text_config.hidden_size
        config.text_config.vocab_size = config._vocab_size = vocabulary
        return large[vlm](config=config)

    def small_expert(config: Any) -> Any:
        config.vocab_size = vocabulary
        return large[expert](config=config)

    with _patched(modeling):
        large = {name: getattr(modeling, name) for name in (vlm, expert)}
        with (
            mock.patch.object(modeling, vlm, small_vlm),
            mock.patch.object(modeling, expert, small_expert),
            mock.patch.object(modeling, "get_gemma_config", _GEMMA.__getitem__),
        ):
            yield


@contextmanager
def _patched(modeling: Any) -> Iterator[None]:
    """Give LeRobot 0.4 the transformers that it asks for, where it isn't there."""
    check = "transformers.models.siglip.check"
    ours = check in sys.modules and sys.modules[check].__spec__ is None  # for another kind
    if hasattr(modeling, "PiGemmaForCausalLM") or (not ours and find_spec(check)):
        yield
        return
    from openpi_patch import patched

    with patched(modeling):
        yield


def tiny_config(
    kind: str,
    *,
    cameras: Mapping[str, tuple[int, int]] = CAMERAS,
    chunk_size: int = 16,
    **fields: Any,
) -> Any:
    """A config of 6 joints in 8 dimensions that are shown 7; ``fields`` as LeRobot has them."""
    normalization = "MEAN_STD" if kind == "pi0" else "QUANTILES"
    chosen: dict[str, Any] = {
        "action_dim": 6,
        "state_dim": 7,
        "max_action_dim": 8,
        "max_state_dim": 8,
        "image_resolution": (56, 56),
        "num_inference_steps": 4,
        "normalization": normalization,
        **fields,
    }
    return compat.make_config(
        FAMILIES[kind].config_class(), chunk_size=chunk_size, image_features=cameras, **chosen
    )


def processors(config: Any, stats: Any, tokenizer: Any = None) -> tuple[Any, Any]:
    """LeRobot's processors, which ask the hub for PaliGemma's tokenizer."""
    steps = importlib.import_module("lerobot.processor.tokenizer_processor")
    with mock.patch.object(
        steps.AutoTokenizer, "from_pretrained", lambda name: tokenizer or _byte_tokenizer()
    ):
        return compat.make_processors(config, stats)


def tiny_policy(config: Any, seed: int = 0) -> Any:
    """A policy of the config, of which no part is blank: LeRobot begins with gates at 0."""
    with small(config.type):
        policy = FAMILIES[config.type].build(config, seed)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in policy.named_parameters():
            if name.endswith(("norm.dense.weight", "norm.dense.bias")):
                values.copy_(0.3 * torch.randn(values.shape, generator=source))
            elif ".gemma_expert." in name and values.ndim == 2:
                values.copy_(torch.randn(values.shape, generator=source) / values.shape[1] ** 0.5)
    return policy


def write_pi(
    folder: Path, kind: str, *, seed: int = 0, stats: Any = None, **fields: Any
) -> Path:
    """Write a checkpoint as LeRobot leaves it, and the tokenizer as a person puts it there."""
    config = tiny_config(kind, **fields)
    size = [int(f.shape[0]) for f in (config.action_feature, config.robot_state_feature)]
    pre, post = processors(config, stats or make_stats(*size))
    policy = tiny_policy(config, seed)
    _byte_tokenizer().save_pretrained(folder / compat.BACKBONE)
    return compat.save_checkpoint(folder, policy, pre, post)


def load_pi(folder: Path, **options: Any) -> FlowAdapter:
    """Load it as the nodes do, with LeRobot's sizes made small."""
    kind = json.loads((folder / "config.json").read_text())["type"]
    with small(kind):
        return FlowAdapter.load(folder, **{"device": "cpu", "torch_threads": 1, **options})
