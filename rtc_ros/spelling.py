"""Names in sentences: which one was meant, and a few of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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


def few(names: Sequence[str], most: int = 4) -> str:
    """Return the first names of many, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
