"""All that the next step of a training depends on, in one file, written in one piece."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_state(path: Path, settings: Mapping[str, Any], **state: Any) -> None:
    """Write the state of a training with these settings, and of torch's random numbers."""
    part = path.with_suffix(".part")
    random = {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
    torch.save({"settings": dict(settings), **random, **state}, part)
    os.replace(part, path)


def load_state(
    path: Path, settings: Mapping[str, Any], *, free: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return a saved state; torch's random numbers go on from there.

    Settings named in ``free`` may differ; one that the file doesn't have yet had its default,
    which ``settings`` must then have, too.

    Raises:
        ValueError: there is none, or it was made with other settings.
    """
    if not path.is_file():
        raise ValueError(f"there is nothing to resume: {path} is not there")
    state = torch.load(path, map_location="cpu", weights_only=True)
    saved = state["settings"]
    other = [
        f"{name} {saved[name]} there, {value} here"
        for name, value in settings.items()
        if name not in free and saved.get(name, value) != value
    ]
    if other:
        raise ValueError(f"{path} was made with other settings: {', '.join(other)}")
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    return dict(state)
