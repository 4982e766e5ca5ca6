"""ACT: a chunk in one pass, without noise. There is no flow, so nothing of it can be guided."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError
from rtc_ros.policy.families.family import Family
from rtc_ros.policy.image_positions import RIGHT, Positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Act(Family):
    """LeRobot's ACTPolicy. It reads no sentence, and always sees all of its images."""

    kind = "act"
    label = "ACT"
    policy_path = "lerobot.policies.act.modeling_act.ACTPolicy"
    flow = False
    steps_field = ""
    transformers = "model."
    unused_weights = ()
    steps = ()
    tokenizer_needs = None
    padded_fields = ()

    def check_options(self, config: Mapping[str, Any]) -> None:
        """Raise CheckpointError where it wants to be shown what no robot measures."""
        for name, feature in dict(config.get("input_features") or {}).items():
            if isinstance(feature, dict) and feature.get("type") == "ENV":
                raise CheckpointError(
                    f"{CONFIG}: {name} is the state of a simulated environment, which a robot "
                    "can't measure: train it without"
                )

    def backbone_name(self, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> str:
        """Return "": there is no tokenizer."""
        return ""

    def state_room(self, config: Mapping[str, Any]) -> int | None:
        """Return None: it has as many as it was trained with."""
        return None

    def pads_images(self, config: Mapping[str, Any]) -> bool:
        """Return False: it sees images of just the size that it was trained with."""
        return False

    def positions(
        self,
        folder: Path,
        config: Mapping[str, Any],
        weights: Mapping[str, tuple[str, tuple[int, ...]]],
        steps: Collection[Mapping[str, Any]],
    ) -> Positions:
        """Return those of a vision that looks none up: a convolution's are where they are."""
        return Positions(RIGHT, f"{self.label}'s vision is a convolution and looks none up")

    def config_class(self) -> Any:
        """Return LeRobot's ACTConfig."""
        import lerobot.policies.act.processor_act  # noqa: F401  registers its steps
        from lerobot.policies.act.configuration_act import ACTConfig

        return ACTConfig

    def policy_class(self) -> Any:
        """Return LeRobot's ACTPolicy."""
        from lerobot.policies.act.modeling_act import ACTPolicy

        return ACTPolicy

    def own_fields(self, *, backbone: Path | None, device: str) -> dict[str, Any]:
        """Return the device, and that no weights of the vision are fetched."""
        return {"device": device, "pretrained_backbone_weights": None}

    def pin_dtypes(self, policy: Any, dtype: torch.dtype) -> None:
        """Put all of it in float32.

        Raises:
            ValueError: another dtype is asked for.
        """
        import torch

        if dtype != torch.float32:
            raise ValueError(
                f"dtype is {str(dtype).removeprefix('torch.')}, and {self.label} runs in float32 "
                "only: set dtype to float32"
            )
        policy.to(dtype)

    def make_chunk(self, policy: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the chunk [B, H, A] of a preprocessed batch, normalised."""
        chunk: Tensor = policy.predict_action_chunk(batch)
        return chunk
