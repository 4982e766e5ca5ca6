"""Each way a checkpoint folder can be wrong has an error that says which it is."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.backbone import find_backbone
from rtc_ros.policy.checkpoint import check_weights, read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.families import SMOLVLA

NORMALIZER = "policy_preprocessor_step_5_normalizer_processor.safetensors"
UNNORMALIZER = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
WEIGHTS = "model.safetensors"
OUT = "model.action_out_proj.weight"


def load(folder: Path) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(path: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder: Path, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        load(folder)


# ------------------------------------------------------------------------------- files


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "none", "none is not a folder; policy_path")


@pytest.mark.parametrize(
    "name",
    ["config.json", WEIGHTS, "policy_preprocessor.json", "policy_postprocessor.json"],
)
def test_a_missing_file(broken, name):
    (broken / name).unlink()
    refused(broken, f"has no {name}")


def test_an_old_checkpoint_is_told_how_to_migrate(broken):
    (broken / "policy_preprocessor.json").unlink()
    refused(broken, "migrate_policy_normalization")


def test_a_peft_adapter_alone(broken):
    (broken / WEIGHTS).rename(broken / "adapter_model.safetensors")
    refused(broken, "merge it into the policy")


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_json_that_is_none(broken, content):
    (broken / "config.json").write_text(content)
    refused(broken, "config.json .*(not valid JSON|must hold a JSON object)")


@pytest.mark.parametrize("name", [WEIGHTS, NORMALIZER])
def test_a_cut_safetensors_file(broken, name):
    path = broken / name
    path.write_bytes(path.read_bytes()[:-100])
    refused(broken, f"{name} can't be read as safetensors")


def test_a_pickle_under_the_weights_name_is_never_opened(broken):
    torch.save({"a": torch.zeros(1)}, broken / WEIGHTS)
    refused(broken, "can't be read as safetensors")


# ------------------------------------------------------------------------------ config


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(type="diffusion"), "'diffusion': it takes two .*smolvla, pi0.*act"),
        (lambda c: c["output_features"].clear(), "feature action"),
        (lambda c: c["input_features"].pop("observation.state"), "feature observation.state"),
        (lambda c: c["output_features"]["action"].update(shape=[9]), "action has 9 .* for 8"),
        (
            lambda c: [
                c["input_features"].pop(f"observation.images.{n}") for n in ("top", "side")
            ],
            "no image feature",
        ),
        (
            lambda c: c["input_features"]["observation.images.top"].update(shape=[64, 64, 1]),
            r"observation.images.top .*\[64, 64, 1\]",
        ),
        (lambda c: c.update(n_obs_steps=2), "n_obs_steps is 2"),
        (lambda c: c.update(use_cache=False), "use_cache is False"),
        (lambda c: c.update(new_attention="ring"), "do(es)? not know .*new_attention"),
        (lambda c: c.update(chunk_size="many"), 'chunk_size is "many"'),
        (lambda c: c.update(min_period="short"), "refuses the config"),
        (lambda c: c.update(n_action_steps=99), "n_action_steps is 99.* 16 rows"),
        (lambda c: c.update(input_features=None), "no input_features.*null"),
        (lambda c: c.update(input_features={"observation.state": [7]}), "no input_features"),
        (lambda c: c.update(resize_imgs_with_padding=None), r"null.*\[512, 512\]"),
        (lambda c: c.pop("type"), "has no type"),
        (lambda c: c.update(num_expert_layers=3), "can't build .*3"),
        (
            lambda c: c.update(adapt_to_pi_aloha=True),
            "adapt_to_pi_aloha .*14 .*6",
        ),
    ],
)
def test_a_config_that_does_not_fit(broken, change, named):
    edit(broken / "config.json", change)
    refused(broken, named)


def test_keys_of_a_newer_lerobot_are_dropped_by_name(broken, caplog):
    def newer(config: dict) -> None:
        config.update(pretrained_revision="main", optimizer_fused=True, scheduler_kind="wsd")
        config["rtc_config"] = {"enabled": True, "mode": "guided", "execution_horizon": 10}

    def off(config: dict) -> None:
        newer(config)
        config.update(use_relative_actions=False, vlm_dropout=0.0, adapter={"enabled": False})

    edit(broken / "config.json", off)
    edit(
        broken / "policy_preprocessor.json",
        lambda p: p["steps"][3].update(artifacts={"tokenizer_name": "tokenizer"}),
    )
    with caplog.at_level(logging.WARNING):
        adapter = load(broken)
    known = compat.known_fields(SMOLVLA.config_class())
    dropped = {"optimizer_fused", "pretrained_revision", "scheduler_kind"} - known
    dropped |= {"use_relative_actions", "vlm_dropout", "adapter"}  # at values that ask for nothing
    assert f"ignored keys of another LeRobot: {', '.join(sorted(dropped))}\n" in caplog.text
    assert adapter.warm_up() > 0


# ----------------------------------------------------------------------------- weights


def test_missing_and_unexpected_weights_are_named(broken):
    edit_tensors(broken / WEIGHTS, lambda t: t.update(spare=t.pop(OUT)))
    refused(broken, f"1 missing: {OUT}; 1 unexpected: spare")


def test_many_missing_weights_are_counted(broken):
    def drop(tensors: dict) -> None:
        for name in [n for n in tensors if "lm_expert.layers.0" in n]:
            del tensors[name]

    edit_tensors(broken / WEIGHTS, drop)
    refused(broken, r"9 missing: .*lm_expert.layers.0.*, and 5 more")


def test_weights_of_another_shape_are_named(broken):
    edit_tensors(broken / WEIGHTS, lambda t: t.update({OUT: t[OUT][:, :-1].clone()}))
    refused(broken, rf"{OUT} is \[8, 47\], the model has \[8, 48\]")


def test_another_backbone_shows_in_the_weights(broken):
    edit(broken / "backbone" / "config.json", lambda c: c["text_config"].update(vocab_size=300))
    refused(broken, r"embed_tokens.weight is .* the model has \[300, 64\]")


def test_quantised_weights(broken):
    edit_tensors(broken / WEIGHTS, lambda t: t.update({OUT: t[OUT].to(torch.int8)}))
    refused(broken, rf"not floats: {OUT} \(I8\)")


def test_weights_that_are_not_finite(broken):
    edit_tensors(broken / WEIGHTS, lambda t: t[OUT].fill_(float("nan")))
    refused(broken, f"NaN or infinite values, first in {OUT}")


def test_weights_no_action_depends_on_may_lack_or_be_there(broken, checkpoint):
    def rearrange(tensors: dict) -> None:
        del tensors["model.vlm_with_expert.vlm.lm_head.weight"]
        tensors["model.vlm_with_expert.lm_expert.embed_tokens.weight"] = torch.zeros(3, 3)

    edit_tensors(broken / WEIGHTS, rearrange)
    ours, theirs = load(broken)._policy.state_dict(), load(checkpoint)._policy.state_dict()
    assert torch.equal(ours[OUT], theirs[OUT])


def test_one_name_of_a_tied_weight_is_enough():
    shapes = {"a": (2, 3), "b": (2, 3)}
    aliases = {"a": ["a", "b"], "b": ["a", "b"]}
    check_weights({"a": ("F32", (2, 3))}, shapes, aliases)
    with pytest.raises(CheckpointError, match="1 missing: b"):
        check_weights({"a": ("F32", (2, 3))}, shapes)


@pytest.mark.parametrize(
    ("stored", "pinned"), [(torch.bfloat16, "bfloat16"), (torch.half, "float32")]
)
def test_the_checkpoint_s_dtype(broken, stored, pinned):
    def cast(tensors: dict) -> None:
        for name in tensors:
            if "vlm_with_expert" in name:
                tensors[name] = tensors[name].to(stored)

    edit_tensors(broken / WEIGHTS, cast)
    assert read_checkpoint(broken).dtype() == pinned
    adapter = FlowAdapter.load(broken, device="cpu", dtype="checkpoint")
    assert f" {pinned} on cpu" in adapter.spec.description


# -------------------------------------------------------------------------- processors


def step(name: str, change: Callable[[dict], object]) -> Callable[[dict], None]:
    def apply(pipeline: dict) -> None:
        change(next(s for s in pipeline["steps"] if s["registry_name"] == name))

    return apply


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("pre", lambda p: p.update(steps=None), "no list of steps"),
        ("pre", lambda p: p["steps"].pop(), "no step 'normalizer_processor'"),
        ("post", lambda p: p["steps"].pop(0), "no step 'unnormalizer_processor'"),
        (
            "pre",
            step("to_batch_processor", lambda s: s.update(registry_name="warp_drive")),
            "step 'warp_drive', which the installed LeRobot does not have",
        ),
        (
            "pre",
            lambda p: p["steps"].append({"class": "os.system", "config": {}}),
            r"by its class \(os.system\)",
        ),
        (
            "pre",
            step("normalizer_processor", lambda s: s.update(state_file="../stats.safetensors")),
            "asks for ../stats.safetensors",
        ),
        (
            "pre",
            step("normalizer_processor", lambda s: s["config"]["norm_map"].update(STATE="LOG")),
            "unknown normalisation 'LOG' of observation.state",
        ),
        (
            "post",
            step(
                "unnormalizer_processor",
                lambda s: s["config"]["norm_map"].update(ACTION="MIN_MAX"),
            ),
            "normalise the action differently",
        ),
        (
            "pre",
            step("normalizer_processor", lambda s: s.pop("state_file")),
            "no action.mean",
        ),
    ],
)
def test_processors_that_do_not_fit(broken, file, change, named):
    edit(broken / f"policy_{file}processor.json", change)
    refused(broken, named)


def test_a_missing_state_file_is_not_fetched(broken, no_network):
    (broken / NORMALIZER).unlink()
    refused(broken, f"asks for {NORMALIZER}, which is not in the folder")
    assert no_network == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("action.std"), "no action.std"),
        (lambda t: t.pop("observation.state.mean"), "no observation.state.mean"),
        (lambda t: t.update({"action.mean": torch.zeros(5)}), r"action.mean is \[5\].* 6 dim"),
        (lambda t: t["action.std"].fill_(float("nan")), "action.std holds NaN"),
        (lambda t: t["action.mean"].add_(1.0), "normalise the action differently"),
        (lambda t: t["action.std"].__setitem__(4, -0.3), "action.std is -0.3 at 4, less than 0"),
        (
            lambda t: [t.update({f"so100.{n}": t.pop(n)}) for n in list(t)],
            "no action.mean .they have so100.action.mean",
        ),
    ],
)
def test_statistics_that_do_not_fit(broken, change, named):
    edit_tensors(broken / NORMALIZER, change)
    refused(broken, named)


# ---------------------------------------------------------------------------- backbone


def test_the_backbone_in_the_folder_comes_first(checkpoint):
    assert find_backbone(checkpoint, "nobody/nothing") == checkpoint / "backbone"


def test_a_backbone_named_by_path(broken, tmp_path):
    moved = (broken / "backbone").rename(tmp_path / "elsewhere")
    assert find_backbone(broken, str(moved)) == moved
    assert find_backbone(broken, "nobody/nothing", moved) == moved
    assert FlowAdapter.load(broken, backbone=moved, device="cpu").warm_up() > 0


def test_a_backbone_in_the_hub_s_cache(broken, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    snapshot = cache / "models--nobody--nothing" / "snapshots" / "1234"
    shutil.move(broken / "backbone", snapshot)
    refs = cache / "models--nobody--nothing" / "refs"
    refs.mkdir()
    (refs / "main").write_text("1234")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    assert find_backbone(broken, "nobody/nothing") == snapshot


@pytest.mark.parametrize("name", ["nobody/nothing", "/no/such/folder", ""])
def test_a_backbone_that_is_nowhere(broken, no_network, name):
    shutil.rmtree(broken / "backbone")
    edit(broken / "config.json", lambda c: c.update(vlm_model_name=name))
    refused(broken, "not on this machine.*backbone")
    assert no_network == []


@pytest.mark.parametrize("name", ["config.json", "tokenizer"])
def test_a_backbone_with_files_missing(broken, name):
    for path in (broken / "backbone").glob(f"{name}*"):
        path.unlink()
    refused(broken, f"backbone has no {name}")


def test_a_given_backbone_that_is_not_there(broken, tmp_path):
    with pytest.raises(CheckpointError, match="none has no config.json"):
        FlowAdapter.load(broken, backbone=tmp_path / "none", device="cpu")


def test_a_backbone_without_the_image_tokens(broken):
    edit(
        broken / "backbone" / "tokenizer_config.json",
        lambda c: [c.pop(key, None) for key in ("extra_special_tokens", "fake_image_token")],
    )
    refused(broken, "can't build the model")


# ---------------------------------------------------------------------------- and right


def test_what_a_checkpoint_says_of_itself(checkpoint):
    found = read_checkpoint(checkpoint)
    assert (found.action_dim, found.state_dim, found.dtype()) == (6, 7, "float32")
    assert found.weights[OUT] == ("F32", (8, 48))


def test_the_folder_holds_json_and_safetensors_only(checkpoint):
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    text = "".join(path.read_text() for path in files if path.suffix == ".json")
    assert str(checkpoint.parent) not in text


def test_the_same_seed_writes_the_same_weights(checkpoint, tmp_path):
    from tiny_checkpoint import SPEC, STATS

    from rtc_ros.policy.tiny import write_tiny_checkpoint

    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again = write_tiny_checkpoint(tmp_path / "again", SPEC, stats=STATS)
    assert torch.equal(torch.random.get_rng_state(), before)
    ours, theirs = load_file(again / WEIGHTS), load_file(checkpoint / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    other = write_tiny_checkpoint(tmp_path / "other", SPEC, stats=STATS, seed=1)
    assert not np.array_equal(load_file(other / WEIGHTS)[OUT], ours[OUT])
