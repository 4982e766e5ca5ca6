"""What π0 and π0.5 share: a PaliGemma, and an action expert of Gemma that reads its keys.

LeRobot's own ``sample_actions`` encodes the prefix and its own ``denoise_step`` computes the
velocity: no line of the model is written out here, so that it is the same in both layouts that
there are. LeRobot 0.4 builds them only on a patched transformers (its extra ``pi``, the openpi
patch); from 0.5 on it has its own Gemma and takes transformers 5 as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rtc_ros.policy.backbone import TOKENIZER_ONLY
from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError
from rtc_ros.policy.families.family import TOKENIZER, Family, is_shape, said

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rtc_ros.policy.kv_cache import Prefix

PALIGEMMA = "google/paligemma-3b-pt-224"
"""The hub's name of the tokenizer that LeRobot's processors ask for."""
_HEAD = "paligemma.lm_head.weight"
_FLAT, _NESTED = "vision_tower.", "vision_tower.vision_model."


class Pi(Family):
    """LeRobot's PI0Policy or PI05Policy."""

    steps_field = "num_inference_steps"
    transformers = "paligemma_with_expert"
    unused_weights = ("lm_head.weight", "rotary_emb.inv_freq", "embeddings.position_ids")
    steps: ClassVar[tuple[str, ...]] = (TOKENIZER,)
    tokenizer_needs = TOKENIZER_ONLY

    def check_options(self, config: Mapping[str, Any]) -> None:
        """Raise CheckpointError where an option asks for what can't be run."""
        side = config.get("image_resolution", [224, 224])
        if not is_shape(side) or len(side) != 2 or min(side) < 14 or side[0] != side[1]:
            raise CheckpointError(
                f"{CONFIG}: image_resolution is {said(side)}, it must be twice the same number "
                "of pixels, [224, 224] for PaliGemma: it sees squares only"
            )

    def backbone_name(self, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> str:
        """Return what the preprocessor calls its tokenizer."""
        for step in preprocessor["steps"]:
            if step["registry_name"] == TOKENIZER:
                return str(step["config"].get("tokenizer_name") or PALIGEMMA)
        return PALIGEMMA

    def harmless(self, config: Mapping[str, Any]) -> Collection[str]:
        """Return what says how to make actions relative, where they aren't."""
        if config.get("use_relative_actions"):
            return ()
        return ("use_relative_actions", "relative_exclude_joints", "action_feature_names")

    def own_fields(self, *, backbone: Path | None, device: str) -> dict[str, Any]:
        """Return the device, and that nothing is compiled, saved or guided by LeRobot."""
        return {
            "device": device,
            "dtype": "float32",  # ``pin_dtypes`` sets it, once the weights' is known
            "compile_model": False,
            "gradient_checkpointing": False,
            "rtc_config": None,
        }

    def build(self, config: Any, seed: int | None = None) -> Any:
        """Return a policy with new weights, or say which transformers this LeRobot needs."""
        import sys
        from importlib import metadata

        # LeRobot 0.4 asks for the patch, too, but only once it has built all of the model.
        own = hasattr(sys.modules[self.policy_class().__module__], "PiGemmaForCausalLM")
        if not own and not _patched():
            raise ValueError(
                f"it builds {self.label} only on a patched transformers (its extra pi), and "
                f"{metadata.version('transformers')} is installed as it is: use LeRobot 0.5 or "
                "later (Python 3.12), which needs no patch"
            )
        if own:
            from rtc_ros.policy import lerobot_compat as compat

            compat.take_cache_position()
        return super().build(config, seed)

    def stored_names(self, policy: Any, stored: Collection[str]) -> dict[str, str]:
        """Return LeRobot's name → the stored one, by LeRobot's rules: openpi's names differ."""
        import torch

        own, found, blank = set(policy.state_dict()), {}, torch.empty(0)
        flat = not any(_NESTED in name for name in own)
        for name in stored:
            direct = name if name.startswith("model.") else f"model.{name}"
            # Later transformers 5 have the same vision one level higher.
            if flat and _NESTED in direct:
                direct = direct.replace(_NESTED, _FLAT)
            elif not flat and _FLAT in direct and _NESTED not in direct:
                direct = direct.replace(_FLAT, _NESTED)
            if direct in own:
                found[direct] = name
                if not name.endswith(_HEAD):
                    continue
            # Where the embedding isn't stored, the head that it is tied to is it.
            for new in policy._fix_pytorch_state_dict_keys({name: blank}, policy.config):
                found.setdefault(new if new.startswith("model.") else f"model.{new}", name)
        return found

    def pin_dtypes(self, policy: Any, dtype: torch.dtype) -> None:
        """Put the transformers in ``dtype`` but for what LeRobot keeps in float32."""
        import torch

        policy.to(torch.float32)
        name = str(dtype).removeprefix("torch.")
        policy.model.paligemma_with_expert.to_bfloat16_for_selected_params(name)

    def inputs(self, policy: Any, batch: dict[str, Tensor]) -> list[Any]:
        """Return what ``sample_actions`` takes of a preprocessed batch."""
        from rtc_ros.policy import lerobot_compat as compat

        images, masks = policy._preprocess_images(batch)
        return [images, masks, batch[compat.TOKENS], batch[compat.TOKEN_MASK]]

    def encode_prefix(self, policy: Any, batch: dict[str, Tensor]) -> Prefix:
        """Let LeRobot sample one step, and keep what it gives to ``denoise_step``."""
        import torch

        from rtc_ros.policy import lerobot_compat as compat
        from rtc_ros.policy.kv_cache import Prefix

        given: dict[str, Any] = {}

        def note(x_t: Tensor, timestep: Tensor, **more: Any) -> Tensor:
            given.update(more)
            return torch.zeros_like(x_t)

        model, tokens = policy.model, batch[compat.TOKENS]
        shape = (len(tokens), policy.config.chunk_size, policy.config.max_action_dim)
        model.denoise_step = note  # hides the method
        try:
            noise = torch.zeros(shape, device=tokens.device)
            model.sample_actions(*self.inputs(policy, batch), noise=noise, num_steps=1)
        except (TypeError, AttributeError) as error:
            raise compat.not_together(self.label, error) from error
        finally:
            del model.denoise_step
        return Prefix(given["prefix_pad_masks"], given["past_key_values"], given.get("state"))


def _patched() -> bool:
    try:
        from transformers.models.siglip import check
    except ImportError:
        return False
    return bool(check.check_whether_transformers_replace_is_installed_correctly())
