"""The kinds of policies that can be run, by the ``type`` in a checkpoint's config.json."""

from __future__ import annotations

from typing import Any

from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError
from rtc_ros.policy.families.act import Act
from rtc_ros.policy.families.family import Family
from rtc_ros.policy.families.pi0 import Pi0
from rtc_ros.policy.families.pi05 import Pi05
from rtc_ros.policy.families.smolvla import SmolVLA

SMOLVLA = SmolVLA()
FAMILIES: dict[str, Family] = {family.kind: family for family in (SMOLVLA, Pi0(), Pi05(), Act())}

# Why a kind of LeRobot's isn't run here.
_ADAPTER = "a flow policy, but no adapter for its prefix and its denoising step is written here"
_REFUSED = {
    "evo1": _ADAPTER,
    "molmoact2": _ADAPTER,
    "groot": _ADAPTER,
    "pi0_fast": "it writes actions as tokens, one after the other: there is no flow to guide",
    "diffusion": "it takes two observations at once, and its steps aren't a flow's: equations 1 "
    "to 4 don't hold for them",
}


def family_of(kind: Any) -> Family:
    """Return the family of a config.json's ``type``.

    Raises:
        CheckpointError: such a policy isn't run here; the message says why, and what is.
    """
    if isinstance(kind, str) and kind in FAMILIES:
        return FAMILIES[kind]
    known = ", ".join(FAMILIES)
    if kind is None:
        raise CheckpointError(
            f"{CONFIG} has no type; it is config.json of a LeRobot policy that is needed"
        )
    why = _REFUSED.get(kind) if isinstance(kind, str) else None
    raise CheckpointError(
        f"{CONFIG} describes a policy of type {kind!r}"
        + (f": {why}" if why else "")
        + f"; policies of the types {known} can be run"
    )
