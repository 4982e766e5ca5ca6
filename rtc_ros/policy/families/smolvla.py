"""SmolVLA: a SmolVLM whose layers an action expert attends to, chunk by chunk.

What LeRobot's versions do differently here:

* The prefix's KV cache is a dictionary per layer, asked for with ``fill_kv_cache``, up to 0.6.0;
  from 0.6.1 a transformers ``DynamicCache``, made where none is passed, appended to in place by
  each denoising step and cropped after it.
* transformers 4.55 to 4.57 shift the positions of image patches by one in float32, all others
  don't (``image_positions``); ``position_lookup`` gives a policy those of its training.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtc_ros.policy.backbone import VLM
from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError
from rtc_ros.policy.families.family import TOKENIZER, Family, is_shape, need, said
from rtc_ros.policy.image_positions import Positions, positions_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rtc_ros.policy.kv_cache import Prefix


class SmolVLA(Family):
    """LeRobot's SmolVLAPolicy."""

    kind = "smolvla"
    label = "SmolVLA"
    policy_path = "lerobot.policies.smolvla.modeling_smolvla.SmolVLAPolicy"
    steps_field = "num_steps"
    transformers = "vlm_with_expert"
    unused_weights = (
        "vlm.lm_head.weight",
        "lm_expert.embed_tokens.weight",
        "rotary_emb.inv_freq",
        "embeddings.position_ids",
    )
    steps = (TOKENIZER,)
    new_line_step = "smolvla_new_line_processor"
    tokenizer_needs = VLM
    may_shift = True
    row_times = True

    def check_options(self, config: Mapping[str, Any]) -> None:
        """Raise CheckpointError where an option asks for what can't be run."""
        need(config, "use_cache", True, "denoising reads the prefix from it")
        need(
            config,
            "use_delta_joint_actions_aloha",
            False,
            "LeRobot has not ported it; train the policy without it",
        )
        padded = config.get("resize_imgs_with_padding", [512, 512])
        if not is_shape(padded) or len(padded) != 2 or min(padded) < 1:
            raise CheckpointError(
                f"{CONFIG}: resize_imgs_with_padding is {said(padded)}, it must be the height "
                "and width [px] that the backbone sees, [512, 512] for SmolVLM2: LeRobot can't "
                "read it otherwise"
            )

    def backbone_name(self, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> str:
        """Return what the checkpoint calls its VLM."""
        return str(config.get("vlm_model_name", ""))

    def pads_images(self, config: Mapping[str, Any]) -> bool:
        """Tell whether LeRobot pads the images; it can't run it otherwise."""
        return config.get("resize_imgs_with_padding", True) is not None

    def positions(
        self,
        folder: Path,
        config: Mapping[str, Any],
        weights: Mapping[str, tuple[str, tuple[int, ...]]],
        steps: Collection[Mapping[str, Any]],
    ) -> Positions:
        """Return the positions of its training, which its files may tell."""
        return positions_of(folder, config, weights, steps)

    def config_class(self) -> Any:
        """Return LeRobot's SmolVLAConfig."""
        import lerobot.policies.smolvla.processor_smolvla  # noqa: F401  registers its steps
        from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig

        return SmolVLAConfig

    def policy_class(self) -> Any:
        """Return LeRobot's SmolVLAPolicy."""
        from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

        return SmolVLAPolicy

    def own_fields(self, *, backbone: Path | None, device: str) -> dict[str, Any]:
        """Return the backbone and the device, and that no weights of the VLM are fetched."""
        return {
            "vlm_model_name": str(backbone),
            "load_vlm_weights": False,
            "device": device,
            "compile_model": False,
            "rtc_config": None,
        }

    def make_config(self, *, backbone: str | Path, image_size: int, **fields: Any) -> Any:
        """Return a config on a backbone's folder; images become squares of ``image_size`` px.

        ``fields`` as for ``lerobot_compat.make_config``.
        """
        from rtc_ros.policy import lerobot_compat as compat

        return compat.make_config(
            self.config_class(),
            resize_imgs_with_padding=(image_size, image_size),
            vlm_model_name=str(backbone),
            **{"load_vlm_weights": False, **fields},
        )

    def pin_dtypes(self, policy: Any, dtype: torch.dtype) -> None:
        """Put both transformers in ``dtype`` and the projections around them in float32.

        LeRobot's code asks for just that (it upcasts before ``action_out_proj``). Unpinned, parts
        built from a backbone's config would keep the dtype that config names, others float32.
        """
        import torch

        policy.to(torch.float32)
        policy.model.vlm_with_expert.to(dtype)

    def transformer_dtype(self, policy: Any) -> torch.dtype:
        """Return what ``pin_dtypes`` put the transformers in."""
        expert = policy.model.vlm_with_expert.lm_expert
        dtype: torch.dtype = expert.layers[0].self_attn.q_proj.weight.dtype
        return dtype

    def encode_prefix(self, policy: Any, batch: dict[str, Tensor]) -> Prefix:
        """Run the VLM over a preprocessed batch, once per chunk (as LeRobot's sample_actions)."""
        import torch
        from lerobot.policies.smolvla.modeling_smolvla import make_att_2d_masks

        from rtc_ros.policy import lerobot_compat as compat
        from rtc_ros.policy.kv_cache import Prefix

        model = policy.model
        # A copy: LeRobot changes the state in place where it adapts to pi's Aloha.
        batch = {**batch, compat.STATE: batch[compat.STATE].clone()}
        batch = policy._prepare_batch(batch)
        images, image_masks = policy.prepare_images(batch)
        embeddings, pad_masks, attention = model.embed_prefix(
            images,
            image_masks,
            batch[compat.TOKENS],
            batch[compat.TOKEN_MASK],
            state=policy.prepare_state(batch),
        )
        forward = model.vlm_with_expert.forward
        _, cache = forward(
            attention_mask=make_att_2d_masks(pad_masks, attention),
            position_ids=torch.cumsum(pad_masks, dim=1) - 1,
            past_key_values=None,
            inputs_embeds=[embeddings, None],
            use_cache=True,
            **fill_cache(forward),
        )
        return Prefix(pad_masks, cache)

    def denoise(self, policy: Any, prefix: Prefix, actions: Tensor, time: Tensor) -> Tensor:
        """Return LeRobot's velocity at its time [B], or [B, H]: one for each row."""
        if time.ndim == 1:
            return super().denoise(policy, prefix, actions, time)
        with rows_at(policy.model, time):
            return super().denoise(policy, prefix, actions, time[:, 0])

    def images_and_state(
        self, policy: Any, batch: dict[str, Tensor]
    ) -> tuple[list[Tensor], int, Tensor]:
        """Return the images that are there, as the VLM takes them, and the padded state.

        Between the two, the number of blank images that LeRobot adds behind them, for cameras
        that aren't there. It hides them, but not the special tokens around them.
        """
        from rtc_ros.policy import lerobot_compat as compat

        batch = policy._prepare_batch({**batch, compat.STATE: batch[compat.STATE].clone()})
        present = sum(name in batch for name in policy.config.image_features)
        images, _ = policy.prepare_images(batch)
        return images[:present], len(images) - present, policy.prepare_state(batch)

    def time_embedding(self, policy: Any, times: Tensor) -> Tensor:
        """Return LeRobot's embedding [n, expert's width] of its times float32[n], as float32."""
        from lerobot.policies.smolvla.modeling_smolvla import create_sinusoidal_pos_embedding

        weight, config = policy.model.action_in_proj.weight, policy.config
        embedding: Tensor = create_sinusoidal_pos_embedding(
            times.to(weight.device),
            weight.shape[0],
            config.min_period,
            config.max_period,
            device=weight.device,
        )
        return embedding.to(weight.dtype)

    def to_policy_actions(self, policy: Any, actions: Tensor) -> Tensor:
        """Turn the model's actions into pi's Aloha conventions, where it adapts to them."""
        if not policy.config.adapt_to_pi_aloha:
            return actions
        encoded: Tensor = policy._pi_aloha_encode_actions(actions.clone())
        return encoded

    def to_model_actions(self, policy: Any, actions: Tensor) -> Tensor:
        """Turn them back."""
        if not policy.config.adapt_to_pi_aloha:
            return actions
        decoded: Tensor = policy._pi_aloha_encode_actions_inv(actions.clone())
        return decoded


@contextmanager
def rows_at(model: Any, time: Tensor) -> Iterator[None]:
    """Let LeRobot's model embed each row of a chunk at its own time [B, H] within the block.

    SmolVLA joins time and action row by row and knows no other use of the time. So its own
    ``embed_suffix`` is given each row as a chunk of one.
    """
    own = model.embed_suffix

    def embed(actions: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, present, attention = own(actions, time[:, 0])
        rows, _, _ = own(actions.reshape(-1, 1, actions.shape[-1]), time.reshape(-1))
        return rows.reshape(*actions.shape[:2], -1), present, attention

    model.embed_suffix = embed  # hides the method
    try:
        yield
    finally:
        del model.embed_suffix


def fill_cache(forward: Callable[..., Any]) -> dict[str, bool]:
    """Ask for a cache where LeRobot (up to 0.6.0) wants to be asked."""
    return (
        {"fill_kv_cache": True} if "fill_kv_cache" in inspect.signature(forward).parameters else {}
    )
