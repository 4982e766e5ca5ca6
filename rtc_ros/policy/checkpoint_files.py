"""Finds a checkpoint folder and reads its files: JSON and safetensors, nothing else."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

import rtc_ros

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"

_SHIPPED = "package:"
_POINTER = b"version https://git-lfs"
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class CheckpointError(ValueError):
    """The folder is not a checkpoint that can be run; the message says why."""


def checkpoint_path(text: str) -> Path:
    """Return the folder that ``policy_path`` means: ``package:NAME`` or a path, ``~`` allowed.

    Raises:
        ValueError: no checkpoint of that name ships with the package.
    """
    if not text.startswith(_SHIPPED):
        return Path(text).expanduser()
    name = text[len(_SHIPPED) :]
    folder = Path(rtc_ros.__file__).parent / "checkpoints"
    shipped = sorted(p.name for p in folder.glob("*") if (p / CONFIG).is_file())
    if name not in shipped:
        raise ValueError(
            f"no checkpoint {name!r} ships with rtc_ros; there is "
            f"{', '.join(shipped) or 'none in this installation'}"
        )
    return folder / name


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``, or raise CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}")
    refuse_pointer(path)
    try:
        raw = path.read_bytes()
        if raw.startswith(codecs.BOM_UTF8):
            raise CheckpointError(
                f"{path} begins with a byte order mark, which LeRobot can't read either: save it "
                "as UTF-8 without one"
            )
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name → (dtype, shape) of a safetensors file, or raise CheckpointError."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*") if p.suffix in _OTHER_WEIGHTS)
        beside = f"; there is {some(there)}" if there else ""
        raise CheckpointError(
            f"{path.parent} has no {path.name}{beside}; save the policy with LeRobot's "
            "save_pretrained, which writes it in one piece"
        )
    refuse_pointer(path)
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
    refuse_pointer(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} can't be read as safetensors ({error})") from error


def refuse_pointer(path: Path) -> None:
    """Raise CheckpointError where a file is what Git LFS puts in place of a large one."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            size = path.stat().st_size
            raise CheckpointError(
                f"{path} is a Git LFS pointer of {size} bytes, not the file itself: "
                f"run `git lfs pull` in {path.parent}, or fetch the checkpoint with `hf download`"
            )


def some(names: Sequence[str], most: int = 4) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f", and {rest} more" if rest > 0 else "")
