"""The engine's process, from this side: started, asked, ended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from rtc_ros.bench.kinetix.engine import wire

_FOLDER = Path(__file__).parent / "engine"
INSTALL = "python -m venv FOLDER; FOLDER/bin/pip install kinetix-env==3.0.2 'jax[cpu]==0.9.0'"


P = TypeVar("P", bound="EngineProcess")


class EngineError(Exception):
    """Kinetix can't be used as asked; the message says why and what to do."""


class EngineProcess:
    """A Python with Kinetix that runs the engine with ``arguments``; ends with the block."""

    def __init__(self, python: Path, *arguments: str) -> None:
        try:
            self._process = subprocess.Popen(
                [str(python), "-W", "ignore", str(_FOLDER), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise EngineError(f"{python} can't be started: {error.strerror}. {_help()}") from error
        self.hello = self._hear()[0]

    def ask(
        self, told: dict[str, Any], *arrays: np.ndarray
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Send a message, return the answer."""
        try:
            wire.send(cast(BinaryIO, self._process.stdin), told, *arrays)
        except BrokenPipeError:
            raise EngineError(self._ended()) from None
        return self._hear()

    def reports(self) -> Iterator[dict[str, Any]]:
        """Return the first message and those that follow, up to one that says it is the last."""
        told = self.hello
        while not told["last"]:
            yield told
            told = self._hear()[0]
        yield told

    def _hear(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        try:
            header, arrays = wire.receive(cast(BinaryIO, self._process.stdout))
        except EOFError:
            raise EngineError(self._ended()) from None
        if "error" in header:
            raise EngineError(f"{header['error']}. {_help()}")
        return header, arrays

    def _ended(self) -> str:
        return f"the process with Kinetix has ended (exit code {self._process.wait()})"

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()


def _help() -> str:
    return f"Kinetix lives in a Python of its own: {INSTALL}; then --python FOLDER/bin/python"
