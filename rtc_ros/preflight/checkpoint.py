"""Does the checkpoint fit the configuration? From its JSON and headers alone, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtc_ros.nodes.checks import policy_problems
from rtc_ros.policy.backbone import find_backbone
from rtc_ros.policy.checkpoint import Checkpoint, read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError, read_stats
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.shipped import checkpoint_path
from rtc_ros.preflight.findings import Finding, bad, good
from rtc_ros.preflight.setup import Setup


@dataclass(frozen=True)
class Spread:
    """Where the training data's states lay, per joint in the policy's units: float64[A] each.

    ``width`` is a standard deviation, or what stands for one where the checkpoint normalises by
    a range.
    """

    middle: np.ndarray
    width: np.ndarray


def look_at_checkpoint(
    setup: Setup,
) -> tuple[list[Finding], PolicySpec | None, Spread | None]:
    """Return the findings, and the policy's sizes and state statistics where it can be read."""
    try:
        checkpoint = read_checkpoint(checkpoint_path(setup.inference["policy_path"]))
        spread = _spread(checkpoint)
    except (CheckpointError, ValueError, KeyError, IndexError) as error:
        fix = "set policy_path to a LeRobot SmolVLA checkpoint folder that is complete"
        return [bad("checkpoint", f"{error}", fix)], None, None
    spec = checkpoint.spec
    return [*_sizes(setup, spec), *_backbone(setup, checkpoint)], spec, spread


def _sizes(setup: Setup, spec: PolicySpec) -> Iterator[Finding]:
    problems = policy_problems(spec, setup.units, [c.feature for c in setup.cameras])
    fix = "make `joints` and camera.NAME.feature those of the data set (meta/info.json)"
    for problem in problems:
        yield bad("checkpoint against joints and cameras", problem, fix)
    if not problems:
        yield good(
            "checkpoint against joints and cameras",
            f"{spec.description}: A = {spec.action_dim}, H = {spec.horizon}, images "
            f"{', '.join(sorted(spec.image_features))}",
        )


def _backbone(setup: Setup, checkpoint: Checkpoint) -> Iterator[Finding]:
    name = str(checkpoint.config.get("vlm_model_name", ""))
    try:
        folder = find_backbone(checkpoint.folder, name, setup.inference["backbone_path"] or None)
    except CheckpointError as error:
        yield bad("backbone", str(error), "fetch it once, or set backbone_path")
    else:
        yield good("backbone", f"found at {folder}")


def _spread(checkpoint: Checkpoint) -> Spread | None:
    """Return the statistics that the state is normalised with; None where there are none."""
    config = checkpoint.config
    if config.get("adapt_to_pi_aloha"):
        return None  # the statistics are of states in other conventions than the robot's
    steps = checkpoint.preprocessor["steps"]
    wanted = "normalizer_processor"
    step: Mapping[str, Any] = next(s for s in steps if s["registry_name"] == wanted)
    if "state_file" not in step:
        return None
    stats = read_stats(checkpoint.folder / step["state_file"])
    mode = step.get("config", {}).get("norm_map", {}).get("STATE", "IDENTITY")
    values = {
        key.rsplit(".", 1)[1]: np.asarray(value, float)
        for key, value in stats.items()
        if key.startswith("observation.state.")
    }
    if mode == "MEAN_STD":
        return Spread(values["mean"], values["std"])
    ends = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}
    if mode not in ends:
        return None
    low, high = (values[name] for name in ends[mode])
    # An even spread between the ends has this standard deviation.
    return Spread((low + high) / 2, (high - low) / np.sqrt(12))
