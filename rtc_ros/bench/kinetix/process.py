"""The engine's process, from this side: started, asked, ended."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from rtc_ros.bench.kinetix.engine import wire
from rtc_ros.paths import a_path

VARIABLE = "RTC_KINETIX_PYTHON"
"""Names the Python that has Kinetix, where ``--python`` doesn't."""

_FOLDER = Path(__file__).parent / "engine"

P = TypeVar("P", bound="EngineProcess")


class EngineError(Exception):
    """Kinetix can't be used as asked; the message says why and what to do."""


class EngineProcess:
    """A Python with Kinetix that runs the engine with ``arguments``; ends with the block."""

    def __init__(self, python: Path | None, *arguments: str) -> None:
        if python is None:
            raise EngineError(_HELP)
        try:
            self._process = subprocess.Popen(
                [str(python), "-W", "ignore", str(_FOLDER), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise EngineError(f"{python} can't be started: {error.strerror}. {_HELP}") from error
        try:
            self.hello = self._hear()[0]
        except EngineError:
            self.__exit__()
            raise

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
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"what was started isn't the engine. {_HELP}") from error
        if "error" in header:
            raise EngineError(f"{header['error']}. {_HELP}")
        return header, arrays

    def _ended(self) -> str:
        return f"the process with Kinetix has ended (exit code {self._process.wait()}). {_HELP}"

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()


_HELP = (
    "Kinetix lives in a Python of its own: `make kinetix`, or python -m venv FOLDER; "
    "FOLDER/bin/pip install kinetix-env==3.0.2 'jax[cpu]==0.9.0'; "
    f"then --python FOLDER/bin/python, or {VARIABLE}"
)


def add_python(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the Python."""
    text, named = f"that has Kinetix (${VARIABLE}; docs/kinetix.md)", os.environ.get(VARIABLE)
    parser.add_argument("--python", type=a_path, default=named or None, help=text)
