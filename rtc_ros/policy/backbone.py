"""Finds the folder with the VLM's config and tokenizer, on this machine only."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from rtc_ros.policy.checkpoint_files import CheckpointError, refuse_pointer

# Any one of each row is enough: what transformers reads differs with its version.
_NEEDED = (
    ("config.json",),
    ("tokenizer.json", "tokenizer_config.json"),
    ("processor_config.json", "preprocessor_config.json"),
)


def find_backbone(checkpoint: Path, vlm_model_name: str, given: str | Path | None = None) -> Path:
    """Return the backbone's folder: the VLM's config, tokenizer and processor, no weights.

    It is looked for in this order: ``given``; ``backbone/`` in the checkpoint; the folder that
    the checkpoint's ``vlm_model_name`` names (from the checkpoint, then from here); that name
    in the local Hugging Face cache. The hub is never asked.

    Raises:
        CheckpointError: there is none, or files are missing; the message says what to do.
    """
    if given is not None:
        return _complete(Path(given).expanduser())
    places = [checkpoint / "backbone"]
    if vlm_model_name:
        places += [checkpoint / vlm_model_name, Path(vlm_model_name).expanduser()]
    for folder in places:
        if folder.is_dir():
            return _complete(folder)
    try:
        cached = try_to_load_from_cache(vlm_model_name, "config.json")
    except ValueError:  # not a name the hub could have: a path that is not there
        cached = None
    if isinstance(cached, str):
        return _complete(Path(cached).parent)
    raise CheckpointError(
        f"the backbone {vlm_model_name!r} of {checkpoint} is not on this machine, and nothing is "
        f"downloaded while a robot waits: fetch it once with `hf download {vlm_model_name} "
        f"--include '*.json' '*.txt'`, or copy its config and tokenizer files to "
        f"{checkpoint / 'backbone'}"
    )


def _complete(folder: Path) -> Path:
    """Return ``folder`` if it has all that the tokenizer and the model's shape need."""
    missing = [
        " or ".join(names)
        for names in _NEEDED
        if not any((folder / name).is_file() for name in names)
    ]
    if missing:
        raise CheckpointError(
            f"the backbone folder {folder} has no {', no '.join(missing)}; it needs the VLM's "
            "config, tokenizer and processor files (weights are not needed)"
        )
    for file in (*folder.glob("*.json"), *folder.glob("*.txt")):
        refuse_pointer(file)
    return folder
