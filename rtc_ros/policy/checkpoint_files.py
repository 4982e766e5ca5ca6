"""Reads the files of a checkpoint folder: JSON and safetensors, nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"


class CheckpointError(ValueError):
    """The folder is not a SmolVLA checkpoint that can be run; the message says why."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``, or raise CheckpointError."""
    if not path.is_file():
        hint = ""
        if path.name in (PREPROCESSOR, POSTPROCESSOR):
            hint = (
                "; checkpoints older than LeRobot 0.4 keep the normalisation among the weights: "
                "migrate it with `python -m lerobot.processor.migrate_policy_normalization`"
            )
        raise CheckpointError(f"{path.parent} has no {path.name}{hint}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name → (dtype, shape) of a safetensors file, or raise CheckpointError."""
    if not path.is_file():
        adapter = path.with_name("adapter_model.safetensors").is_file()
        raise CheckpointError(
            f"{path.parent} has no {path.name}"
            + ("; it holds a PEFT adapter only: merge it into the policy first" if adapter else "")
        )
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} can't be read as safetensors ({error}); is the copy complete?"
        ) from error


def read_stats(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a processor step's state file, or raise CheckpointError."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} can't be read as safetensors ({error})") from error


def some(names: Sequence[str], most: int = 4) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f", and {rest} more" if rest > 0 else "")
