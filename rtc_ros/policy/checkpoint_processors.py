"""Checks a checkpoint's processors: their steps, and the statistics they normalise with.

LeRobot fetches a missing state file from the hub, imports whatever class a step names, and
leaves values unnormalised where statistics are missing, all without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.policy.checkpoint_files import (
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
    CheckpointError,
    read_stats,
    some,
)

_NEEDED_STATS: Mapping[str, tuple[str, ...]] = {
    "IDENTITY": (),
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


# LeRobot scales images by statistics of one number a channel.
_CHANNELS = (3, 1, 1)


def check_steps(
    folder: Path,
    file: str,
    pipeline: Mapping[str, Any],
    known: Collection[str],
    needed_steps: Sequence[str] = (),
) -> None:
    """Check that every step of a processor can be built from the folder alone.

    ``known`` are the names of the steps that this LeRobot has; empty: not checked.
    ``needed_steps`` must be there, in their order.
    """
    steps = pipeline.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CheckpointError(f"{file} has no list of steps")
    for step in steps:
        name = step.get("registry_name")
        if not isinstance(name, str):
            # LeRobot would import whatever module path stands there.
            raise CheckpointError(
                f"{file} names a step by its class ({step.get('class')}); only steps that are "
                "registered in LeRobot are run"
            )
        config = step.setdefault("config", {})
        if not isinstance(config, dict):
            raise CheckpointError(f"{file}: the config of {name!r} is {config!r}, not an object")
        if known and name not in known:
            remedy = (
                f"it is switched off there: delete that step from {file}"
                if config.get("enabled") is False
                else "install the LeRobot that wrote it"
            )
            raise CheckpointError(
                f"{file} has the step {name!r}, which the installed LeRobot does not have; "
                f"{remedy}"
            )
        state = step.get("state_file")
        if state is not None and (
            not isinstance(state, str)
            or Path(state).name != state
            or not (folder / state).is_file()
        ):
            raise CheckpointError(f"{file} asks for {state}, which is not in the folder")
    needed = "normalizer_processor" if file == PREPROCESSOR else "unnormalizer_processor"
    found = [step for step in steps if step["registry_name"] == needed]
    if not found:
        raise CheckpointError(f"{file} has no step {needed!r}")
    if not isinstance(found[0]["config"].setdefault("norm_map", {}), dict):
        raise CheckpointError(f"{file}: norm_map of {needed!r} is not an object")
    names = [step["registry_name"] for step in steps]
    missing = [name for name in needed_steps if name not in names]
    if missing:
        raise CheckpointError(f"{file} has no step {missing[0]!r}, which this policy reads")
    places = [names.index(name) for name in needed_steps]
    if places != sorted(places):
        raise CheckpointError(
            f"{file} has its steps in another order than {', '.join(needed_steps)}: what the "
            "policy reads would not be what it was trained on"
        )


def check_relative(preprocessor: Mapping[str, Any], postprocessor: Mapping[str, Any]) -> None:
    """Check that actions are made relative to the state in one if they are made absolute after.

    The previous chunk goes in through the one, the new one comes out through the other.
    """
    relative = _switched_on(preprocessor, "relative_actions_processor")
    absolute = _switched_on(postprocessor, "absolute_actions_processor")
    if relative != absolute:
        on, off = (PREPROCESSOR, POSTPROCESSOR) if relative else (POSTPROCESSOR, PREPROCESSOR)
        raise CheckpointError(
            f"{on} takes actions as relative to the state and {off} does not, so a chunk can't "
            "be fed back: save both again with the LeRobot that trained the policy"
        )
    names = [step["registry_name"] for step in preprocessor["steps"]]
    if relative and names.index("relative_actions_processor") > names.index(
        "normalizer_processor"
    ):
        raise CheckpointError(
            f"{PREPROCESSOR} normalises actions before it makes them relative to the state: the "
            "difference would be one of two scales"
        )


def _switched_on(pipeline: Mapping[str, Any], name: str) -> bool:
    return any(
        step["registry_name"] == name and step["config"].get("enabled") is True
        for step in pipeline["steps"]
    )


def check_stats(
    folder: Path,
    preprocessor: Mapping[str, Any],
    postprocessor: Mapping[str, Any],
    *,
    action_dim: int,
    state_dim: int,
    images: Sequence[str],
) -> None:
    """Check that both processors normalise the action alike and have what they need to.

    ``images`` are the image features that the policy is shown.
    """
    of_action = []
    for file, pipeline, needed in (
        (PREPROCESSOR, preprocessor, "normalizer_processor"),
        (POSTPROCESSOR, postprocessor, "unnormalizer_processor"),
    ):
        step = next(s for s in pipeline["steps"] if s["registry_name"] == needed)
        values = read_stats(folder / step["state_file"]) if step.get("state_file") else {}
        stats = _Stats(file, step, values)
        of_action.append(stats.of("action", "ACTION", (action_dim,)))
        if file == PREPROCESSOR:
            stats.of("observation.state", "STATE", (state_dim,))
            for image in images:
                stats.of(image, "VISUAL", _CHANNELS)
    (mode, values), (back_mode, back_values) = of_action
    if mode != back_mode or any(
        not np.array_equal(value, back_values[name]) for name, value in values.items()
    ):
        raise CheckpointError(
            f"{PREPROCESSOR} and {POSTPROCESSOR} normalise the action differently ({mode} and "
            f"{back_mode}, or with other statistics), so a chunk can't be fed back"
        )


@dataclass(frozen=True)
class _Stats:
    """The statistics of one processor's normalising step."""

    file: str
    step: Mapping[str, Any]
    values: Mapping[str, np.ndarray]

    def of(
        self, feature: str, kind: str, shape: tuple[int, ...]
    ) -> tuple[str, dict[str, np.ndarray]]:
        """Return how a feature of that shape is normalised, and by which of the statistics."""
        mode = self.step["config"]["norm_map"].get(kind, "IDENTITY")
        if mode not in _NEEDED_STATS:
            raise CheckpointError(f"{self.file}: unknown normalisation {mode!r} of {feature}")
        found = {name: self._one(feature, mode, name, shape) for name in _NEEDED_STATS[mode]}
        if found:
            self._check_features(feature, mode)
            self._check_spread(feature, *found.items())
        return mode, found

    def _one(self, feature: str, mode: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = self.values.get(f"{feature}.{name}")
        if value is None:
            others = [key for key in self.values if key.endswith(f".{name}")]
            raise CheckpointError(
                f"{self.file} normalises {feature} by {mode}, but its statistics have no "
                f"{feature}.{name}{f' (they have {some(others)})' if others else ''}, and LeRobot "
                "would leave it as it is without a word: save the processors with the data set's "
                "statistics"
            )
        if value.shape != shape:
            raise CheckpointError(
                f"{self.file}: {feature}.{name} is {list(value.shape)}, but {CONFIG} gives "
                f"{feature} {shape[0]} dimensions: it must be {list(shape)}"
            )
        if not np.isfinite(value).all():
            raise CheckpointError(f"{self.file}: {feature}.{name} holds NaN or infinite values")
        return value

    def _check_features(self, feature: str, mode: str) -> None:
        listed = self.step["config"].get("features")
        if isinstance(listed, dict) and listed and feature not in listed:
            raise CheckpointError(
                f"{self.file} lists {some(list(listed))} as what it normalises, not {feature}, "
                f"which LeRobot would leave as it is although it is to be normalised by {mode}"
            )

    def _check_spread(
        self, feature: str, first: tuple[str, np.ndarray], second: tuple[str, np.ndarray]
    ) -> None:
        (low_name, low), (name, high) = first, second
        least = np.zeros_like(high) if name == "std" else low
        wrong = np.flatnonzero(high < least)
        if len(wrong):
            at = int(wrong[0])
            than = "0" if name == "std" else f"{low_name} {least.flat[at]:.4g}"
            raise CheckpointError(
                f"{self.file}: {feature}.{name} is {high.flat[at]:.4g} at {at}, less than {than}: "
                "save the processors with the data set's statistics"
            )
