"""What one kind of LeRobot's policies has of its own, and what most of them share.

Importing a family costs neither torch nor LeRobot: a checkpoint is checked before either is
there. Its methods import what they run.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rtc_ros.policy.backbone import Needs
from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError
from rtc_ros.policy.image_positions import RIGHT, Positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rtc_ros.policy.kv_cache import Prefix

TOKENIZER = "tokenizer_processor"


class Family(ABC):
    """One kind of policy. Implementations hold no state."""

    kind: ClassVar[str]
    """``type`` in config.json."""
    label: ClassVar[str]
    """Its name for people."""
    policy_path: ClassVar[str]
    """Where LeRobot has its policy class, to be said to people."""
    flow: ClassVar[bool] = True
    """Whether its chunks flow from noise, so that a previous one can guide them. Without it a
    family has ``make_chunk`` in place of ``encode_prefix`` and ``denoise``."""
    steps_field: ClassVar[str]
    """The config's field for n; "" where there is none."""
    transformers: ClassVar[str]
    """Part of the names of its transformers' weights."""
    unused_weights: ClassVar[tuple[str, ...]]
    """Ends of names of weights that no action depends on: some versions store them."""
    steps: ClassVar[tuple[str, ...]]
    """Steps that its preprocessor must have, in this order."""
    tokenizer_needs: ClassVar[Needs | None]
    """Files that its backbone's folder must have; None: it reads no sentence and needs none."""
    may_shift: ClassVar[bool] = False
    """Whether some transformers shift the positions of its image patches."""
    padded_fields: ClassVar[tuple[str, ...]] = ("max_state_dim", "max_action_dim")
    row_times: ClassVar[bool] = False
    """Whether each row of a chunk may be at a flow time of its own."""
    new_line_step: ClassVar[str] = ""
    """The step of its preprocessor that puts a new line behind the sentence; "": none."""

    # ------------------------------------------------------------ what its files must say

    @abstractmethod
    def check_options(self, config: Mapping[str, Any]) -> None:
        """Raise CheckpointError where an option asks for what can't be run."""

    @abstractmethod
    def backbone_name(self, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> str:
        """Return what the checkpoint calls the folder (or hub name) of its tokenizer."""

    def harmless(self, config: Mapping[str, Any]) -> Collection[str]:
        """Return keys that change nothing here, whether this LeRobot knows them or not."""
        return ()

    def state_room(self, config: Mapping[str, Any]) -> int | None:
        """Return how many state dimensions the model has room for; None: any number."""
        return int(config.get("max_state_dim", 32))

    def num_steps(self, config: Mapping[str, Any]) -> int:
        """Return n of its config; 1 where a chunk takes one pass."""
        return int(config.get(self.steps_field, 10)) if self.flow else 1

    def pads_images(self, config: Mapping[str, Any]) -> bool:
        """Tell whether the policy itself resizes each image in its own shape and pads it."""
        return True

    def positions(
        self,
        folder: Path,
        config: Mapping[str, Any],
        weights: Mapping[str, tuple[str, tuple[int, ...]]],
        steps: Collection[Mapping[str, Any]],
    ) -> Positions:
        """Return at which positions it saw the patches of its images in training."""
        return Positions(RIGHT, f"{self.label}'s vision has them right in every transformers")

    def read_text(self, task: str, config: Mapping[str, Any], steps: Collection[str]) -> str:
        """Return the longest text that its tokenizer may be given for a sentence.

        ``steps`` are the names of its preprocessor's steps.
        """
        return task if self.new_line_step not in steps or task.endswith("\n") else f"{task}\n"

    # ------------------------------------------------------------------------ LeRobot's code

    @abstractmethod
    def config_class(self) -> Any:
        """Return LeRobot's config class; importing it registers the family's processor steps."""

    @abstractmethod
    def policy_class(self) -> Any:
        """Return LeRobot's policy class."""

    @abstractmethod
    def own_fields(self, *, backbone: Path | None, device: str) -> dict[str, Any]:
        """Return what is to stand in the config whatever config.json says."""

    def decode_config(
        self, fields: Mapping[str, Any], *, backbone: Path | None, device: str
    ) -> Any:
        """Return LeRobot's config of a config.json's fields, on a local backbone and a device.

        Weights come from the checkpoint alone, compilation and guidance are not LeRobot's
        business.

        Raises:
            ValueError: LeRobot refuses the fields.
        """
        from rtc_ros.policy import lerobot_compat as compat

        own = self.own_fields(backbone=backbone, device=device)
        return compat.decode_config(self.config_class(), {**fields, **own})

    def build(self, config: Any, seed: int | None = None) -> Any:
        """Return a policy of the config with new weights; the same ones for the same ``seed``."""
        from rtc_ros.policy import lerobot_compat as compat

        return compat.build_policy(self.policy_class(), config, seed)

    def stored_names(self, policy: Any, stored: Collection[str]) -> dict[str, str]:
        """Return the policy's name of each tensor → the name that it is stored under."""
        return {name: name for name in stored}

    def load_weights(self, policy: Any, file: Path) -> None:
        """Copy the weights of a safetensors file into the policy, in the policy's dtypes."""
        import torch
        from safetensors import safe_open

        own = policy.state_dict()
        with safe_open(file, framework="pt") as stored, torch.no_grad():
            for name, there in self.stored_names(policy, list(stored.keys())).items():
                if name in own:
                    own[name].copy_(stored.get_tensor(there))

    @abstractmethod
    def pin_dtypes(self, policy: Any, dtype: torch.dtype) -> None:
        """Put the transformers in ``dtype``, and what LeRobot wants in float32 in that."""

    def make_chunk(self, policy: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the chunk [B, H, A] of a preprocessed batch, where that takes one pass."""
        raise NotImplementedError(f"{self.label} makes chunks by a flow")

    def encode_prefix(self, policy: Any, batch: dict[str, Tensor]) -> Prefix:
        """Run the VLM over a preprocessed batch, once per chunk."""
        raise NotImplementedError(f"{self.label} has no flow")

    def denoise(self, policy: Any, prefix: Prefix, actions: Tensor, time: Tensor) -> Tensor:
        """Return LeRobot's velocity [B, H, max_action_dim] at its time [B] (1 noise, 0 actions).

        With ``row_times`` the time may be [B, H], one for each row.
        """
        from rtc_ros.policy.kv_cache import step_cache

        state = {} if prefix.state is None else {"state": prefix.state}
        velocity: Tensor = policy.model.denoise_step(
            prefix_pad_masks=prefix.pad_masks,
            past_key_values=step_cache(prefix.cache),
            x_t=actions,
            timestep=time,
            **state,
        )
        return velocity

    def to_policy_actions(self, policy: Any, actions: Tensor) -> Tensor:
        """Turn the model's actions [B, H, A] into those its postprocessor takes."""
        return actions

    def to_model_actions(self, policy: Any, actions: Tensor) -> Tensor:
        """Turn preprocessed actions [B, R, A] into the model's own."""
        return actions


def need(config: Mapping[str, Any], key: str, needed: Any, why: str) -> None:
    """Raise CheckpointError where an option isn't what it must be."""
    if config.get(key, needed) != needed:
        raise CheckpointError(f"{CONFIG}: {key} is {config[key]}, it must be {needed}: {why}")


def is_shape(value: Any) -> bool:
    """Tell whether a value of a config.json is a list of whole numbers."""
    return isinstance(value, list) and all(type(size) is int for size in value)


def said(value: Any) -> str:
    """Return a value as config.json has it."""
    return json.dumps(value)
