"""LeRobot's own way from an observation to a chunk, and what to feed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import RTCAttentionSchedule
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

from rtc_ros.policy.protocol import Guidance, Observation, PolicySpec


class Reference:
    """A checkpoint run as LeRobot's users run it."""

    def __init__(self, folder: Path, rtc: RTCConfig | None = None) -> None:
        backbone = str(folder / "backbone")
        config = PreTrainedConfig.from_pretrained(folder)
        config.vlm_model_name, config.rtc_config = backbone, rtc
        self.policy = SmolVLAPolicy.from_pretrained(folder, config=config)
        self.pre, self.post = make_pre_post_processors(
            config,
            pretrained_path=str(folder),
            preprocessor_overrides={"tokenizer_processor": {"tokenizer_name": backbone}},
        )

    def batch(self, observation: Observation, prev: np.ndarray | None = None) -> dict:
        batch = {
            "observation.state": torch.tensor(observation.state, dtype=torch.float32),
            "task": observation.task,
        }
        for name, image in observation.images.items():
            batch[name] = torch.tensor(image).permute(2, 0, 1).float() / 255
        if prev is not None:
            batch["action"] = torch.tensor(prev, dtype=torch.float32)[None]
        return self.pre(batch)

    def chunk(self, observation: Observation, noise: torch.Tensor, **rtc: object) -> np.ndarray:
        batch = self.batch(observation)
        return self.post(self.policy.predict_action_chunk(batch, noise=noise, **rtc))[0].numpy()


def rtc_config(beta: float, end: int) -> RTCConfig:
    """LeRobot's guidance with the paper's mask; its execution_horizon is where the mask ends."""
    return RTCConfig(
        enabled=True,
        prefix_attention_schedule=RTCAttentionSchedule.EXP,
        max_guidance_weight=beta,
        execution_horizon=end,
    )


def observe(spec: PolicySpec, seed: int = 0, task: str = "pass the cube") -> Observation:
    random = np.random.default_rng(seed)
    return Observation(
        state=random.normal(size=spec.state_dim),
        images={
            name: random.integers(0, 256, (*size, 3), dtype=np.uint8)
            for name, size in spec.image_features.items()
        },
        task=task,
    )


def guide(spec: PolicySpec, rows: int = 12, seed: int = 3, **options: object) -> Guidance:
    """Guidance to a random chunk: two frozen rows, then falling off to the last of ``rows``."""
    weights = np.zeros(spec.horizon)
    weights[:rows] = np.r_[1.0, 1.0, np.linspace(0.9, 0.1, rows - 2)]
    prev = np.random.default_rng(seed).normal(size=(rows, spec.action_dim))
    return Guidance(prev, weights, **options)
