"""Tiny checkpoints of LeRobot's real classes, made once per session."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint

torch.set_num_threads(1)

SPEC = TinySpec(
    chunk_size=16,
    action_dim=6,
    state_dim=7,
    image_features={"observation.images.top": (64, 64), "observation.images.side": (48, 64)},
    hidden=64,
    layers=4,
    vision_hidden=48,
    vision_layers=1,
    max_action_dim=8,
    max_state_dim=8,
    num_steps=4,
)


def make_stats(action_dim: int, state_dim: int) -> dict[str, dict[str, np.ndarray]]:
    """Statistics in which no two joints are alike."""
    random = np.random.default_rng(5)
    stats = {}
    for feature, size in ((compat.ACTION, action_dim), (compat.STATE, state_dim)):
        mean, std = random.normal(size=size), random.uniform(0.2, 2.0, size=size)
        stats[feature] = {"mean": mean, "std": std}
        for low, high, width in (("min", "max", 3), ("q01", "q99", 2), ("q10", "q90", 1)):
            stats[feature] |= {low: mean - width * std, high: mean + (width + 0.5) * std}
    return stats


STATS = make_stats(SPEC.action_dim, SPEC.state_dim)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with padding: 6 joints in 8 dimensions. Not to be changed."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("ckpt") / "tiny", SPEC, stats=STATS)


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Hub access allowed by every switch, but each attempt to reach a host is listed and fails."""
    import huggingface_hub
    import transformers.utils.hub

    attempts: list[str] = []

    def refuse(name: str) -> Callable[..., None]:
        def attempt(*args: object, **kwargs: object) -> None:
            attempts.append(f"{name}{args}")
            raise OSError("no network in this test")

        return attempt

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", False, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse("getaddrinfo"))
    monkeypatch.setattr(socket.socket, "connect", refuse("connect"))
    # Sessions made while offline would go on refusing by themselves.
    reset = getattr(huggingface_hub.utils, "reset_sessions", None) or huggingface_hub.close_session
    reset()
    yield attempts
    monkeypatch.undo()
    reset()
