"""What LeRobot's flow policies have in common: their names, config, processors and weights.

What only one of them has is in ``families``. The tests run with LeRobot 0.4.4 (the last for
Python 3.11) and transformers 4.57. Those of this layer were also run on Python 3.12 with 0.5.0,
0.5.1, 0.6.0, 0.6.1 and the sources after it (0.6.2), transformers 5, and passed. The code asks
what is there and not which version it is:

* config.json may have ``pretrained_revision`` (0.6.0) and ``rtc_config.mode`` (0.6.2): the first
  is in ``checkpoint``'s list of harmless keys, ``rtc_config`` is not used here at all.
* Relative actions (0.5.1) are steps of the processors, which is why the previous chunk is
  normalised by sending it through the whole preprocessor together with the observation.
* A tokenizer saved by transformers 5 can't be read by 4.57; one saved by 4.57 can by both.

Module paths of the names imported here, the fields of config.json, the registered names of the
steps and the files of a checkpoint are the same in all of them.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rtc_ros.policy.checkpoint_writer import BACKBONE as BACKBONE
from rtc_ros.policy.checkpoint_writer import quiet
from rtc_ros.policy.checkpoint_writer import save_checkpoint as save_checkpoint

try:
    import draccus  # LeRobot's config parser
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.processor import ProcessorStepRegistry
except ImportError as error:
    raise ImportError(
        f"flow policies need LeRobot, and it can't be imported here ({error}); install "
        "lerobot[smolvla] 0.4.4 or later (for pi0 and pi05 0.5 or later) into the Python that "
        "runs this process"
    ) from error

STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."
TOKENS = "observation.language.tokens"
TOKEN_MASK = "observation.language.attention_mask"


def lerobot_version() -> str:
    """Return the version of the installed LeRobot."""
    return metadata.version("lerobot")


def take_cache_position() -> None:
    """Let LeRobot's Gemma call ``create_causal_mask`` as up to 0.6.1 it does, in a later form.

    It gives a ``cache_position``, which transformers 5.4 didn't look at any more ("kept for BC")
    and 5.17 doesn't take.
    """
    from lerobot.policies import pi_gemma

    own = pi_gemma.create_causal_mask
    taken = inspect.signature(own).parameters.values()
    if not any(p.name == "cache_position" or p.kind is p.VAR_KEYWORD for p in taken):
        pi_gemma.create_causal_mask = lambda *words, cache_position=None, **more: own(
            *words, **more
        )


def not_together(label: str, error: Exception) -> RuntimeError:
    """Return what to say where LeRobot's code stumbles over the installed transformers."""
    asked = [line.split(";")[0] for line in metadata.requires("lerobot") or ()]
    wants = next((line for line in asked if line.startswith("transformers")), "transformers")
    return RuntimeError(
        f"LeRobot {lerobot_version()} can't run {label} on transformers "
        f"{metadata.version('transformers')} ({' '.join(str(error).split())}): it asks for "
        f"{wants.strip()}; install that beside it"
    )


# ---------------------------------------------------------------- to make a policy


def make_config(
    kind: Any,
    *,
    chunk_size: int,
    action_dim: int,
    state_dim: int,
    image_features: Mapping[str, tuple[int, int]],
    normalization: str = "MEAN_STD",
    **fields: Any,
) -> Any:
    """Return a LeRobot policy config for joints and cameras.

    Args:
        kind: its class; see ``families.Family.config_class``.
        chunk_size: H [steps].
        action_dim: A, real action dimensions (LeRobot pads them to ``max_action_dim``).
        state_dim: length of ``observation.state``.
        image_features: (height, width) [px] of each camera, by name (``observation.images.top``).
        normalization: of state and action, a name of LeRobot's NormalizationMode.
        fields: any other field of the config.
    """
    mode = NormalizationMode(normalization)
    inputs = {STATE: PolicyFeature(type=FeatureType.STATE, shape=(state_dim,))}
    for name, (height, width) in image_features.items():
        inputs[name] = PolicyFeature(type=FeatureType.VISUAL, shape=(3, height, width))
    defaults: dict[str, Any] = {
        "n_action_steps": chunk_size,
        "device": "cpu",
        "push_to_hub": False,
        "normalization_mapping": {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": mode,
            "ACTION": mode,
        },
    }
    return kind(
        input_features=inputs,
        output_features={ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(action_dim,))},
        chunk_size=chunk_size,
        **{**defaults, **fields},
    )


def build_policy(kind: Any, config: Any, seed: int | None = None) -> Any:
    """Return a policy of class ``kind`` with new weights; the same ones for the same ``seed``."""
    with torch.random.fork_rng(devices=[]), quiet():
        if seed is not None:
            torch.manual_seed(seed)
        return kind(config)


def make_processors(config: Any, stats: Mapping[str, Mapping[str, Any]]) -> tuple[Any, Any]:
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


def known_fields(kind: Any) -> frozenset[str]:
    """Return the keys of config.json that this LeRobot's config class knows."""
    return frozenset(field.name for field in dataclasses.fields(kind) if field.init)


def known_steps() -> frozenset[str]:
    """Return the registered names of this LeRobot's processor steps, as far as imported."""
    return frozenset(ProcessorStepRegistry.list())


def decode_config(kind: Any, fields: Mapping[str, Any]) -> Any:
    """Return LeRobot's config of a config.json's fields, without ``type``.

    Raises:
        ValueError: LeRobot refuses the fields.
    """
    try:
        return draccus.decode(kind, dict(fields))
    except (draccus.utils.DraccusException, NotImplementedError, TypeError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""  # draccus hides it
        raise ValueError(f"it refuses the config: {error}{cause}") from error


def tensor_shapes(policy: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, list[str]]]:
    """Return the shape of each tensor of the policy, and all names of each tied one."""
    shapes: dict[str, tuple[int, ...]] = {}
    same: dict[Any, list[str]] = {}
    for name, tensor in policy.state_dict().items():
        shapes[name] = tuple(tensor.shape)
        same.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    return shapes, {name: names for names in same.values() if len(names) > 1 for name in names}


def load_processors(
    folder: Path, config: Any, *, backbone: Path | None, device: str
) -> tuple[Any, Any]:
    """Return LeRobot's (preprocessor, postprocessor) of a checkpoint folder.

    The tokenizer comes from the backbone, where there is one, and tensors go to ``device``,
    whatever the files say. What fails in a step raises RuntimeError, which names the step.
    """
    pre, post = make_pre_post_processors(
        config,
        pretrained_path=str(folder),
        preprocessor_overrides={
            "device_processor": {"device": device},
            **({"tokenizer_processor": {"tokenizer_name": str(backbone)}} if backbone else {}),
        },
        postprocessor_overrides={"device_processor": {"device": "cpu"}},
    )
    _name_steps(pre, "preprocessor")
    _name_steps(post, "postprocessor")
    return pre, post


def _name_steps(pipeline: Any, what: str) -> None:
    """Let a pipeline of LeRobot's say in which of its steps something failed."""
    forward, begun = pipeline._forward, [0]

    def named(transition: Any) -> Any:
        try:
            return forward(transition)
        except Exception as error:  # steps raise whatever they like
            step = type(pipeline.steps[begun[0]]).__name__
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise RuntimeError(f"the {what}'s step {step} failed: {words}") from error

    pipeline.before_step_hooks.append(lambda at, _: begun.__setitem__(0, at))
    pipeline._forward = named  # hides the method
