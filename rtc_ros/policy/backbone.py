"""Finds the folder with a policy's tokenizer (and its VLM's config), on this machine only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rtc_ros.policy.checkpoint_files import CheckpointError, refuse_pointer


@dataclass(frozen=True)
class Needs:
    """Files that the folder must have: of each row one, what transformers reads differs.

    ``what`` says what they are.
    """

    files: tuple[tuple[str, ...], ...]
    what: str


_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
VLM = Needs(
    (("config.json",), _TOKENIZER, ("processor_config.json", "preprocessor_config.json")),
    "the VLM's config, tokenizer and processor files",
)
TOKENIZER_ONLY = Needs(
    (_TOKENIZER, ("tokenizer.json", "tokenizer.model")), "the tokenizer's files"
)


def find_backbone(
    checkpoint: Path, vlm_model_name: str, given: str | Path | None = None, needs: Needs = VLM
) -> Path:
    """Return the backbone's folder: all that ``needs`` names, no weights.

    It is looked for in this order: ``given``; ``backbone/`` in the checkpoint; the folder that
    the checkpoint's ``vlm_model_name`` names (from the checkpoint, then from here); that name
    in the local Hugging Face cache. The hub is never asked.

    Raises:
        CheckpointError: there is none, or files are missing; the message says what to do.
    """
    if given is not None:
        return _complete(Path(given).expanduser(), needs)
    places = [checkpoint / "backbone"]
    if vlm_model_name:
        places += [checkpoint / vlm_model_name, Path(vlm_model_name).expanduser()]
    for folder in places:
        if folder.is_dir():
            return _complete(folder, needs)
    try:
        cached = [try_to_load_from_cache(vlm_model_name, name) for name in needs.files[0]]
    except ValueError:  # not a name the hub could have: a path that is not there
        cached = []
    for file in cached:
        if isinstance(file, str):
            return _complete(Path(file).parent, needs)
    raise CheckpointError(
        f"the backbone {vlm_model_name!r} of {checkpoint} is not on this machine, and nothing is "
        f"downloaded while a robot waits: fetch it once with `hf download {vlm_model_name} "
        f"--include '*.json' '*.txt' '*.model'`, or copy {needs.what} to {checkpoint / 'backbone'}"
    )


def _complete(folder: Path, needs: Needs) -> Path:
    """Return ``folder`` if it has all that ``needs`` names."""
    missing = [
        " or ".join(names)
        for names in needs.files
        if not any((folder / name).is_file() for name in names)
    ]
    if missing:
        raise CheckpointError(
            f"the backbone folder {folder} has no {', no '.join(missing)}; it needs "
            f"{needs.what} (weights are not needed)"
        )
    for file in (*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model")):
        refuse_pointer(file)
    return folder
