"""At which position a policy saw each patch of its images in training: its own, or a shifted one.

transformers 4.55 to 4.57 give every patch but the first the position of its upper left neighbour,
where they compute in float32: they round i / n just below the edge of its bucket. Up to 4.54 and
from 5.0 on each patch has its own, and so it has in every version in bfloat16 or float16, where
i / n isn't rounded down as long as n, the patches along a side, is a power of two. A policy knows
its pictures only as it saw them in training, so which of the two a checkpoint needs is found out
here, from its files alone and without torch; ``position_lookup`` gives it that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError, read_json

RIGHT, SHIFTED, AUTO = "right", "shifted", "auto"
CHOICES = (AUTO, RIGHT, SHIFTED)
TRAINED_WITH = "trained_with.json"
"""What our writer of checkpoints leaves in them: image_positions, and versions for people."""

_TRAIN_CONFIG = "train_config.json"
_TABLE = "vision_model.embeddings.position_embedding.weight"
_PATCHES = "vision_model.embeddings.patch_embedding.weight"
_HALVES = {"BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Positions:
    """``needed`` is RIGHT, SHIFTED or, where the files don't tell, None; ``because`` says why."""

    needed: str | None
    because: str


def positions_of(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, tuple[str, tuple[int, ...]]],
    steps: Collection[Mapping[str, Any]] = (),
) -> Positions:
    """Return which positions a checkpoint needs, by the first of its files that tells.

    Args:
        folder: the checkpoint's.
        config: its config.json.
        weights: name → (dtype, shape) of its weights.
        steps: of its preprocessor.

    Raises:
        CheckpointError: a file that would tell can't be read.
    """
    record = _by_record(folder)
    if record is not None:
        return record
    half, side = _half(weights), _side(weights)
    if half and side and not side & (side - 1):
        return Positions(
            RIGHT, f"its vision weights are {half}, in which no transformers shifts {side} patches"
        )
    found = _by_lerobot(folder, config, steps) or _by_backbone(folder)
    if found is None:
        return Positions(None, "nothing in it tells which transformers trained it")
    if half and found.needed == SHIFTED:
        return Positions(None, f"{found.because}, but in {half}, which shifts some of {side}")
    return found


def by_version(version: str) -> str | None:
    """Return the positions of a transformers version in float32; None: not known."""
    parts = re.match(r"(\d+)\.(\d+)(.*)", version)
    if parts is None:
        return None
    release = (int(parts[1]), int(parts[2]))
    if "dev" in parts[3] and release in ((4, 55), (5, 0)):
        return None  # where it changed
    if release < (4, 50):
        return None  # had no SmolVLM: it saved the file, and trained nothing
    return SHIFTED if (4, 55) <= release < (5, 0) else RIGHT


def unknown(positions: Positions, folder: Path) -> tuple[str, str]:
    """Return what to say where a checkpoint doesn't tell, and what to do."""
    return (
        f"{folder} doesn't tell at which positions it saw the patches of its images in training "
        f"({positions.because}): transformers 4.55 to 4.57 (LeRobot 0.4) shifted them by one, all "
        "others don't, and it takes the other for a displaced picture",
        "set image_positions to shifted if it was trained with LeRobot 0.4, to right otherwise; "
        "if that isn't known, try both and keep the one that reaches what it should",
    )


def _by_record(folder: Path) -> Positions | None:
    if not (folder / TRAINED_WITH).is_file():
        return None
    record = read_json(folder / TRAINED_WITH)
    if "image_positions" not in record:
        return None
    said = record["image_positions"]
    if said not in (RIGHT, SHIFTED):
        raise CheckpointError(
            f"{folder / TRAINED_WITH}: image_positions is {said!r}, neither {RIGHT!r} nor "
            f"{SHIFTED!r}"
        )
    return Positions(said, f"{TRAINED_WITH} says so")


def _half(weights: Mapping[str, tuple[str, tuple[int, ...]]]) -> str | None:
    """Return the dtype of the vision weights where it has 16 bits."""
    stored = {dtype for name, (dtype, _) in weights.items() if name.endswith(_PATCHES)}
    return _HALVES.get(stored.pop()) if len(stored) == 1 else None


def _side(weights: Mapping[str, tuple[str, tuple[int, ...]]]) -> int | None:
    """Return how many patches an image has along a side."""
    for name, (_, shape) in weights.items():
        if name.endswith(_TABLE) and shape:
            side = math.isqrt(shape[0])
            return side if side * side == shape[0] else None
    return None


def _by_lerobot(
    folder: Path, config: Mapping[str, Any], steps: Collection[Mapping[str, Any]]
) -> Positions | None:
    """Tell by the forms of LeRobot's files, which needs one line of transformers in each."""
    five = "which needs transformers 5"
    if "pretrained_revision" in config:
        return Positions(RIGHT, f"{CONFIG} is of LeRobot 0.6 or later, {five}")
    if any(step.get("artifacts") for step in steps):
        return Positions(RIGHT, f"its tokenizer was saved by LeRobot after 0.6.1, {five}")
    if not (folder / _TRAIN_CONFIG).is_file():
        return None
    training = read_json(folder / _TRAIN_CONFIG)
    if "cudnn_deterministic" in training:
        return Positions(RIGHT, f"{_TRAIN_CONFIG} is of LeRobot 0.5 or later, {five}")
    if "peft" in training:
        return Positions(
            SHIFTED,
            f"{_TRAIN_CONFIG} is of LeRobot 0.4.3 or 0.4.4, which needs transformers 4.57",
        )
    if "rename_map" in training:
        return Positions(
            None,
            f"{_TRAIN_CONFIG} is of LeRobot 0.4.0 to 0.4.2, which takes transformers 4.53 to "
            "4.57: probably shifted",
        )
    return Positions(RIGHT, f"{_TRAIN_CONFIG} is of LeRobot before 0.4, with transformers < 4.52")


def _by_backbone(folder: Path) -> Positions | None:
    """Tell by who wrote the backbone's config into the checkpoint."""
    file = folder / "backbone" / CONFIG
    if not file.is_file():
        return None
    version = read_json(file).get("transformers_version")
    found = by_version(version) if isinstance(version, str) else None
    if found is None:
        return None
    return Positions(found, f"backbone/{CONFIG} is of transformers {version}")
