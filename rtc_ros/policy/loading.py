"""A checkpoint folder to LeRobot's policy and processors, without a network."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.checkpoint import check_weights, loadable_config, read_checkpoint
from rtc_ros.policy.checkpoint_files import CONFIG, WEIGHTS, CheckpointError
from rtc_ros.policy.image_positions import AUTO, CHOICES, SHIFTED, unknown
from rtc_ros.policy.position_lookup import measured, show

logger = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "checkpoint")
# What LeRobot and transformers raise where config and backbone don't go together.
_BUILD_ERRORS = (ValueError, TypeError, AttributeError, KeyError, OSError, AssertionError)

_BACKBONE_HINT = (
    " (a backbone saved by a newer transformers can be replaced by the original one's files; a "
    "policy that was trained with transformers 5 sees its images at image_positions: right)"
)


@dataclass(frozen=True)
class LoadedParts:
    """LeRobot's policy with its weights, and its processors, all on ``device``.

    ``image_positions`` are those it sees: "right", "shifted", or "" for neither;
    ``trained_delay`` is as in ``PolicySpec``.
    """

    policy: Any
    preprocessor: Any
    postprocessor: Any
    device: str
    description: str
    image_positions: str
    trained_delay: int


def load_parts(
    path: str | Path,
    *,
    backbone: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    torch_threads: int | None = None,
    image_positions: str = AUTO,
) -> LoadedParts:
    """Load a checkpoint folder; arguments and errors are those of ``FlowAdapter.load``."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    if image_positions not in CHOICES:
        raise ValueError(
            f"image_positions is {image_positions!r}; it must be one of {', '.join(CHOICES)}"
        )
    if torch_threads is not None:
        torch.set_num_threads(torch_threads)
    device = _pick_device(device)
    checkpoint = read_checkpoint(path)
    folder, family = checkpoint.folder, checkpoint.family
    # LeRobot has a family's steps once that is imported.
    kind = family.config_class()
    checkpoint = read_checkpoint(path, known_steps=compat.known_steps())
    for doubt, remedy in checkpoint.doubts():
        logger.warning("%s: %s; %s", folder, doubt, remedy)
    fields = loadable_config(
        checkpoint.config, compat.known_fields(kind), family.harmless(checkpoint.config)
    )
    vlm = checkpoint.backbone(backbone)
    wanted = checkpoint.positions
    try:
        config = family.decode_config(fields, backbone=vlm, device=device)
        policy = family.build(config)
    except _BUILD_ERRORS as error:
        raise CheckpointError(
            f"LeRobot {compat.lerobot_version()} can't build the model of {folder / CONFIG}"
            + (f" on the backbone {vlm}: " if vlm else ": ")
            + _one_line(error)
            + (_BACKBONE_HINT if vlm else "")
        ) from error
    names = family.stored_names(policy, checkpoint.weights)
    stored = {name: checkpoint.weights[there] for name, there in names.items()}
    check_weights(stored, *compat.tensor_shapes(policy), family.unused_weights)
    chosen = checkpoint.dtype() if dtype == "checkpoint" else dtype
    family.pin_dtypes(policy, getattr(torch, chosen))
    family.load_weights(policy, folder / WEIGHTS)
    _check_finite(policy)
    policy.to(device)
    needed = wanted.needed if image_positions == AUTO else image_positions
    if needed == SHIFTED and not family.may_shift:
        raise ValueError(
            f"image_positions is {SHIFTED!r}, but {wanted.because}: set it to {AUTO!r}"
        )
    bridged = family.may_shift and needed is not None and show(policy, needed)
    if needed is None:
        logger.warning("%s; %s", *unknown(wanted, folder))
    try:
        pre, post = compat.load_processors(folder, config, backbone=vlm, device=device)
    except Exception as error:  # LeRobot's steps raise whatever they like
        raise CheckpointError(
            f"LeRobot {compat.lerobot_version()} can't build the processors of {folder}: "
            f"{_one_line(error)}; save them again with the LeRobot that trained the policy"
        ) from error
    size = sum(parameter.numel() for parameter in policy.parameters()) / 1e6
    description = f"{family.label} {folder.name}, {size:.1f} M parameters, {chosen} on {device}"
    if bridged:
        description += f", image positions {needed}"
    positions, trained = measured(policy) or "", checkpoint.spec.trained_delay
    return LoadedParts(policy, pre, post, device, description, positions, trained)


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__


def _pick_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, which torch does not know") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch sees no CUDA device here; use cpu")
    return device


def _check_finite(policy: Any) -> None:
    bad = [name for name, value in policy.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise CheckpointError(f"{WEIGHTS} holds NaN or infinite values, first in {bad[0]}")
