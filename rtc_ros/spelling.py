"""Which known name a misspelt one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str], least: float = 0.6) -> str:
    """Return the known name that is most like ``name``, "" where none is.

    ``least`` is how much it must be, 0 to 1 (difflib's ratio).
    """
    plain = {letters(k): k for k in reversed(list(known))}
    found = difflib.get_close_matches(letters(name), plain, 1, least)
    return plain[found[0]] if found else ""


def letters(name: str) -> str:
    """Return a name without what is told apart by spelling only: case, ``_`` and ``-``."""
    return name.lower().replace("_", "").replace("-", "")
