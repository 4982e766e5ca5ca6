"""Looks through the folder of a policy's checkpoint before anything is built from it.

LeRobot loads weights with ``strict=False``: what is missing keeps its random values. Here that,
and all else that doesn't fit, is an error that says what is wrong.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.policy.backbone import find_backbone
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
from rtc_ros.policy.checkpoint_processors import check_relative, check_stats, check_steps
from rtc_ros.policy.families import family_of
from rtc_ros.policy.families.family import Family, is_shape, need
from rtc_ros.policy.image_positions import Positions
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.policy.task_length import TaskReader
from rtc_ros.policy.trained_delay import MAX_DELAY, trained_delay

logger = logging.getLogger(__name__)

# Keys that newer versions of LeRobot write and that change nothing of what a policy computes.
_HARMLESS_KEYS = frozenset(
    {"pretrained_revision", "license", "tags", "repo_id", "private", MAX_DELAY}
)
_HARMLESS_PREFIXES = ("optimizer_", "scheduler_")
# Where LeRobot kept statistics before 0.4; beside processors nothing reads them.
_OLD_STATS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
_ADAPTER = "adapter_model.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"
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
    def family(self) -> Family:
        """What kind of policy it is."""
        return family_of(self.config.get("type"))

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
        for name in _shown_images(self.config):
            shape = self.config["input_features"][name]["shape"]
            images[renamed.get(name, name)] = (shape[1], shape[2])
        return PolicySpec(
            horizon=int(self.config.get("chunk_size", 50)),
            action_dim=self.action_dim,
            state_dim=self.state_dim,
            num_steps=self.family.num_steps(self.config),
            image_features=images,
            description=f"{self.family.label} {self.folder.name}",
            pads_images=self.family.pads_images(self.config),
            trained_delay=self.trained_delay if self.family.row_times else 0,
            flow=self.family.flow,
        )

    @property
    def trained_delay(self) -> int:
        """The largest d that it was trained to go on from; 0: none."""
        return trained_delay(self.folder, self.config)

    @property
    def state_spread(self) -> StateSpread | None:
        """Where the training data's states lay; None where it doesn't say so."""
        return StateSpread.of(self.folder, self.config, self.preprocessor)

    @property
    def positions(self) -> Positions:
        """At which positions it saw the patches of its images in training."""
        steps = self.preprocessor["steps"]
        return self.family.positions(self.folder, self.config, self.weights, steps)

    def backbone(self, given: str | Path | None = None) -> Path | None:
        """Return the folder of its backbone, see ``find_backbone``; None where it needs none."""
        family = self.family
        if family.tokenizer_needs is None:
            return None
        name = family.backbone_name(self.config, self.preprocessor)
        return find_backbone(self.folder, name, given, family.tokenizer_needs)

    def task_reader(self, backbone: str | Path | None = None) -> TaskReader | None:
        """Return what tells how much of a sentence it reads; ``backbone`` as for ``backbone``."""
        config, steps = self.config, [s["registry_name"] for s in self.preprocessor["steps"]]
        folder = self.backbone(backbone)
        if folder is None:
            return None
        return TaskReader.of(
            self.preprocessor,
            folder,
            lambda task: self.family.read_text(task, config, steps),
        )

    def doubts(self) -> list[tuple[str, str]]:
        """Return what may go wrong with it although it can be loaded, each with what to do."""
        spread = self.state_spread
        still = [] if spread is None else np.flatnonzero(spread.still).tolist()
        if spread is None or not still:
            return []
        at = ", ".join(
            f"{i} (standard deviation {spread.width[i]:.2g} at {spread.middle[i]:.6g})"
            for i in still
        )
        one = len(still) == 1
        return [
            (
                f"observation.state: {'joint' if one else 'joints'} {at}, counted from 0, never "
                f"moved in the training data: no chunk is made while {'it' if one else 'one'} is "
                "elsewhere, because any noise there would drown the rest of the state",
                "hold it there; or show the policy what it was trained with: state_scale 1e-9 and "
                "that place as state_offset for it",
            )
        ]

    def dtype(self) -> str:
        """Return "bfloat16" where most of the transformers' weights are, else "float32"."""
        part = self.family.transformers
        inner = [dtype for name, (dtype, _) in self.weights.items() if part in name]
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
    _check_place(folder)
    config = read_json(folder / CONFIG)
    family = family_of(config.get("type"))
    try:
        return _read(folder, family, config, known_steps)
    except CheckpointError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{folder} is not laid out as LeRobot writes a checkpoint ({type(error).__name__}: "
            f"{' '.join(str(error).split())}): write it again with LeRobot's save_pretrained"
        ) from error


def _read(
    folder: Path, family: Family, config: dict[str, Any], known_steps: Collection[str]
) -> Checkpoint:
    _check_options(config, family)
    _check_features(config, family)
    _check_adapter(folder, config, family)
    weights = read_header(folder / WEIGHTS)
    _check_processors(folder, weights)
    checkpoint = Checkpoint(
        folder,
        config,
        weights,
        read_json(folder / PREPROCESSOR),
        read_json(folder / POSTPROCESSOR),
    )
    _check_dtypes(checkpoint)
    check_steps(folder, PREPROCESSOR, checkpoint.preprocessor, known_steps, family.steps)
    check_steps(folder, POSTPROCESSOR, checkpoint.postprocessor, known_steps)
    check_relative(checkpoint.preprocessor, checkpoint.postprocessor)
    check_stats(
        folder,
        checkpoint.preprocessor,
        checkpoint.postprocessor,
        action_dim=checkpoint.action_dim,
        state_dim=checkpoint.state_dim,
        images=_shown_images(config),
    )
    # Whatever is odd in the files is said now, not when somebody asks.
    _ = checkpoint.spec, checkpoint.positions, checkpoint.doubts(), checkpoint.dtype()
    return checkpoint


def _check_place(folder: Path) -> None:
    """Say where the checkpoint is that is meant, where ``folder`` isn't one."""
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file; policy_path must name the folder that holds it: did you mean "
            f"{folder.parent}?"
        )
    if not folder.is_dir():
        name = str(folder)
        hub = not folder.is_absolute() and name.count("/") == 1 and not name.startswith(".")
        raise CheckpointError(
            f"{folder} is not a folder; policy_path must name a checkpoint folder on this machine "
            f"(the one that holds {CONFIG} and {WEIGHTS})"
            + (
                f": if it is a name on the hub, `hf download {name} --local-dir FOLDER` fetches it"
                if hub
                else ""
            )
        )
    if (folder / CONFIG).is_file():
        return
    # As lerobot-train lays its output out: the last one of several comes first.
    inside = [
        place
        for pattern in ("pretrained_model", "*/pretrained_model", "checkpoints/*/pretrained_model")
        for place in sorted(folder.glob(pattern), reverse=True)
        if (place / CONFIG).is_file()
    ]
    if inside:
        raise CheckpointError(f"{folder} has no {CONFIG}: did you mean {inside[0]}?")


def _check_adapter(folder: Path, config: Mapping[str, Any], family: Family) -> None:
    """Say how to merge an adapter; weights it was merged into are as good as others."""
    if not (folder / _ADAPTER).is_file():
        return
    if (folder / WEIGHTS).is_file() and not config.get("use_peft"):
        return
    base = config.get("pretrained_path")
    if (folder / _ADAPTER_CONFIG).is_file():
        base = read_json(folder / _ADAPTER_CONFIG).get("base_model_name_or_path") or base
    module, name = family.policy_path.rsplit(".", 1)
    raise CheckpointError(
        f"{folder} holds a PEFT adapter that isn't merged: merge it into the policy with `python "
        f'-c "from {module} import {name} as P; from peft '
        f"import PeftModel as M; p = M.from_pretrained(P.from_pretrained('{base or 'BASE'}'), "
        f"'{folder}').merge_and_unload(); p.save_pretrained('MERGED')\"`, and copy the "
        "policy_p*processor* files to MERGED"
    )


def _check_processors(folder: Path, weights: Collection[str]) -> None:
    lacking = [n for n in (PREPROCESSOR, POSTPROCESSOR) if not (folder / n).is_file()]
    if not lacking:
        return
    migrate = "python -m lerobot.processor.migrate_policy_normalization"
    if any(name.startswith(_OLD_STATS) for name in weights):
        why = (
            "its statistics are among the weights, as LeRobot before 0.4 wrote them: migrate it "
            f"with `{migrate} --pretrained-path {folder} --output-dir MIGRATED`"
        )
    else:
        why = (
            "its weights hold no statistics either, as those of LeRobot before 0.4 do (which "
            f"`{migrate}` migrates): copy it from where the checkpoint was trained"
        )
    raise CheckpointError(f"{folder} has no {' and no '.join(lacking)}; {why}")


def loadable_config(
    config: Mapping[str, Any], known_fields: Collection[str], harmless: Collection[str] = ()
) -> dict[str, Any]:
    """Return the config without ``type`` and without harmless keys this LeRobot doesn't know.

    ``harmless`` are those of this config, beside the ones that always are.

    Raises:
        CheckpointError: an unknown key could change what the policy computes.
    """
    unknown = sorted(set(config) - set(known_fields) - {"type"})
    harmful = [
        f"{key}: {json.dumps(config[key])}"
        for key in unknown
        if key not in _HARMLESS_KEYS
        and key not in harmless
        and not key.startswith(_HARMLESS_PREFIXES)
        and not _is_off(config[key])
    ]
    if harmful:
        raise CheckpointError(
            f"{CONFIG} has keys that the installed LeRobot does not know and that may change what "
            f"the policy computes: {some(harmful)}; install the LeRobot that wrote it"
        )
    if unknown:
        logger.warning("%s: ignored keys of another LeRobot: %s", CONFIG, ", ".join(unknown))
    return {key: config[key] for key in config if key in known_fields}


def _is_off(value: Any) -> bool:
    """Tell whether an option that isn't known asks for nothing: null, false, 0, empty, off."""
    if isinstance(value, dict):
        return value.get("enabled", not value) is False or not value
    return not value


def check_weights(
    stored: Mapping[str, tuple[str, tuple[int, ...]]],
    expected: Mapping[str, tuple[int, ...]],
    aliases: Mapping[str, Collection[str]] | None = None,
    unused: tuple[str, ...] = (),
) -> None:
    """Compare stored weights with those the model has, by name and shape.

    Args:
        stored: name → (dtype, shape), from the file.
        expected: name → shape, from the model.
        aliases: name → all names of the same (tied) tensor; one stored name is enough.
        unused: ends of names that may be missing or beyond what the model has.

    Raises:
        CheckpointError: names the first few that are missing, unexpected or of another shape.
    """
    aliases = aliases or {}
    if any(".lora_" in name for name in stored):
        raise CheckpointError(
            f"{WEIGHTS} holds an adapter (LoRA) beside the weights it changes: merge it with "
            "peft's merge_and_unload() and save the policy again"
        )
    missing = [
        name
        for name in expected
        if not _unused(name, unused)
        and not any(other in stored for other in (name, *aliases.get(name, ())))
    ]
    extra = [name for name in stored if name not in expected and not _unused(name, unused)]
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


def _unused(name: str, unused: tuple[str, ...]) -> bool:
    return name.endswith(unused) or name.startswith(_OLD_STATS)


def _check_features(config: dict[str, Any], family: Family) -> None:
    """Check what goes in and comes out; image shapes become [3, h, w]."""
    for key in ("input_features", "output_features"):
        features = config.get(key)
        if not isinstance(features, dict) or not all(
            isinstance(feature, dict) and is_shape(feature.get("shape"))
            for feature in features.values()
        ):
            raise CheckpointError(
                f"{CONFIG} has no {key} with a type and a shape each (it has {_short(features)}): "
                "LeRobot's training takes them from the data set and writes them; copy them from "
                "a config.json of that training"
            )
    inputs, outputs = config["input_features"], config["output_features"]
    sizes = []
    for name, feature, limit, why in (
        (
            "observation.state",
            inputs.get("observation.state"),
            family.state_room(config),
            f"{family.label} always reads a state, and LeRobot can't run it without one: train it "
            "with observation.state among its input_features",
        ),
        (
            "action",
            outputs.get("action"),
            config.get("max_action_dim", 32) if family.flow else None,
            "it is what the policy commands",
        ),
    ):
        shape = (feature or {}).get("shape") or []
        if len(shape) != 1:
            raise CheckpointError(
                f"{CONFIG} must have a feature {name} of one dimension, it has {feature}: {why}"
            )
        if shape[0] < 1 or (limit is not None and shape[0] > limit):
            raise CheckpointError(
                f"{CONFIG}: {name} has {shape[0]} dimensions, the model has room for {limit}"
            )
        sizes.append(shape[0])
    images = {name: ft for name, ft in inputs.items() if ft.get("type") == "VISUAL"}
    if not images:
        raise CheckpointError(f"{CONFIG} has no image feature; {family.label} needs at least one")
    for name, feature in images.items():
        shape = feature["shape"]
        if len(shape) == 3 and shape[0] != 3 and shape[2] == 3:
            # As a data set lists it. LeRobot's policies never look at the order.
            shape = feature["shape"] = [3, shape[0], shape[1]]
        if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
            raise CheckpointError(
                f"{CONFIG}: image {name} has shape {shape}, neither [3, h, w] nor [h, w, 3]: "
                f"{family.label} sees pictures of three colours"
            )
    if config.get("adapt_to_pi_aloha") and min(sizes) < 14:
        raise CheckpointError(
            f"{CONFIG}: adapt_to_pi_aloha is for two arms of 7 joints: state and action need 14 "
            f"dimensions each, they have {sizes[0]} and {sizes[1]}"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:60]} …"


def _shown_images(config: Mapping[str, Any]) -> list[str]:
    """Return the image features that a camera gives: LeRobot makes the empty ones itself."""
    return [
        name
        for name, feature in config["input_features"].items()
        if feature.get("type") == "VISUAL" and ".empty_camera_" not in name
    ]


def _check_options(config: Mapping[str, Any], family: Family) -> None:
    numbers = ("chunk_size", family.steps_field, "n_action_steps", *family.padded_fields)
    for key in filter(None, numbers):
        number = config.get(key, 1)
        if type(number) is not int or number < 1:
            raise CheckpointError(
                f"{CONFIG}: {key} is {json.dumps(number)}, it must be a whole number above 0"
            )
    need(config, "n_obs_steps", 1, "one observation at a time is given")
    family.check_options(config)
    rows, horizon = config.get("n_action_steps", 50), config.get("chunk_size", 50)
    if rows > horizon:
        raise CheckpointError(
            f"{CONFIG}: n_action_steps is {rows}, more than the {horizon} rows of a chunk "
            f"(chunk_size), which LeRobot refuses: set it to {horizon}; nothing here depends on it"
        )


def _check_dtypes(checkpoint: Checkpoint) -> None:
    odd = [
        f"{name} ({dtype})"
        for name, (dtype, _) in checkpoint.weights.items()
        if dtype not in _FLOAT_DTYPES and not _unused(name, checkpoint.family.unused_weights)
    ]
    if odd:
        raise CheckpointError(f"{WEIGHTS} holds weights that are not floats: {some(odd)}")
