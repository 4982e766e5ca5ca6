"""The paper's twelve levels by name, where their files are, and what training them takes."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import rtc_ros

SHIPPED = Path(rtc_ros.__file__).parent / "checkpoints" / "kinetix"
"""Levels and trained flow policies that come with the package."""


@dataclass(frozen=True)
class Recipe:
    """How experts of a level are trained: γ, what coming nearer is worth, at most how long."""

    gamma: float = 0.99
    dense: float = 0.5
    steps: int = 2_500_000


_PATIENT = Recipe(gamma=0.995, steps=3_000_000)
LEVELS: dict[str, Recipe] = {
    "car_launch": Recipe(),
    "cartpole_thrust": Recipe(),
    "catapult": Recipe(steps=4_000_000),
    "catcher_v3": Recipe(steps=4_000_000),
    "chain_lander": _PATIENT,
    "grasp_easy": Recipe(steps=4_000_000),
    "h17_unicycle": Recipe(),
    "hard_lunar_lander": _PATIENT,
    "mjc_half_cheetah": Recipe(steps=4_000_000),
    "mjc_swimmer": Recipe(),
    "mjc_walker": Recipe(steps=4_000_000),
    "trampoline": _PATIENT,
}


def name_of(level: str) -> str:
    """Return the name of a level that was given by name or by file."""
    return Path(level).name.removesuffix(".json")


def file_of(level: str, folder: Path | None = None) -> str:
    """Return what the engine takes for a level: a file, or a name among Kinetix's own levels.

    A name is looked up in ``folder``, then among the files that come with the package.
    """
    if level.endswith(".json"):
        return str(Path(level).resolve())
    for place in (folder, SHIPPED):
        if place is not None and (file := place / f"{level}.json").exists():
            return str(file)
    return level


def policies(folder: Path, level: str = "") -> list[Path]:
    """Return the trained flow policies of a level, or of all, one for each training."""
    return sorted(folder.glob(f"{glob.escape(level) if level else '*'}_[0-9]*.pt"))
