"""A policy sees each patch of its images where its training did, under any transformers."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot_chunks import CHUNKS, TASK, noise, picture, state
from reference import Reference, observe
from safetensors.torch import load_file, save_file

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy import position_lookup
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError, checkpoint_path
from rtc_ros.policy.image_positions import RIGHT, SHIFTED, by_version
from rtc_ros.policy.protocol import Observation

SHIPPED = checkpoint_path("package:aloha_cube")
OTHER = {RIGHT: SHIFTED, SHIFTED: RIGHT}


def edit(file: Path, **values: object) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    content = {k: v for k, v in (content | values).items() if v is not ...}
    file.write_text(json.dumps(content))


def record(folder: Path, positions: str) -> Path:
    edit(folder / "trained_with.json", image_positions=positions)
    return folder


@pytest.fixture
def untold(broken: Path) -> Path:
    """A checkpoint that doesn't tell what trained it."""
    (broken / "trained_with.json").unlink()
    edit(broken / "config.json", pretrained_revision=...)
    edit(broken / "backbone" / "config.json", transformers_version=...)
    return broken


def load(folder: Path, **options: object) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1, **options)


def made(folder: Path, **options: object) -> np.ndarray:
    """The chunk of the fixed observation and noise."""
    adapter = load(folder, **options)
    adapter.noise = lambda seed=None, count=1: noise()
    adapter.warm_up(TASK)
    seen = Observation(state(), {"observation.images.top": picture()}, TASK)
    return adapter.infer(seen, None).actions


# -------------------------------------------------------------------- what is looked up


@pytest.mark.parametrize(("side", "rows", "columns"), [(8, 8, 8), (32, 32, 32), (32, 16, 20)])
def test_the_positions_are_those_of_transformers_to_the_bit(side, rows, columns):
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
    from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionEmbeddings

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    config = SmolVLMVisionConfig(num_hidden_layers=1, image_size=4 * side, patch_size=4, **sizes)
    embeddings = SmolVLMVisionEmbeddings(config)
    seen = []
    embeddings.position_embedding.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    blank = torch.zeros(2, 3, 4 * rows, 4 * columns)
    embeddings(blank, torch.ones(2, rows, columns, dtype=torch.bool))
    import transformers

    native = by_version(transformers.__version__)
    ours = position_lookup.patch_positions(rows, columns, side, native)
    assert torch.equal(seen[0], ours.expand(2, -1))


def test_shifted_is_the_upper_left_neighbour_and_right_is_itself():
    right, shifted = (
        position_lookup.patch_positions(32, 32, 32, p).view(32, 32) for p in (RIGHT, SHIFTED)
    )
    assert torch.equal(right, torch.arange(1024).view(32, 32))
    assert torch.equal(shifted[1:, 1:], right[:-1, :-1])
    assert torch.equal(shifted[0], shifted[1]) and torch.equal(shifted[:, 0], shifted[:, 1])
    assert int((shifted == right).sum()) == 1


# ------------------------------------------------------------------ both ways, both lines


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("positions", [RIGHT, SHIFTED])
def test_chunks_are_those_of_the_other_line_s_lerobot(positions, fast):
    """chunks/ holds what LeRobot 0.4.4 and 0.6.1 themselves make of the shipped policy."""
    theirs = {name: np.load(CHUNKS / f"{name}.npy") for name in (RIGHT, SHIFTED)}
    ours = made(SHIPPED, image_positions=positions, fast=fast)
    assert np.abs(ours - theirs[positions]).max() < 2e-5
    assert np.abs(ours - theirs[OTHER[positions]]).max() > 0.1


def test_the_shipped_policy_sees_its_training_s_pictures_under_any_line():
    assert read_checkpoint(SHIPPED).positions.needed == SHIFTED
    assert np.abs(made(SHIPPED) - np.load(CHUNKS / "shifted.npy")).max() < 2e-5


def test_a_table_that_is_gathered_gives_the_same_bits(broken):
    """What the issue shows for transformers 5, here for each line: look-up against gathering."""
    native = position_lookup.measured(load(broken, image_positions="auto")._policy)
    if native == SHIFTED:
        pytest.skip("under 4.57 a right table can't be gathered: two of its rows are never asked")
    wanted = load(record(broken, SHIFTED))
    seen = observe(wanted.spec)
    weights = load_file(broken / "model.safetensors")
    (name,) = [n for n in weights if n.endswith("embeddings.position_embedding.weight")]
    ids = position_lookup.patch_positions(4, 4, 4, SHIFTED)
    weights[name] = weights[name][ids].clone()
    save_file(weights, broken / "model.safetensors")
    gathered = load(record(broken, RIGHT))
    chunks = [a.infer(seen, None, seed=3).actions for a in (wanted, gathered)]
    assert np.array_equal(*chunks)


@pytest.mark.parametrize("positions", [RIGHT, SHIFTED])
def test_the_fast_path_is_held_against_lerobot_with_the_same_positions(
    broken, positions, caplog
):
    adapter = load(record(broken, positions))
    with caplog.at_level(logging.WARNING):
        adapter.warm_up()
    assert "LeRobot's own code computes" not in caplog.text
    seen = observe(adapter.spec)
    slow = load(broken, fast=False)
    chunks = [a.infer(seen, None, seed=3).actions for a in (adapter, slow)]
    assert np.abs(chunks[0] - chunks[1]).max() < 1e-4
    other = load(record(broken, OTHER[positions]), fast=False).infer(seen, None, seed=3).actions
    assert np.abs(chunks[1] - other).max() > 10 * np.abs(chunks[0] - chunks[1]).max()


def test_nothing_is_changed_where_this_line_trained_it(checkpoint):
    theirs, adapter = Reference(checkpoint), load(checkpoint, fast=False)
    seen = observe(adapter.spec)
    ours = adapter.infer(seen, None, seed=3).actions
    assert np.allclose(ours, theirs.chunk(seen, adapter.noise(3)), atol=1e-6)
    assert "image positions" not in adapter.spec.description
    assert adapter.spec.image_positions == position_lookup.measured(theirs.policy)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("positions", [RIGHT, SHIFTED])
def test_the_precision_that_is_computed_in_changes_no_position(checkpoint, dtype, positions):
    adapter = load(checkpoint, dtype=dtype, image_positions=positions)
    assert position_lookup.measured(adapter._policy) == positions
    assert adapter.spec.image_positions == positions


def test_the_weights_stay_as_they_are(broken, checkpoint):
    for positions in (RIGHT, SHIFTED):
        ours = load(record(broken, positions))._policy.state_dict()
        stored = load_file(checkpoint / "model.safetensors")
        assert all(torch.equal(ours[name], stored[name]) for name in stored)


def test_a_word_that_is_none_is_refused(checkpoint):
    with pytest.raises(ValueError, match="image_positions is 'left'.*auto, right, shifted"):
        load(checkpoint, image_positions="left")


# ------------------------------------------------------------------ which one is needed


def half(folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if "vision_model" in name:
            weights[name] = weights[name].to(dtype)
    save_file(weights, folder / "model.safetensors")


TRAINING = {  # keys of train_config.json, as LeRobot wrote them
    "0.3.3": ("dataset", "policy", "steps"),
    "0.4.2": ("dataset", "policy", "steps", "rename_map", "checkpoint_path"),
    "0.4.4": ("dataset", "policy", "steps", "rename_map", "checkpoint_path", "peft", "use_rabc"),
    "0.5.1": ("policy", "steps", "rename_map", "peft", "use_rabc", "cudnn_deterministic"),
    "0.6.1": ("policy", "steps", "rename_map", "peft", "cudnn_deterministic", "job"),
}


@pytest.mark.parametrize(
    ("version", "needed", "because"),
    [
        ("0.3.3", RIGHT, "before 0.4"),
        ("0.4.2", None, "4.53 to 4.57: probably shifted"),
        ("0.4.4", SHIFTED, "4.57"),
        ("0.5.1", RIGHT, "0.5 or later"),
        ("0.6.1", RIGHT, "0.5 or later"),
    ],
)
def test_lerobot_s_training_config_tells(untold, version, needed, because):
    edit(untold / "train_config.json", **dict.fromkeys(TRAINING[version]))
    found = read_checkpoint(untold).positions
    assert found.needed == needed and because in found.because


@pytest.mark.parametrize(
    ("version", "needed"),
    [
        ("4.47.1", None),
        ("4.50.3", RIGHT),
        ("4.54.1", RIGHT),
        ("4.55.0.dev0", None),
        ("4.55.0", SHIFTED),
        ("4.57.6", SHIFTED),
        ("4.58.0", SHIFTED),
        ("5.0.0.dev0", None),
        ("5.0.0rc1", RIGHT),
        ("5.5.4", RIGHT),
        ("6.0.0", RIGHT),
        ("none", None),
    ],
)
def test_the_version_that_wrote_the_backbone_tells(untold, version, needed):
    """4.47 had no SmolVLM2 and trained nothing: the published backbone says it of itself."""
    edit(untold / "backbone" / "config.json", transformers_version=version)
    assert read_checkpoint(untold).positions.needed == needed


def test_a_config_of_lerobot_0_6_tells_and_so_does_a_saved_tokenizer(untold):
    before = (untold / "config.json").read_text()
    edit(untold / "config.json", pretrained_revision=None)
    assert read_checkpoint(untold).positions.needed == RIGHT
    (untold / "config.json").write_text(before)
    pipeline = json.loads((untold / "policy_preprocessor.json").read_text())
    pipeline["steps"][3]["artifacts"] = {"tokenizer_name": "tokenizer"}
    (untold / "policy_preprocessor.json").write_text(json.dumps(pipeline))
    assert read_checkpoint(untold).positions.needed == RIGHT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_right_whatever_trained_them(untold, dtype):
    """As LeRobot's own fine-tunes: their VLM is bfloat16, in which no version shifts."""
    edit(untold / "train_config.json", **dict.fromkeys(TRAINING["0.4.4"]))
    half(untold, dtype)
    found = read_checkpoint(untold).positions
    assert found.needed == RIGHT and "float16" in found.because
    own = Reference(untold).policy  # LeRobot itself, computing in the stored precision
    own.model.vlm_with_expert.to(dtype)
    assert position_lookup.measured(own) == RIGHT
    assert load(untold, dtype="float32").spec.image_positions == RIGHT


def test_16_bits_with_an_odd_side_are_not_known_to_be_right(untold):
    """4.57 displaces some of 27 patches in bfloat16, and others than in float32."""
    from rtc_ros.policy.image_positions import positions_of

    config = json.loads((untold / "config.json").read_text())
    edit(untold / "train_config.json", **dict.fromkeys(TRAINING["0.4.4"]))
    vision = "model.vlm_with_expert.vlm.model.vision_model.embeddings"
    weights = {
        f"{vision}.position_embedding.weight": ("BF16", (27 * 27, 8)),
        f"{vision}.patch_embedding.weight": ("BF16", (8, 3, 14, 14)),
    }
    found = positions_of(untold, config, weights)
    assert found.needed is None and "27" in found.because


def test_its_own_record_comes_before_all_else(untold):
    edit(untold / "train_config.json", **dict.fromkeys(TRAINING["0.4.4"]))
    assert read_checkpoint(record(untold, RIGHT)).positions.needed == RIGHT
    half(untold)
    assert read_checkpoint(record(untold, SHIFTED)).positions.needed == SHIFTED
    record(untold, "left")
    with pytest.raises(CheckpointError, match="'left'"):
        _ = read_checkpoint(untold).positions


def test_one_that_does_not_tell_is_warned_of_and_the_parameter_ends_it(untold, caplog):
    with caplog.at_level(logging.WARNING):
        adapter = load(untold)
    assert "4.55 to 4.57" in caplog.text and "set image_positions to shifted" in caplog.text
    assert adapter.spec.image_positions == position_lookup.measured(Reference(untold).policy)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load(untold, image_positions=RIGHT)
    assert "image_positions" not in caplog.text


def test_what_is_saved_says_what_it_was_trained_with(broken, tmp_path):
    for positions in (RIGHT, SHIFTED):
        adapter = load(record(broken, positions))
        again = compat.save_checkpoint(
            tmp_path / positions,
            adapter._policy,
            adapter._pre,
            adapter._post,
            backbone=broken / "backbone",
        )
        written = json.loads((again / "trained_with.json").read_text())
        assert written["image_positions"] == positions
        assert set(written) == {"image_positions", "lerobot", "transformers"}
        assert load(again).spec.image_positions == positions


def test_a_backbone_of_transformers_5_under_4_names_the_positions(broken, tmp_path):
    """Its tokenizer names a class that 4.57 lacks, which is said with what to do."""
    edit(broken / "backbone" / "tokenizer_config.json", tokenizer_class="NoSuchBackend")
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    try:
        load(broken)
    except CheckpointError as error:
        assert "replaced by the original one's files" in str(error)
        assert "image_positions: right" in str(error) and "\n" not in str(error)
    else:
        pytest.skip("this transformers reads it")
