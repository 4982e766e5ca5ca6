"""Writes a whole checkpoint folder as LeRobot does, with its backbone in it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from rtc_ros.policy.checkpoint_files import CONFIG, WEIGHTS, read_json
from rtc_ros.policy.image_positions import TRAINED_WITH
from rtc_ros.policy.position_lookup import measured
from rtc_ros.policy.trained_delay import MAX_DELAY

logger = logging.getLogger(__name__)

_OWN = (WEIGHTS, TRAINED_WITH, "training.json", "finetune.json", "train_config.json")
BACKBONE = "backbone"
"""The folder of a checkpoint in which this package keeps the tokenizer and the VLM's config."""


def save_checkpoint(
    folder: str | Path,
    policy: Any,
    preprocessor: Any,
    postprocessor: Any,
    *,
    backbone: str | Path | None = None,
    image_positions: str | None = None,
    trained_delay: int = 0,
) -> Path:
    """Write a whole checkpoint folder as LeRobot does, and return it.

    With ``backbone`` (a local folder) its files, weights apart, are put beside the weights, and
    the two places that name it (config and tokenizer step) name that copy, so that the folder
    needs nothing else and holds no path of the machine that trained it.

    ``image_positions`` are those of its training, "right" or "shifted"; None: those that
    ``policy`` sees now. ``trained_delay`` is d up to which it was trained to go on from given
    rows. ``trained_with.json`` keeps both.
    """
    folder = Path(folder)
    with quiet():
        policy.save_pretrained(folder)
        preprocessor.save_pretrained(folder)
        postprocessor.save_pretrained(folder)
    _write_record(folder, image_positions or measured(policy), trained_delay)
    if backbone is None:
        return folder
    if Path(backbone).resolve() != (folder / BACKBONE).resolve():
        weights = shutil.ignore_patterns("*.safetensors", "*.bin", "*.pt", "*.onnx*")
        shutil.copytree(backbone, folder / BACKBONE, dirs_exist_ok=True, ignore=weights)
    _edit_json(folder / "config.json", _set_backbone)
    _edit_json(folder / "policy_preprocessor.json", _set_tokenizer)
    return folder


def save_finetuned(folder: Path, source: Path, policy: Any, trained_delay: int) -> Path:
    """Write the checkpoint ``source`` with the weights of ``policy``, and return the folder.

    All its other files stay as they are, and each weight keeps its name and its precision there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*"):
        if file.suffix in (".json", ".safetensors") and file.name not in _OWN:
            shutil.copy2(file, folder)
    if (source / BACKBONE).is_dir():
        shutil.copytree(source / BACKBONE, folder / BACKBONE, dirs_exist_ok=True)
    own = policy.state_dict()
    with safe_open(source / WEIGHTS, framework="pt") as stored:
        weights = {
            name: own[name].detach().cpu().to(stored.get_slice(name)[:].dtype).clone()
            if name in own
            else stored.get_tensor(name)
            for name in stored.keys()  # noqa: SIM118
        }
    save_file(weights, folder / f"{WEIGHTS}.part", metadata={"format": "pt"})
    os.replace(folder / f"{WEIGHTS}.part", folder / WEIGHTS)
    kept = read_json(source / TRAINED_WITH) if (source / TRAINED_WITH).is_file() else {}
    positions = measured(policy)
    if positions is not None:
        kept["image_positions"] = positions
    kept[MAX_DELAY] = trained_delay
    (folder / TRAINED_WITH).write_text(json.dumps(kept, indent=4) + "\n", encoding="utf-8")
    config = read_json(folder / CONFIG)
    if MAX_DELAY in config:
        config[MAX_DELAY] = trained_delay
        (folder / CONFIG).write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
    return folder


def _write_record(folder: Path, image_positions: str | None, trained_delay: int) -> None:
    versions = {name: metadata.version(name) for name in ("lerobot", "transformers")}
    record: dict[str, str | int] = {**versions}
    if trained_delay:
        record[MAX_DELAY] = trained_delay
    if image_positions is not None:
        record["image_positions"] = image_positions
    (folder / TRAINED_WITH).write_text(json.dumps(record, indent=4) + "\n", encoding="utf-8")


def _set_backbone(config: dict[str, Any]) -> None:
    config["pretrained_path"] = None
    if "vlm_model_name" in config:
        config.update(vlm_model_name=BACKBONE, load_vlm_weights=False)


def _set_tokenizer(pipeline: dict[str, Any]) -> None:
    for step in pipeline["steps"]:
        if step.get("registry_name") == "tokenizer_processor":
            step["config"]["tokenizer_name"] = BACKBONE


def _edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content, indent=4) + "\n")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what LeRobot prints while it builds a model to the log."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        for line in filter(None, map(str.strip, said.getvalue().splitlines())):
            logger.debug("lerobot: %s", line)
