"""What a flow policy takes: its sizes, checks of what it is given, LeRobot's form of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtc_ros.core.settings import beyond_training
from rtc_ros.policy.families.family import Family
from rtc_ros.policy.protocol import Guidance, Observation, PolicySpec

STATE = "observation.state"


def check_observation(spec: PolicySpec, observation: Observation) -> None:
    """Raise ValueError, naming feature and sizes, where the observation doesn't fit."""
    state = np.asarray(observation.state)
    if state.shape != (spec.state_dim,):
        raise ValueError(
            f"the observed state has shape {list(state.shape)}, the policy takes "
            f"[{spec.state_dim}]: check the configured joints"
        )
    if not np.isfinite(state).all():
        bad = np.flatnonzero(~np.isfinite(state)).tolist()
        raise ValueError(f"the observed state is not finite at {bad}")
    missing = sorted(set(spec.image_features) - set(observation.images))
    unknown = sorted(set(observation.images) - set(spec.image_features))
    if missing or unknown:
        raise ValueError(
            f"the policy takes the images {', '.join(sorted(spec.image_features))}; "
            + "; ".join(
                f"{what}: {', '.join(names)}"
                for what, names in (("missing", missing), ("not known to it", unknown))
                if names
            )
        )
    for name, image in observation.images.items():
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"image {name} is {image.dtype}{list(image.shape)}, it must be uint8[height, "
                "width, 3]"
            )
    if not isinstance(observation.task, str):
        raise ValueError(f"the task is {observation.task!r}, it must be a sentence")


def check_prev(spec: PolicySpec, guidance: Guidance) -> np.ndarray:
    """Return float32[R, A], the previous chunk with 0 where it has no weight.

    Raises:
        ValueError: shapes don't fit, or a row that has a weight is not finite.
    """
    prev = np.asarray(guidance.prev, dtype=np.float32)
    weights = np.asarray(guidance.weights, dtype=np.float64)
    if prev.ndim != 2 or prev.shape[1] != spec.action_dim or not 1 <= len(prev) <= spec.horizon:
        raise ValueError(
            f"prev has shape {list(prev.shape)}, it must be [1 to {spec.horizon}, "
            f"{spec.action_dim}]"
        )
    if weights.shape != (spec.horizon,):
        raise ValueError(f"weights have shape {list(weights.shape)}, not [{spec.horizon}]")
    if np.any(weights[len(prev) :] != 0.0):
        raise ValueError(
            f"weights go beyond the {len(prev)} rows of prev; there is nothing to guide to there"
        )
    prev = np.where(weights[: len(prev), None] != 0.0, prev, np.float32(0.0))
    if not np.isfinite(prev).all():
        rows = np.flatnonzero(~np.isfinite(prev).all(axis=1)).tolist()
        raise ValueError(f"prev is not finite in the rows {rows}, which have a weight")
    return prev


def check_given(spec: PolicySpec, guidance: Guidance) -> None:
    """Raise ValueError, with the numbers, where more rows are given than it was trained for."""
    problem = beyond_training(guidance.frozen, spec.trained_delay)
    if problem:
        raise ValueError(problem)


def to_batch(
    spec: PolicySpec,
    observation: Observation,
    prev: np.ndarray | None,
    names: Mapping[str, str],
    device: torch.device,
) -> dict[str, Any]:
    """Return what LeRobot's preprocessor takes: one observation, no batch dimension yet.

    Images become float[3, h, w] within 0 and 1, as they are where the policy pads them itself
    (``PolicySpec.pads_images``), else of its size. Those that ``spec`` leaves out aren't there:
    LeRobot hides them. The previous chunk goes in as the action [1, R, A], so that the
    checkpoint's own steps bring it into the policy's space. ``names`` maps names of the config to
    those of an observation.
    """
    batch: dict[str, Any] = {
        names.get(STATE, STATE): torch.tensor(np.asarray(observation.state, dtype=np.float32)),
        "task": observation.task,
    }
    for name, size in spec.image_features.items():
        image = observation.images[name]
        batch[name] = _to_image(image, None if spec.pads_images else size, device)
    if prev is not None:
        batch["action"] = torch.tensor(prev)[None]
    return batch


def _to_image(image: np.ndarray, size: tuple[int, int] | None, device: torch.device) -> Tensor:
    # The order of the bytes in memory is LeRobot's, too: its resizing rounds by it.
    planes = torch.tensor(image).to(device).permute(2, 0, 1).contiguous()
    pixels = planes.to(torch.float32) / 255.0
    if size is None or tuple(pixels.shape[1:]) == tuple(size):
        return pixels
    return torch.nn.functional.interpolate(
        pixels[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]


def blank_observation(spec: PolicySpec, task: str) -> Observation:
    """Return an observation that fits the policy: black images, all joints at 0."""
    images = {
        name: np.zeros((*size, 3), dtype=np.uint8) for name, size in spec.image_features.items()
    }
    return Observation(state=np.zeros(spec.state_dim), images=images, task=task)


def policy_spec(
    family: Family, config: Any, names: Mapping[str, str], description: str
) -> PolicySpec:
    """Return the sizes of the policy of a LeRobot config; ``names`` as for ``to_batch``."""
    return PolicySpec(
        horizon=int(config.chunk_size),
        action_dim=int(config.action_feature.shape[0]),
        state_dim=int(config.robot_state_feature.shape[0]),
        num_steps=family.num_steps(vars(config)),
        image_features={
            names.get(name, name): (int(feature.shape[1]), int(feature.shape[2]))
            for name, feature in config.image_features.items()
            if ".empty_camera_" not in name  # LeRobot fills those in itself
        },
        description=description,
        pads_images=family.pads_images(vars(config)),
        flow=family.flow,
    )


def renamed_features(preprocessor: Any) -> dict[str, str]:
    """Return feature name in the config → name in an observation, where the two differ."""
    for step in preprocessor.steps:
        if hasattr(step, "rename_map"):
            return {new: old for old, new in step.rename_map.items()}
    return {}


def action_scale(postprocessor: Any, action_dim: int) -> Tensor:
    """Return float[A], how far the robot's action moves per unit of the normalised action."""
    for step in postprocessor.steps:
        if hasattr(step, "norm_map"):
            ends = torch.stack([torch.zeros(action_dim), torch.ones(action_dim)])
            low, high = step({"action": ends})["action"]
            return (high - low).cpu()
    return torch.ones(action_dim)
