"""All that the package knows of LeRobot: the only module that imports it.

Run with LeRobot 0.4.4 (the last for Python 3.11). The forms of 0.5.0, 0.5.1, 0.6.0, 0.6.1 and
0.6.2 were only read in their sources, never run; where they differ, the code asks what is there
and not which version it is:

====================== ============================ =====================================
what                   0.4.4 to 0.6.0               0.6.1 and 0.6.2
====================== ============================ =====================================
KV cache of the prefix a dict per layer, asked for  a transformers ``DynamicCache``, made
                       with ``fill_kv_cache``       when no cache is passed; appended to in
                                                    place and cropped by each denoising step
config.json            no ``pretrained_revision``   has it (from 0.6.0)
``rtc_config``         no ``mode``                  ``mode``: guided or trained (0.6.2)
====================== ============================ =====================================

Module paths of the names used here, the SmolVLA fields of config.json, the registered name of
each processor step SmolVLA uses and the files of a checkpoint are the same in all of them.
Relative actions (0.5.1 and later) are processor steps that 0.4.4 does not have.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

try:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.rtc.configuration_rtc import RTCConfig
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy, make_att_2d_masks
    from lerobot.processor import ProcessorStepRegistry
except ImportError as error:
    raise ImportError(
        f"SmolVLA needs LeRobot, and it can't be imported here ({error}); "
        "install lerobot[smolvla] 0.4.4 or later into the Python that runs this process"
    ) from error

logger = logging.getLogger(__name__)

STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."
TOKENS = "observation.language.tokens"
TOKEN_MASK = "observation.language.attention_mask"
BACKBONE = "backbone"
"""The folder of a checkpoint in which this package keeps the tokenizer and the VLM's config."""


def lerobot_version() -> str:
    """Return the version of the installed LeRobot."""
    return metadata.version("lerobot")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what LeRobot prints while it builds a model to the log."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        for line in filter(None, map(str.strip, said.getvalue().splitlines())):
            logger.debug("lerobot: %s", line)


# ---------------------------------------------------------------- to make and save a policy


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
    with torch.random.fork_rng(devices=[]), _quiet():
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


def save_checkpoint(
    folder: str | Path,
    policy: SmolVLAPolicy,
    preprocessor: Any,
    postprocessor: Any,
    *,
    backbone: str | Path | None = None,
) -> Path:
    """Write a whole checkpoint folder as LeRobot does, and return it.

    With ``backbone`` (a local folder without weights) its files are put beside the weights, and
    the two places that name it (config and tokenizer step) name that copy, so that the folder
    needs nothing else and holds no path of the machine that trained it.
    """
    folder = Path(folder)
    with _quiet():
        policy.save_pretrained(folder)
        preprocessor.save_pretrained(folder)
        postprocessor.save_pretrained(folder)
    if backbone is None:
        return folder
    if Path(backbone).resolve() != (folder / BACKBONE).resolve():
        shutil.copytree(backbone, folder / BACKBONE, dirs_exist_ok=True)
    _edit_json(folder / "config.json", _set_backbone)
    _edit_json(folder / "policy_preprocessor.json", _set_tokenizer)
    return folder


def _set_backbone(config: dict[str, Any]) -> None:
    config.update(vlm_model_name=BACKBONE, load_vlm_weights=False, pretrained_path=None)


def _set_tokenizer(pipeline: dict[str, Any]) -> None:
    for step in pipeline["steps"]:
        if step.get("registry_name") == "tokenizer_processor":
            step["config"]["tokenizer_name"] = BACKBONE


def _edit_json(path: Path, edit: Any) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content, indent=4) + "\n")
