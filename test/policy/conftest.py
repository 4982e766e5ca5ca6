"""Tiny checkpoints of LeRobot's real classes, made once per session."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny_checkpoint import SPEC, STATS  # noqa: E402

from rtc_ros.policy.tiny import write_tiny_checkpoint  # noqa: E402

torch.set_num_threads(1)


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
