"""Paths as people write them, in launch arguments, parameters and on command lines."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

_LEFT = re.compile(r"\$(\w+|\{[^}]*\})")


def expanded(path: str) -> str:
    """Return ``path`` with ``~`` and environment variables replaced.

    Raises:
        ValueError: a variable that it names isn't set.
    """
    whole = os.path.expandvars(path)
    if left := _LEFT.search(whole):
        name = left.group(1).strip("{}")
        raise ValueError(f"{path} names the environment variable {name}, which isn't set")
    return os.path.expanduser(whole)


def path_text(text: str) -> str:
    """Return a command line's path, or name of a checkpoint, ``expanded``; a type for argparse.

    The shell does so for most, but not for ``--out=~/report``, nor for what a program quotes.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    try:
        return expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def a_path(text: str) -> Path:
    """Return a command line's path, ``expanded``; a type for argparse."""
    return Path(path_text(text))
