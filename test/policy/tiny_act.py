"""A small ACT of LeRobot's own class: its vision is a ResNet-18, whose size is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tiny_checkpoint import make_stats

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import FAMILIES

ACT = FAMILIES["act"]
CAMERAS = {"observation.images.top": (48, 64), "observation.images.side": (64, 64)}


def tiny_config(
    *,
    cameras: Mapping[str, tuple[int, int]] = CAMERAS,
    chunk_size: int = 16,
    action_dim: int = 6,
    state_dim: int = 7,
    **fields: Any,
) -> Any:
    """A config whose images are normalised, too, as LeRobot's ACT has it."""
    return compat.make_config(
        ACT.config_class(),
        chunk_size=chunk_size,
        action_dim=action_dim,
        state_dim=state_dim,
        image_features=cameras,
        normalization_mapping=dict.fromkeys(
            ("VISUAL", "STATE", "ACTION"), compat.NormalizationMode("MEAN_STD")
        ),
        **{
            "pretrained_backbone_weights": None,
            "dim_model": 32,
            "n_heads": 4,
            "dim_feedforward": 64,
            "n_encoder_layers": 1,
            "n_vae_encoder_layers": 1,
            "latent_dim": 4,
            **fields,
        },
    )


def with_images(stats: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Add ImageNet's statistics of each camera, as LeRobot's training does."""
    picture = {
        "mean": np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1),
        "std": np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1),
    }
    return {**stats, **dict.fromkeys(config.image_features, picture)}


def write_act(folder: Path, *, seed: int = 0, stats: Any = None, **fields: Any) -> Path:
    """Write a checkpoint as LeRobot leaves it."""
    config = tiny_config(**fields)
    size = [int(f.shape[0]) for f in (config.action_feature, config.robot_state_feature)]
    pre, post = compat.make_processors(
        config, with_images(stats or make_stats(*size), config)
    )
    return compat.save_checkpoint(folder, ACT.build(config, seed), pre, post)
