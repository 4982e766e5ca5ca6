"""Paths as people write them, in launch arguments and parameters."""

from __future__ import annotations

import os
import re

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
