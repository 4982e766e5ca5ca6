"""Finds the checkpoints that ship with the package."""

from __future__ import annotations

from pathlib import Path

import rtc_ros

_PREFIX = "package:"


def checkpoint_path(text: str) -> Path:
    """Return the folder that ``policy_path`` means: ``package:NAME`` or a path, ``~`` allowed.

    Raises:
        ValueError: no checkpoint of that name ships with the package.
    """
    if not text.startswith(_PREFIX):
        return Path(text).expanduser()
    name = text[len(_PREFIX) :]
    folder = Path(rtc_ros.__file__).parent / "checkpoints"
    shipped = sorted(p.name for p in folder.glob("*") if (p / "config.json").is_file())
    if name not in shipped:
        raise ValueError(
            f"no checkpoint {name!r} ships with rtc_ros; there is "
            f"{', '.join(shipped) or 'none in this installation'}"
        )
    return folder / name
