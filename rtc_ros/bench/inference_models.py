"""The policies that `rtc_ros bench inference` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.loading import load_parts
from rtc_ros.policy.tiny import TinySpec, write_backbone

MODELS = ("aloha_cube", "full-size")


def parts_of(
    model: str, folder: Path, cameras: int, device: str, dtype: str
) -> tuple[Any, Any, Any]:
    """Return LeRobot's policy, preprocessor and postprocessor of one of ``MODELS``.

    Args:
        model: the checkpoint that ships, or a SmolVLA of the published size, random weights.
        folder: an empty folder for the latter's backbone.
        cameras: of the latter.
        device: a torch device.
        dtype: of the transformers, "float32" or "bfloat16".
    """
    if model == MODELS[1]:
        return full_size_parts(folder, cameras, device, dtype)
    parts = load_parts(checkpoint_path(f"package:{model}"), device=device, dtype=dtype)
    return parts.policy, parts.preprocessor, parts.postprocessor


def full_size_parts(folder: Path, cameras: int, device: str, dtype: str) -> tuple[Any, Any, Any]:
    """Return the same of a SmolVLA of the published size (450 M parameters), random weights.

    Args:
        folder: where the backbone's configuration is written (a few kB).
        cameras: number of cameras, 256×256 px each, which SmolVLA sees at 512×512.
        device: a torch device.
        dtype: of the transformers, "float32" or "bfloat16".
    """
    spec = TinySpec(
        image_size=512, scale_factor=4, vision_hidden=768, vision_layers=12, hidden=960, heads=15,
        layers=16,  # of 32: SmolVLA leaves the others out
    )  # fmt: skip
    vision = {"intermediate_size": 3072, "num_attention_heads": 12}
    text = {"intermediate_size": 2560, "num_key_value_heads": 5, "vocab_size": 49280}
    write_backbone(folder, spec, vision=vision, text={**text, "rms_norm_eps": 1e-5})
    return _random_parts(
        folder, cameras, device, dtype, size=(256, 256), image_size=512, num_vlm_layers=16
    )


def small_parts(folder: Path, cameras: int, device: str, dtype: str) -> tuple[Any, Any, Any]:
    """Return the same of a SmolVLA that a CPU runs in milliseconds; H is 50 here, too."""
    spec = TinySpec(hidden=64, layers=2, vision_hidden=48, vision_layers=1)
    write_backbone(folder, spec)
    return _random_parts(
        folder, cameras, device, dtype, size=(48, 64), image_size=64, num_vlm_layers=2
    )


def _random_parts(
    backbone: Path, cameras: int, device: str, dtype: str, size: tuple[int, int], **fields: Any
) -> tuple[Any, Any, Any]:
    """Return policy and processors of random weights, the same ones each time."""
    import torch

    names = [f"observation.images.camera{i + 1}" for i in range(cameras)]
    config = SMOLVLA.make_config(
        backbone=backbone,
        chunk_size=50,
        action_dim=14,
        state_dim=14,
        image_features=dict.fromkeys(names, size),
        num_steps=10,
        device=device,
        **fields,
    )
    policy = SMOLVLA.build(config, seed=0)
    SMOLVLA.pin_dtypes(policy, getattr(torch, dtype))
    policy.to(device)
    unit = {"mean": [0.0] * 14, "std": [1.0] * 14}
    pre, post = compat.make_processors(config, {compat.STATE: unit, compat.ACTION: unit})
    return policy, pre, post
