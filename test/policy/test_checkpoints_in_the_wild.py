"""Checkpoints as trainers, hubs and people leave them: taken, or refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Reference, observe
from safetensors.torch import load_file, save_file

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PRE, POST = "policy_preprocessor.json", "policy_postprocessor.json"
NORMALIZER = "policy_preprocessor_step_5_normalizer_processor.safetensors"
UNNORMALIZER = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def load(folder: Path) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refusal(folder: Path) -> str:
    """The one sentence with which a checkpoint is refused, also without torch."""
    with pytest.raises(CheckpointError) as early:
        read_checkpoint(folder).backbone()
    with pytest.raises(CheckpointError) as late:
        load(folder)
    assert str(late.value) == str(early.value) and "\n" not in str(early.value)
    return str(early.value)


# ------------------------------------------------------------------------- the wrong place


@pytest.mark.parametrize(
    "inside",
    ["pretrained_model", "002000/pretrained_model", "checkpoints/002000/pretrained_model"],
)
def test_a_folder_above_names_the_one_that_is_meant(broken, tmp_path, inside):
    meant = tmp_path / "train" / inside
    meant.parent.mkdir(parents=True)
    shutil.move(broken, meant)
    assert f"did you mean {meant}?" in refusal(tmp_path / "train")
    assert read_checkpoint(meant).action_dim == 6


def test_of_several_steps_the_last_is_meant(broken, tmp_path):
    for step in ("001000", "002000"):
        shutil.copytree(broken, tmp_path / "train" / "checkpoints" / step / "pretrained_model")
    assert "002000/pretrained_model?" in refusal(tmp_path / "train")


def test_a_file_names_its_folder_and_a_hub_name_how_to_fetch_it(broken):
    assert f"did you mean {broken}?" in refusal(broken / WEIGHTS)
    with pytest.raises(CheckpointError, match="hf download nobody/nothing --local-dir"):
        read_checkpoint("nobody/nothing")


@pytest.mark.parametrize(
    "name", [CONFIG, WEIGHTS, PRE, NORMALIZER, "backbone/tokenizer.json", "backbone/config.json"]
)
def test_a_git_lfs_pointer_is_called_one(broken, name):
    (broken / name).write_text(POINTER)
    said = refusal(broken)
    assert name.split("/")[-1] in said and f"{len(POINTER)} bytes" in said
    assert "git lfs pull" in said


def test_other_files_of_weights_are_named(broken):
    (broken / WEIGHTS).rename(broken / "pytorch_model.bin")
    assert "there is" in refusal(broken) and "pytorch_model.bin" in refusal(broken)


def test_a_byte_order_mark_is_called_one(broken):
    """LeRobot can't read it either."""
    (broken / CONFIG).write_bytes(b"\xef\xbb\xbf" + (broken / CONFIG).read_bytes())
    assert "byte order mark" in refusal(broken)


# -------------------------------------------------------------------- features and options


def test_image_shapes_as_data_sets_list_them_are_taken(broken, checkpoint):
    """LeRobot's SmolVLA never reads them: [h, w, 3] runs there, too."""
    edit(
        broken / CONFIG,
        lambda c: c["input_features"]["observation.images.side"].update(shape=[48, 64, 3]),
    )
    ours, before = load(broken), load(checkpoint)
    assert ours.spec.image_features == before.spec.image_features
    seen = observe(ours.spec)
    chunk = ours.infer(seen, None, seed=1).actions
    assert np.array_equal(chunk, before.infer(seen, None, seed=1).actions)
    theirs = Reference(broken).chunk(seen, ours.noise(1))
    assert np.allclose(chunk, theirs, atol=1e-5)


def test_a_policy_of_images_alone_is_refused_as_lerobot_can_t_run_it(broken):
    edit(broken / CONFIG, lambda c: c["input_features"].pop("observation.state"))
    said = refusal(broken)
    assert "observation.state" in said and "always reads a state" in said
    lerobot = Reference(broken)
    image = {f"observation.images.{n}": torch.zeros(1, 3, 64, 64) for n in ("top", "side")}
    tokens = {
        "observation.language.tokens": torch.ones(1, 4, dtype=torch.long),
        "observation.language.attention_mask": torch.ones(1, 4, dtype=torch.bool),
    }
    with pytest.raises(KeyError, match="observation.state"):
        lerobot.policy.predict_action_chunk(image | tokens)


@pytest.mark.parametrize(
    "values",
    [{"use_relative_actions": True}, {"vlm_dropout": 0.1}, {"adapter": {"enabled": True}}],
)
def test_an_unknown_key_that_asks_for_something_is_named_with_its_value(broken, values):
    edit(broken / CONFIG, lambda c: c.update(values))
    with pytest.raises(CheckpointError) as error:
        load(broken)
    ((name, value),) = values.items()
    assert f"{name}: {json.dumps(value)}" in str(error.value)


def test_delta_joint_actions_are_refused_as_lerobot_refuses_them(broken):
    edit(broken / CONFIG, lambda c: c.update(use_delta_joint_actions_aloha=True))
    said = refusal(broken)
    assert "use_delta_joint_actions_aloha is True, it must be False" in said
    assert "not ported" in said
    with pytest.raises(NotImplementedError, match="use_delta_joint_actions_aloha"):
        Reference(broken)


@pytest.mark.parametrize("fast", [True, False])
def test_what_was_compiled_in_training_is_run_uncompiled(broken, checkpoint, fast):
    """torch.compile would take minutes at the first chunk, and changes no number."""
    edit(broken / CONFIG, lambda c: c.update(compile_model=True, compile_mode="max-autotune"))
    ours = FlowAdapter.load(broken, device="cpu", torch_threads=1, fast=fast)
    before = FlowAdapter.load(checkpoint, device="cpu", torch_threads=1, fast=fast)
    assert ours._policy.config.compile_model is False
    seen = observe(ours.spec)
    chunk = ours.infer(seen, None, seed=1).actions
    assert np.array_equal(chunk, before.infer(seen, None, seed=1).actions)


def test_a_state_that_the_data_set_calls_otherwise_is_renamed_as_in_training(broken, checkpoint):
    """The robot's joints are the state, whatever the data set called it."""

    def rename(pipeline):
        (step,) = [s for s in pipeline["steps"] if "rename" in s["registry_name"]]
        step["config"]["rename_map"] = {"observation.joint_position": "observation.state"}

    edit(broken / PRE, rename)
    assert read_checkpoint(broken).spec.state_dim == 7
    ours, before = load(broken), load(checkpoint)
    seen = observe(ours.spec)
    chunk = ours.infer(seen, None, seed=1).actions
    assert np.array_equal(chunk, before.infer(seen, None, seed=1).actions)
    other = ours.infer(dataclasses.replace(seen, state=seen.state + 1.0), None, seed=1).actions
    assert np.abs(other - chunk).max() > 1e-4, "it does reach the policy"


def test_a_step_that_is_switched_off_and_not_known_can_be_deleted(broken):
    step = {"registry_name": "warp_processor", "config": {"enabled": False}}
    edit(broken / PRE, lambda p: p["steps"].insert(0, step))
    with pytest.raises(CheckpointError, match=f"'warp_processor'.*delete that step from {PRE}"):
        load(broken)


# ------------------------------------------------------------------------------- adapters


def test_an_adapter_says_how_it_is_merged_into_what(broken):
    (broken / WEIGHTS).rename(broken / "adapter_model.safetensors")
    (broken / "adapter_config.json").write_text('{"base_model_name_or_path": "me/my_base"}')
    edit(broken / CONFIG, lambda c: c.update(use_peft=True))
    said = refusal(broken)
    assert "me/my_base" in said and "merge_and_unload()" in said and str(broken) in said


def test_weights_that_an_adapter_was_merged_into_are_taken(broken, checkpoint):
    """merge_and_unload leaves use_peft in the config; LeRobot reads the weights as they are."""
    edit(broken / CONFIG, lambda c: c.update(use_peft=True))
    assert load(broken).spec.action_dim == 6
    (broken / "adapter_model.safetensors").write_bytes(b"")
    assert "isn't merged" in refusal(broken)


def test_adapter_weights_among_the_others_are_called_that(broken):
    name = "model.vlm_with_expert.lm_expert.layers.0.self_attn.q_proj.lora_A.weight"
    edit_tensors(broken / WEIGHTS, lambda t: t.update({name: torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError, match="adapter .LoRA.*merge_and_unload"):
        load(broken)


# ------------------------------------------------------------------------------ statistics


def test_statistics_among_the_weights_name_the_migration(broken):
    old = {
        "normalize_inputs.buffer_observation_state.mean": torch.zeros(7),
        "unnormalize_outputs.buffer_action.std": torch.ones(6),
    }
    edit_tensors(broken / WEIGHTS, lambda t: t.update(old))
    load(broken)  # beside processors nothing reads them
    for name in (PRE, POST):
        (broken / name).unlink()
    said = refusal(broken)
    assert f"no {PRE} and no {POST}" in said
    assert f"migrate_policy_normalization --pretrained-path {broken} --output-dir" in said


def test_a_migrated_checkpoint_is_taken(broken, checkpoint, tmp_path, monkeypatch):
    """By the command that the sentence names, with LeRobot's own buffers in the weights."""
    from lerobot.processor import migrate_policy_normalization as migration

    observation = observe(read_checkpoint(checkpoint).spec)
    before = load(checkpoint).infer(observation, None, seed=7).actions
    stats = load_file(broken / NORMALIZER)
    buffers = {
        f"{place}.buffer_{feature.replace('.', '_')}.{name}": stats[f"{feature}.{name}"].clone()
        for place, feature in (
            ("normalize_inputs", "observation.state"),
            ("normalize_targets", "action"),
            ("unnormalize_outputs", "action"),
        )
        for name in ("mean", "std")
    }
    edit_tensors(broken / WEIGHTS, lambda t: t.update(buffers))
    for name in (PRE, POST, NORMALIZER, UNNORMALIZER):
        (broken / name).unlink()
    edit(broken / CONFIG, lambda c: c.update(vlm_model_name=str(broken / "backbone")))
    words = refusal(broken).partition("`")[2].partition("`")[0].split()
    migrated = tmp_path / "migrated"
    words = [str(migrated) if word == "MIGRATED" else word for word in words]
    assert words[:3] == ["python", "-m", migration.__name__]
    monkeypatch.setattr("sys.argv", words[2:])
    # Of its last file, the model card, the Hub is asked whether it is well-formed.
    monkeypatch.setattr(huggingface_hub.ModelCard, "validate", lambda *_, **__: None)
    migration.main()
    after = load(migrated).infer(observation, None, seed=7).actions
    np.testing.assert_allclose(after, before, atol=1e-6)
    other = load_file(migrated / UNNORMALIZER)
    assert torch.equal(other["action.std"], stats["action.std"])


@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX"])
def test_images_that_are_to_be_normalised_need_their_statistics(broken, mode):
    """LeRobot leaves them as they are, without a word: another picture than in training."""

    def visual(pipeline):
        for step in pipeline["steps"]:
            if "normalizer" in step["registry_name"]:
                step["config"]["norm_map"]["VISUAL"] = mode

    edit(broken / PRE, visual)
    first = {"MEAN_STD": "mean", "MIN_MAX": "min"}[mode]
    said = refusal(broken)
    assert f"observation.images.top by {mode}" in said
    assert f"no observation.images.top.{first}" in said
    names = {"MEAN_STD": ("mean", "std"), "MIN_MAX": ("min", "max")}[mode]
    stats = {
        f"observation.images.{camera}.{name}": torch.full((3, 1, 1), value)
        for camera in ("top", "side")
        for name, value in zip(names, (0.2, 0.7), strict=True)
    }
    edit_tensors(broken / NORMALIZER, lambda t: t.update(stats))
    ours = load(broken)
    seen = observe(ours.spec)
    theirs = Reference(broken).chunk(seen, ours.noise(1))
    assert np.allclose(ours.infer(seen, None, seed=1).actions, theirs, atol=1e-5)
    edit_tensors(
        broken / NORMALIZER,
        lambda t: t.update({f"observation.images.top.{first}": torch.zeros(3)}),
    )
    assert f"observation.images.top.{first} is [3]" in refusal(broken)


def test_a_feature_that_the_normalising_step_leaves_out_is_named(broken):
    def leave_out(pipeline):
        for step in pipeline["steps"]:
            step["config"].get("features", {}).pop("observation.state", None)

    edit(broken / PRE, leave_out)
    assert "not observation.state, which LeRobot would leave as it is" in refusal(broken)


def test_ranges_that_are_turned_round_are_refused(broken):
    def turn(pipeline):
        for step in pipeline["steps"]:
            if "normalizer" in step["registry_name"]:
                step["config"]["norm_map"].update(STATE="MIN_MAX")

    edit(broken / PRE, turn)
    edit_tensors(broken / NORMALIZER, lambda t: t["observation.state.max"].__setitem__(2, -50.0))
    said = refusal(broken)
    assert "observation.state.max is -50 at 2, less than min" in said


@pytest.mark.parametrize("std", [0.0, 1e-7])
def test_a_state_joint_that_never_moved_is_named_when_loaded(broken, caplog, std):
    edit_tensors(broken / NORMALIZER, lambda t: t["observation.state.std"].__setitem__(5, std))
    ((sentence, remedy),) = read_checkpoint(broken).doubts()
    mean = float(load_file(broken / NORMALIZER)["observation.state.mean"][5])
    assert f"joint 5 (standard deviation {std:.2g} at {mean:.6g})" in sentence
    assert "state_scale 1e-9" in remedy
    with caplog.at_level(logging.WARNING):
        load(broken)
    assert sentence in caplog.text


def test_a_checkpoint_whose_joints_all_moved_has_no_doubts(checkpoint):
    assert read_checkpoint(checkpoint).doubts() == []


# ------------------------------------------------------------------------------- anything

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.lists(st.integers(-2, 80), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(-2, 80), max_size=2),
)


def places(content, path=()):
    """Every place in a JSON value, as a path of keys."""
    found = [path] if path else []
    keys = content if isinstance(content, dict) else range(len(content))
    for key in keys:
        inner = content[key]
        found += [(*path, key)]
        if isinstance(inner, dict | list):
            found += places(inner, (*path, key))
    return found


@pytest.mark.parametrize("name", [CONFIG, PRE, POST, "train_config.json", "trained_with.json"])
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_stands_in_its_json_it_is_read_or_refused_in_one_sentence(broken, name, data):
    file = broken / name
    original = file.read_text() if file.is_file() else "{}"
    content = json.loads(original)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(places(content) or [("image_positions",)]))
        inner = content
        for key in path:
            inner = inner[key]
        if data.draw(st.booleans()) and isinstance(inner, dict) and last in inner:
            del inner[last]
        else:
            inner[last] = data.draw(VALUES)
    try:
        file.write_text(json.dumps(content))
        checkpoint = read_checkpoint(broken)
        assert checkpoint.spec.action_dim >= 1 and checkpoint.spec.state_dim >= 1
        _ = checkpoint.positions, checkpoint.doubts(), checkpoint.dtype()
        reader = checkpoint.task_reader()
        assert reader is None or reader.count("pass the cube") > 1
    except CheckpointError as error:
        assert "\n" not in str(error) and len(str(error)) > 30
    finally:
        if name == "trained_with.json" or original != "{}":
            file.write_text(original)
        else:
            file.unlink(missing_ok=True)
