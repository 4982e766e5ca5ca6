"""What the package knows of LeRobot's policies; no module but ``lerobot_data`` imports it beside.

The tests run with LeRobot 0.4.4 (the last for Python 3.11) and transformers 4.57. Those of this
layer were also run on Python 3.12 with 0.5.0, 0.5.1, 0.6.0, 0.6.1 and the sources after it
(0.6.2), transformers 5, and passed. The code asks what is there and not which version it is:

* The prefix's KV cache is a dictionary per layer, asked for with ``fill_kv_cache``, up to 0.6.0;
  from 0.6.1 a transformers ``DynamicCache``, made where none is passed, appended to in place by
  each denoising step and cropped after it.
* config.json may have ``pretrained_revision`` (0.6.0) and ``rtc_config.mode`` (0.6.2): the first
  is in ``checkpoint``'s list of harmless keys, ``rtc_config`` is not used here at all.
* Relative actions (0.5.1) are steps of the processors, which is why the previous chunk is
  normalised by sending it through the whole preprocessor together with the observation.
* A tokenizer saved by transformers 5 can't be read by 4.57; one saved by 4.57 can by both.
* transformers 4.55 to 4.57 shift the positions of image patches by one in float32, all others
  don't (``image_positions``); ``position_lookup`` gives a policy those of its training.

Module paths of the names imported here, the SmolVLA fields of config.json, the registered names
of the steps that SmolVLA uses and the files of a checkpoint are the same in all of them.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor

from rtc_ros.policy.checkpoint_writer import BACKBONE as BACKBONE
from rtc_ros.policy.checkpoint_writer import quiet
from rtc_ros.policy.checkpoint_writer import save_checkpoint as save_checkpoint

try:
    import draccus  # LeRobot's config parser
    import lerobot.policies.smolvla.processor_smolvla  # noqa: F401  registers SmolVLA's steps
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import (
        SmolVLAPolicy,
        create_sinusoidal_pos_embedding,
        make_att_2d_masks,
    )
    from lerobot.processor import ProcessorStepRegistry
except ImportError as error:
    raise ImportError(
        f"SmolVLA needs LeRobot, and it can't be imported here ({error}); "
        "install lerobot[smolvla] 0.4.4 or later into the Python that runs this process"
    ) from error

STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."
TOKENS = "observation.language.tokens"
TOKEN_MASK = "observation.language.attention_mask"


def lerobot_version() -> str:
    """Return the version of the installed LeRobot."""
    return metadata.version("lerobot")


# ---------------------------------------------------------------- to make a policy


def make_config(
    *,
    backbone: str | Path,
    chunk_size: int,
    action_dim: int,
    state_dim: int,
    image_features: Mapping[str, tuple[int, int]],
    image_size: int,
    normalization: str = "MEAN_STD",
    **fields: Any,
) -> SmolVLAConfig:
    """Return a SmolVLA config for joints and cameras.

    Args:
        backbone: folder (or hub name) of the VLM's config and tokenizer.
        chunk_size: H [steps].
        action_dim: A, real action dimensions (LeRobot pads them to ``max_action_dim``).
        state_dim: length of ``observation.state``.
        image_features: (height, width) [px] of each camera, by name (``observation.images.top``).
        image_size: side of the square the VLM sees [px]; images are resized and padded to it.
        normalization: of state and action, a name of LeRobot's NormalizationMode.
        fields: any other field of LeRobot's SmolVLAConfig.
    """
    mode = NormalizationMode(normalization)
    inputs = {STATE: PolicyFeature(type=FeatureType.STATE, shape=(state_dim,))}
    for name, (height, width) in image_features.items():
        inputs[name] = PolicyFeature(type=FeatureType.VISUAL, shape=(3, height, width))
    defaults: dict[str, Any] = {
        "n_action_steps": chunk_size,
        "load_vlm_weights": False,
        "device": "cpu",
        "push_to_hub": False,
        "normalization_mapping": {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": mode,
            "ACTION": mode,
        },
    }
    return SmolVLAConfig(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(action_dim,))},
        chunk_size=chunk_size,
        resize_imgs_with_padding=(image_size, image_size),
        vlm_model_name=str(backbone),
        **{**defaults, **fields},
    )


def build_policy(config: SmolVLAConfig, seed: int | None = None) -> SmolVLAPolicy:
    """Return a policy of the config with new weights; the same ones for the same ``seed``."""
    with torch.random.fork_rng(devices=[]), quiet():
        if seed is not None:
            torch.manual_seed(seed)
        return SmolVLAPolicy(config)


def make_processors(
    config: SmolVLAConfig, stats: Mapping[str, Mapping[str, Any]]
) -> tuple[Any, Any]:
    """Return LeRobot's (preprocessor, postprocessor) for a new policy.

    ``stats`` are the data set's: {"observation.state": {"mean": float[S], "std": …}, "action":
    {…}}, with the entries the config's normalisation needs.
    """
    tensors = {
        feature: {name: torch.as_tensor(value) for name, value in values.items()}
        for feature, values in stats.items()
    }
    return make_pre_post_processors(config, dataset_stats=tensors)


# ---------------------------------------------------------------------- to load a checkpoint


def known_fields() -> frozenset[str]:
    """Return the keys of config.json that this LeRobot knows."""
    return frozenset(field.name for field in dataclasses.fields(SmolVLAConfig) if field.init)


def known_steps() -> frozenset[str]:
    """Return the registered names of this LeRobot's processor steps."""
    return frozenset(ProcessorStepRegistry.list())


def decode_config(fields: Mapping[str, Any], *, backbone: Path, device: str) -> SmolVLAConfig:
    """Return LeRobot's config of a config.json's fields, on a local backbone and a device.

    Weights come from the checkpoint alone, compilation and guidance are not LeRobot's business.

    Raises:
        ValueError: LeRobot refuses the fields.
    """
    own = {
        "vlm_model_name": str(backbone),
        "load_vlm_weights": False,
        "device": device,
        "compile_model": False,
        "rtc_config": None,
    }
    try:
        return draccus.decode(SmolVLAConfig, {**fields, **own})
    except (draccus.utils.DraccusException, NotImplementedError, TypeError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""  # draccus hides it
        raise ValueError(f"it refuses the config: {error}{cause}") from error


def tensor_shapes(
    policy: SmolVLAPolicy,
) -> tuple[dict[str, tuple[int, ...]], dict[str, list[str]]]:
    """Return the shape of each tensor of the policy, and all names of each tied one."""
    shapes: dict[str, tuple[int, ...]] = {}
    same: dict[Any, list[str]] = {}
    for name, tensor in policy.state_dict().items():
        shapes[name] = tuple(tensor.shape)
        same.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    return shapes, {name: names for names in same.values() if len(names) > 1 for name in names}


def pin_dtypes(policy: SmolVLAPolicy, dtype: torch.dtype) -> None:
    """Put both transformers in ``dtype`` and the projections around them in float32.

    LeRobot's code asks for just that (it upcasts before ``action_out_proj``). Unpinned, parts
    built from a backbone's config would keep the dtype that config names, others float32.
    """
    policy.to(torch.float32)
    policy.model.vlm_with_expert.to(dtype)


def transformer_dtype(policy: SmolVLAPolicy) -> torch.dtype:
    """Return what ``pin_dtypes`` put the transformers in."""
    return policy.model.vlm_with_expert.lm_expert.layers[0].self_attn.q_proj.weight.dtype


def load_weights(policy: SmolVLAPolicy, file: Path) -> None:
    """Copy the weights of a safetensors file into the policy, in the policy's dtypes."""
    load_model(policy, file, strict=False)


def load_processors(
    folder: Path, config: SmolVLAConfig, *, backbone: Path, device: str
) -> tuple[Any, Any]:
    """Return LeRobot's (preprocessor, postprocessor) of a checkpoint folder.

    The tokenizer comes from the backbone and tensors go to ``device``, whatever the files say.
    """
    return make_pre_post_processors(
        config,
        pretrained_path=str(folder),
        preprocessor_overrides={
            "tokenizer_processor": {"tokenizer_name": str(backbone)},
            "device_processor": {"device": device},
        },
        postprocessor_overrides={"device_processor": {"device": "cpu"}},
    )


# ------------------------------------------------------------------------ to run a policy


@dataclasses.dataclass(frozen=True)
class Prefix:
    """Images, language and state as the expert sees them: keys and values of each layer."""

    pad_masks: Tensor
    cache: Any


def images_and_state(
    policy: SmolVLAPolicy, batch: dict[str, Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Return the images that are there, as the VLM takes them, and the padded state.

    LeRobot adds blank images for cameras that aren't there, behind those that are, and hides them.
    """
    batch = policy._prepare_batch({**batch, STATE: batch[STATE].clone()})
    present = sum(name in batch for name in policy.config.image_features)
    images, _ = policy.prepare_images(batch)
    return images[:present], policy.prepare_state(batch)


def encode_prefix(policy: SmolVLAPolicy, batch: dict[str, Tensor]) -> Prefix:
    """Run the VLM over a preprocessed batch, once per chunk (as LeRobot's sample_actions)."""
    model = policy.model
    # A copy: LeRobot changes the state in place where it adapts to pi's Aloha.
    batch = {**batch, STATE: batch[STATE].clone()}
    batch = policy._prepare_batch(batch)
    images, image_masks = policy.prepare_images(batch)
    embeddings, pad_masks, attention = model.embed_prefix(
        images, image_masks, batch[TOKENS], batch[TOKEN_MASK], state=policy.prepare_state(batch)
    )
    forward = model.vlm_with_expert.forward
    _, cache = forward(
        attention_mask=make_att_2d_masks(pad_masks, attention),
        position_ids=torch.cumsum(pad_masks, dim=1) - 1,
        past_key_values=None,
        inputs_embeds=[embeddings, None],
        use_cache=True,
        **_fill_cache(forward),
    )
    return Prefix(pad_masks, cache)


def _fill_cache(forward: Callable[..., Any]) -> dict[str, bool]:
    """Ask for a cache where LeRobot (up to 0.6.0) wants to be asked."""
    return (
        {"fill_kv_cache": True} if "fill_kv_cache" in inspect.signature(forward).parameters else {}
    )


def denoise(policy: SmolVLAPolicy, prefix: Prefix, actions: Tensor, time: Tensor) -> Tensor:
    """Return LeRobot's velocity [B, H, max_action_dim] at its time [B] (1 noise, 0 actions)."""
    return policy.model.denoise_step(
        prefix_pad_masks=prefix.pad_masks,
        past_key_values=_step_cache(prefix.cache),
        x_t=actions,
        timestep=time,
    )


def time_embedding(policy: SmolVLAPolicy, times: Tensor) -> Tensor:
    """Return LeRobot's embedding [n, expert's width] of its times float32[n], as float32."""
    model, config = policy.model, policy.config
    weight = model.action_in_proj.weight
    embedding = create_sinusoidal_pos_embedding(
        times.to(weight.device),
        weight.shape[0],
        config.min_period,
        config.max_period,
        device=weight.device,
    )
    return embedding.to(weight.dtype)


def _step_cache(cache: Any) -> Any:
    """Return a cache that one denoising step may append to, sharing the prefix's tensors.

    A DynamicCache's layers bind new tensors when they are appended to. On the shared one the
    graph of each step, needed for its vector-Jacobian product, would stay in the cache.
    """
    if isinstance(cache, dict):
        return cache
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    return own


def to_policy_actions(policy: SmolVLAPolicy, actions: Tensor) -> Tensor:
    """Turn the model's actions [B, H, A] into those its postprocessor takes."""
    return policy._pi_aloha_encode_actions(actions.clone()) if _aloha(policy) else actions


def to_model_actions(policy: SmolVLAPolicy, actions: Tensor) -> Tensor:
    """Turn preprocessed actions [B, R, A] into the model's own."""
    return policy._pi_aloha_encode_actions_inv(actions.clone()) if _aloha(policy) else actions


def _aloha(policy: SmolVLAPolicy) -> bool:
    return bool(policy.config.adapt_to_pi_aloha)


def repeat_prefix(prefix: Prefix, times: int) -> Prefix:
    """Return a prefix with each row ``times`` times in a row, to train on several noises each."""
    if isinstance(prefix.cache, dict):
        cache = {
            layer: {name: value.repeat_interleave(times, dim=0) for name, value in entry.items()}
            for layer, entry in prefix.cache.items()
        }
    else:
        cache = _step_cache(prefix.cache)
        cache.batch_repeat_interleave(times)
    return Prefix(prefix.pad_masks.repeat_interleave(times, dim=0), cache)


def prefix_bytes(prefix: Prefix) -> int:
    """Return what the keys and values of a prefix take [bytes]."""
    if isinstance(prefix.cache, dict):
        tensors = [t for entry in prefix.cache.values() for t in entry.values()]
    else:
        tensors = [t for layer in prefix.cache.layers for t in (layer.keys, layer.values)]
    return sum(t.numel() * t.element_size() for t in tensors)


# -------------------------------------------------------------------- LeRobot's own guidance


def rtc_processor(*, beta: float, mask_end: int) -> Any:
    """Return LeRobot's guidance with the mask of the paper: clip β, its end at row H − s."""
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig
    from lerobot.policies.rtc.modeling_rtc import RTCProcessor

    return RTCProcessor(
        RTCConfig(
            enabled=True,
            prefix_attention_schedule=RTCAttentionSchedule.EXP,
            max_guidance_weight=beta,
            execution_horizon=mask_end,
        )
    )


@contextmanager
def rtc_enabled(policy: SmolVLAPolicy, processor: Any) -> Iterator[None]:
    """Let LeRobot's sampling be guided by a ``rtc_processor`` within the block."""
    policy.config.rtc_config = processor.rtc_config
    policy.model.rtc_processor = processor
    try:
        yield
    finally:
        policy.config.rtc_config = policy.model.rtc_processor = None
