"""Checks a checkpoint's processors: their steps, and the statistics they normalise with.

LeRobot fetches a missing state file from the hub, imports whatever class a step names, and
leaves values unnormalised where statistics are missing, all without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.policy.checkpoint_files import (
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
    CheckpointError,
    read_stats,
)

_NEEDED_STATS: Mapping[str, tuple[str, ...]] = {
    "IDENTITY": (),
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


def check_steps(
    folder: Path, file: str, pipeline: Mapping[str, Any], known: Collection[str]
) -> None:
    """Check that every step of a processor can be built from the folder alone.

    ``known`` are the names of the steps that this LeRobot has; empty: not checked.
    """
    steps = pipeline.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CheckpointError(f"{file} has no list of steps")
    for step in steps:
        name = step.get("registry_name")
        if name is None:
            # LeRobot would import whatever module path stands there.
            raise CheckpointError(
                f"{file} names a step by its class ({step.get('class')}); only steps that are "
                "registered in LeRobot are run"
            )
        if known and name not in known:
            raise CheckpointError(
                f"{file} has the step {name!r}, which the installed LeRobot does not have; "
                "install the LeRobot that wrote it"
            )
        state = step.get("state_file")
        if state is not None and (Path(state).name != state or not (folder / state).is_file()):
            raise CheckpointError(f"{file} asks for {state}, which is not in the folder")
    needed = "normalizer_processor" if file == PREPROCESSOR else "unnormalizer_processor"
    if not any(step["registry_name"] == needed for step in steps):
        raise CheckpointError(f"{file} has no step {needed!r}")


def check_stats(
    folder: Path,
    preprocessor: Mapping[str, Any],
    postprocessor: Mapping[str, Any],
    *,
    action_dim: int,
    state_dim: int,
) -> None:
    """Check that both processors normalise the action alike and have what they need to."""
    of_action = []
    for file, pipeline, needed in (
        (PREPROCESSOR, preprocessor, "normalizer_processor"),
        (POSTPROCESSOR, postprocessor, "unnormalizer_processor"),
    ):
        step = next(s for s in pipeline["steps"] if s["registry_name"] == needed)
        stats = read_stats(folder / step["state_file"]) if "state_file" in step else {}
        modes = step.get("config", {}).get("norm_map", {})
        features = [("action", "ACTION", action_dim)]
        if file == PREPROCESSOR:
            features.append(("observation.state", "STATE", state_dim))
        for feature, kind, size in features:
            values = _feature_stats(file, stats, feature, modes.get(kind, "IDENTITY"), size)
            if feature == "action":
                of_action.append((modes.get(kind, "IDENTITY"), values))
    (mode, values), (back_mode, back_values) = of_action
    if mode != back_mode or any(
        not np.array_equal(value, back_values[name]) for name, value in values.items()
    ):
        raise CheckpointError(
            f"{PREPROCESSOR} and {POSTPROCESSOR} normalise the action differently ({mode} and "
            f"{back_mode}, or with other statistics), so a chunk can't be fed back"
        )


def _feature_stats(
    file: str, stats: Mapping[str, np.ndarray], feature: str, mode: str, size: int
) -> dict[str, np.ndarray]:
    if mode not in _NEEDED_STATS:
        raise CheckpointError(f"{file}: unknown normalisation {mode!r} of {feature}")
    values = {}
    for name in _NEEDED_STATS[mode]:
        value = stats.get(f"{feature}.{name}")
        if value is None:
            raise CheckpointError(
                f"{file} normalises {feature} by {mode}, but its statistics have no "
                f"{feature}.{name}: save the processors with the data set's statistics"
            )
        if value.shape != (size,):
            raise CheckpointError(
                f"{file}: {feature}.{name} is {list(value.shape)}, but {CONFIG} gives {feature} "
                f"{size} dimensions"
            )
        if not np.isfinite(value).all():
            raise CheckpointError(f"{file}: {feature}.{name} holds NaN or infinite values")
        values[name] = value
    return values
