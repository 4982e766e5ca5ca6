"""A SmolVLA of LeRobot's real classes, small enough for a CPU, made without a network.

The backbone is a folder of a few kB: the VLM's config and a byte-level tokenizer, no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import SMOLVLA

_IMAGE_TOKENS = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "global_image_token": "<global-img>",
}
# SmolVLA reads <attribute>_id of each of these three from the tokenizer.


@dataclass(frozen=True)
class TinySpec:
    """Sizes of a tiny SmolVLA. The defaults give 1.4 M parameters for one 64 px camera.

    ``layers`` are those of both VLM and expert (alternately self- and cross-attention);
    ``hidden`` is the VLM's width, a multiple of ``heads``·8, the expert's is 3/4 of it.
    ``image_size`` [px] is a multiple of ``patch``·``scale_factor``; a camera then gives
    (image_size / patch / scale_factor)² tokens.
    """

    chunk_size: int = 32
    action_dim: int = 14
    state_dim: int = 14
    image_features: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"observation.images.top": (64, 64)}
    )
    image_size: int = 64
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    patch: int = 16
    vision_hidden: int = 96
    vision_layers: int = 2
    scale_factor: int = 2
    max_action_dim: int = 32
    max_state_dim: int = 32
    num_steps: int = 10
    tokenizer_max_length: int = 48
    normalization: str = "MEAN_STD"

    def __post_init__(self) -> None:
        block = self.patch * self.scale_factor
        if self.image_size % block:
            raise ValueError(
                f"image_size is {self.image_size} px; it must be a multiple of patch × "
                f"scale_factor = {block} px"
            )
        if self.hidden % (8 * self.heads):
            raise ValueError(
                f"hidden is {self.hidden}; it must be a multiple of 8 × heads = {8 * self.heads}"
            )
        if self.action_dim > self.max_action_dim or self.state_dim > self.max_state_dim:
            raise ValueError(
                f"action_dim {self.action_dim} and state_dim {self.state_dim} must not exceed "
                f"max_action_dim {self.max_action_dim} and max_state_dim {self.max_state_dim}"
            )


def write_backbone(
    folder: str | Path,
    spec: TinySpec | None = None,
    *,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
) -> Path:
    """Write the VLM's config, tokenizer and processor for ``spec`` into ``folder``; return it.

    ``vision`` and ``text`` are fields of its two configs that are other than ``spec`` has them.
    """
    from transformers import (
        SmolVLMConfig,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    spec = spec or TinySpec()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_tokenizer()
    size = {"longest_edge": spec.image_size}
    tokens_per_image = (spec.image_size // spec.patch // spec.scale_factor) ** 2
    SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size=size, max_image_size=size),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(size=size, max_image_size=size),
        image_seq_len=tokens_per_image,
    ).save_pretrained(folder)
    SmolVLMConfig(
        image_token_id=tokenizer.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=spec.scale_factor,
        vision_config={
            "hidden_size": spec.vision_hidden,
            "intermediate_size": 2 * spec.vision_hidden,
            "num_hidden_layers": spec.vision_layers,
            "num_attention_heads": 4,
            "image_size": spec.image_size,
            "patch_size": spec.patch,
            **(vision or {}),
        },
        text_config={
            "model_type": "llama",
            "hidden_size": spec.hidden,
            "intermediate_size": 2 * spec.hidden,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": max(1, spec.heads // 2),
            "head_dim": spec.hidden // spec.heads,
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **(text or {}),
        },
    ).save_pretrained(folder)
    return folder


def _byte_tokenizer() -> Any:
    """Return a tokenizer of the 256 bytes and the special tokens: a BPE without any merge."""
    from tokenizers import (  # type: ignore[import-untyped]
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<pad>",
        extra_special_tokens=_IMAGE_TOKENS,
    )


def tiny_config(backbone: str | Path, spec: TinySpec | None = None, **fields: Any) -> Any:
    """Return LeRobot's SmolVLAConfig of ``spec`` on a backbone made by ``write_backbone``.

    ``fields`` are further fields of LeRobot's config, for instance the learning rate.
    """
    spec = spec or TinySpec()
    return SMOLVLA.make_config(
        backbone=backbone,
        chunk_size=spec.chunk_size,
        action_dim=spec.action_dim,
        state_dim=spec.state_dim,
        image_features=spec.image_features,
        image_size=spec.image_size,
        normalization=spec.normalization,
        **{
            "max_action_dim": spec.max_action_dim,
            "max_state_dim": spec.max_state_dim,
            "num_steps": spec.num_steps,
            "num_vlm_layers": spec.layers,
            "tokenizer_max_length": spec.tokenizer_max_length,
            "freeze_vision_encoder": False,  # there are no pretrained weights to keep
            "train_expert_only": False,
            **fields,
        },
    )


def make_tiny_policy(
    backbone: str | Path, spec: TinySpec | None = None, *, seed: int = 0, **fields: Any
) -> Any:
    """Return a SmolVLAPolicy of ``spec`` with random weights, the same for the same ``seed``.

    ``backbone`` is written first where it has no config.json yet.
    """
    spec = spec or TinySpec()
    if not (Path(backbone) / "config.json").is_file():
        write_backbone(backbone, spec)
    return SMOLVLA.build(tiny_config(backbone, spec, **fields), seed)


def write_tiny_checkpoint(
    folder: str | Path,
    spec: TinySpec | None = None,
    *,
    stats: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """Write a whole checkpoint folder (weights, processors, ``backbone/``) and return it.

    Without ``stats`` state and actions have mean 0, standard deviation 1 and range ±1.
    """
    spec = spec or TinySpec()
    folder = Path(folder)
    backbone = write_backbone(folder / compat.BACKBONE, spec)
    policy = make_tiny_policy(backbone, spec, seed=seed, **fields)
    if stats is None:
        stats = {
            compat.STATE: _unit_stats(spec.state_dim),
            compat.ACTION: _unit_stats(spec.action_dim),
        }
    pre, post = compat.make_processors(policy.config, stats)
    return compat.save_checkpoint(folder, policy, pre, post, backbone=backbone)


def _unit_stats(size: int) -> dict[str, list[float]]:
    low, high = [-1.0] * size, [1.0] * size
    return {
        "mean": [0.0] * size,
        "std": [1.0] * size,
        "min": low,
        "max": high,
        "q01": low,
        "q99": high,
        "q10": low,
        "q90": high,
    }
