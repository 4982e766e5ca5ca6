"""Looks through a SmolVLA checkpoint folder before anything is built from it.

LeRobot loads weights with ``strict=False``: what is missing keeps its random values. Here that,
and all else that doesn't fit, is an error that says what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtc_ros.policy.checkpoint_files import (
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
    WEIGHTS,
    CheckpointError,
    read_header,
    read_json,
    some,
)
from rtc_ros.policy.checkpoint_processors import check_stats, check_steps
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.state_spread import StateSpread

logger = logging.getLogger(__name__)

# Keys that newer versions of LeRobot write and that change nothing of what a policy computes.
_HARMLESS_KEYS = frozenset({"pretrained_revision"})
_HARMLESS_PREFIXES = ("optimizer_", "scheduler_")
# Weights that no action depends on: some versions store them, some don't.
_UNUSED_WEIGHTS = (
    "vlm.lm_head.weight",
    "lm_expert.embed_tokens.weight",
    "rotary_emb.inv_freq",
    "embeddings.position_ids",
)
_FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder says of itself: parsed JSON, and name → (dtype, shape)."""

    folder: Path
    config: dict[str, Any]
    weights: Mapping[str, tuple[str, tuple[int, ...]]]
    preprocessor: dict[str, Any]
    postprocessor: dict[str, Any]

    @property
    def action_dim(self) -> int:
        """A, without padding."""
        return int(self.config["output_features"]["action"]["shape"][0])

    @property
    def state_dim(self) -> int:
        """Length of observation.state, without padding."""
        return int(self.config["input_features"]["observation.state"]["shape"][0])

    @property
    def spec(self) -> PolicySpec:
        """The sizes that the loaded policy will have."""
        renamed: dict[str, str] = {}
        for step in self.preprocessor["steps"]:
            if step["registry_name"] == "rename_observations_processor":
                pairs = step.get("config", {}).get("rename_map", {})
                renamed = {new: old for old, new in pairs.items()}
        images: dict[str, tuple[int, int]] = {}
        for name, feature in self.config["input_features"].items():
            if feature.get("type") == "VISUAL" and ".empty_camera_" not in name:
                images[renamed.get(name, name)] = (feature["shape"][1], feature["shape"][2])
        return PolicySpec(
            horizon=int(self.config.get("chunk_size", 50)),
            action_dim=self.action_dim,
            state_dim=self.state_dim,
            num_steps=int(self.config.get("num_steps", 10)),
            image_features=images,
            description=f"SmolVLA {self.folder.name}",
            pads_images=self.config.get("resize_imgs_with_padding", True) is not None,
        )

    @property
    def state_spread(self) -> StateSpread | None:
        """Where the training data's states lay; None where it doesn't say so."""
        return StateSpread.of(self.folder, self.config, self.preprocessor)

    def dtype(self) -> str:
        """Return "bfloat16" where most of the transformers' weights are, else "float32"."""
        inner = [dtype for name, (dtype, _) in self.weights.items() if "vlm_with_expert" in name]
        return "bfloat16" if 2 * inner.count("BF16") > len(inner) else "float32"


def read_checkpoint(folder: str | Path, *, known_steps: Collection[str] = ()) -> Checkpoint:
    """Read and check a checkpoint folder, without its weights' values.

    Args:
        folder: as ``save_pretrained`` of LeRobot's policy and processors leaves it.
        known_steps: names of the processor steps that this LeRobot has; empty: not checked.

    Raises:
        CheckpointError: something is missing or doesn't fit; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; policy_path must name a checkpoint folder on this machine "
            f"(the one that holds {CONFIG} and {WEIGHTS})"
        )
    config = read_json(folder / CONFIG)
    if config.get("type") != "smolvla":
        raise CheckpointError(
            f"{CONFIG} describes a policy of type {config.get('type')!r}, not 'smolvla'"
        )
    _check_features(config)
    _check_options(config)
    checkpoint = Checkpoint(
        folder,
        config,
        read_header(folder / WEIGHTS),
        read_json(folder / PREPROCESSOR),
        read_json(folder / POSTPROCESSOR),
    )
    _check_dtypes(checkpoint)
    check_steps(folder, PREPROCESSOR, checkpoint.preprocessor, known_steps)
    check_steps(folder, POSTPROCESSOR, checkpoint.postprocessor, known_steps)
    check_stats(
        folder,
        checkpoint.preprocessor,
        checkpoint.postprocessor,
        action_dim=checkpoint.action_dim,
        state_dim=checkpoint.state_dim,
    )
    return checkpoint


def loadable_config(config: Mapping[str, Any], known_fields: Collection[str]) -> dict[str, Any]:
    """Return the config without ``type`` and without harmless keys this LeRobot doesn't know.

    Raises:
        CheckpointError: an unknown key could change what the policy computes.
    """
    unknown = sorted(set(config) - set(known_fields) - {"type"})
    harmful = [
        key
        for key in unknown
        if key not in _HARMLESS_KEYS and not key.startswith(_HARMLESS_PREFIXES)
    ]
    if harmful:
        raise CheckpointError(
            f"{CONFIG} has keys that the installed LeRobot does not know and that may change what "
            f"the policy computes: {some(harmful)}; install the LeRobot that wrote it"
        )
    if unknown:
        logger.warning("%s: ignored keys of another LeRobot: %s", CONFIG, ", ".join(unknown))
    return {key: config[key] for key in config if key in known_fields}


def check_weights(
    stored: Mapping[str, tuple[str, tuple[int, ...]]],
    expected: Mapping[str, tuple[int, ...]],
    aliases: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Compare stored weights with those the model has, by name and shape.

    Args:
        stored: name → (dtype, shape), from the file.
        expected: name → shape, from the model.
        aliases: name → all names of the same (tied) tensor; one stored name is enough.

    Raises:
        CheckpointError: names the first few that are missing, unexpected or of another shape.
    """
    aliases = aliases or {}
    missing = [
        name
        for name in expected
        if not _unused(name)
        and not any(other in stored for other in (name, *aliases.get(name, ())))
    ]
    extra = [name for name in stored if name not in expected and not _unused(name)]
    shapes = [
        f"{name} is {list(stored[name][1])}, the model has {list(shape)}"
        for name, shape in expected.items()
        if name in stored and tuple(stored[name][1]) != tuple(shape)
    ]
    faults = [
        f"{len(names)} {what}: {some(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", extra),
            ("of another shape", shapes),
        )
        if names
    ]
    if faults:
        raise CheckpointError(
            f"the weights in {WEIGHTS} don't fit the model that {CONFIG} and the backbone "
            f"describe ({'; '.join(faults)}): was it trained with another backbone, another "
            "LeRobot or another config?"
        )


def _unused(name: str) -> bool:
    return name.endswith(_UNUSED_WEIGHTS)


def _check_features(config: Mapping[str, Any]) -> None:
    inputs, outputs = config.get("input_features") or {}, config.get("output_features") or {}
    state, action = inputs.get("observation.state"), outputs.get("action")
    sizes = []
    for name, feature, limit in (
        ("observation.state", state, config.get("max_state_dim", 32)),
        ("action", action, config.get("max_action_dim", 32)),
    ):
        shape = (feature or {}).get("shape") or []
        if len(shape) != 1:
            raise CheckpointError(
                f"{CONFIG} must have a feature {name} of one dimension, it has {feature}"
            )
        if not 1 <= shape[0] <= limit:
            raise CheckpointError(
                f"{CONFIG}: {name} has {shape[0]} dimensions, the model has room for {limit}"
            )
        sizes.append(shape[0])
    images = {name: ft for name, ft in inputs.items() if ft.get("type") == "VISUAL"}
    if not images:
        raise CheckpointError(f"{CONFIG} has no image feature; SmolVLA needs at least one")
    for name, feature in images.items():
        shape = feature.get("shape") or []
        if len(shape) != 3 or shape[0] != 3:
            raise CheckpointError(f"{CONFIG}: image {name} has shape {shape}, not [3, h, w]")
    if config.get("adapt_to_pi_aloha") and min(sizes) < 14:
        raise CheckpointError(
            f"{CONFIG}: adapt_to_pi_aloha is for two arms of 7 joints: state and action need 14 "
            f"dimensions each, they have {sizes[0]} and {sizes[1]}"
        )


def _check_options(config: Mapping[str, Any]) -> None:
    for key, needed, why in (
        ("n_obs_steps", 1, "one observation at a time is given"),
        ("use_cache", True, "denoising reads the prefix from it"),
        ("use_peft", False, "merge the adapter into the policy first"),
        ("use_delta_joint_actions_aloha", False, "LeRobot has not ported it"),
    ):
        if config.get(key, needed) != needed:
            raise CheckpointError(f"{CONFIG}: {key} is {config[key]}, it must be {needed}: {why}")


def _check_dtypes(checkpoint: Checkpoint) -> None:
    odd = [
        f"{name} ({dtype})"
        for name, (dtype, _) in checkpoint.weights.items()
        if dtype not in _FLOAT_DTYPES and not _unused(name)
    ]
    if odd:
        raise CheckpointError(f"{WEIGHTS} holds weights that are not floats: {some(odd)}")
