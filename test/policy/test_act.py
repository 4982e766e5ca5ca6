"""ACT through the adapter against LeRobot's own code, and what is said where it can't be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from reference import guide, observe
from safetensors.torch import load_file, save_file
from tiny_act import ACT, CAMERAS, write_act

from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.protocol import PolicySpec

ABLE = {
    "naive_async",
    "synchronous",
    "temporal_ensembling",
    "temporal_ensembling_dense",
    "weighted_average",
}


class Reference(reference.Reference):
    """A checkpoint run as LeRobot's users run it."""

    def __init__(self, folder: Path) -> None:
        config = PreTrainedConfig.from_pretrained(folder)
        self.policy = ACT.policy_class().from_pretrained(folder, config=config)
        self.pre, self.post = make_pre_post_processors(config, pretrained_path=str(folder))

    def chunk(self, observation: Any) -> np.ndarray:
        return self.post(self.policy.predict_action_chunk(self.batch(observation)))[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_act(tmp_path_factory.mktemp("act") / "tiny")


@pytest.fixture(scope="module")
def adapter(folder: Path) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to break."""
    return Path(shutil.copytree(folder, tmp_path / "broken"))


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_chunk_is_lerobot_s_whatever_seed_and_n(adapter, folder):
    observation, other = observe(adapter.spec), observe(adapter.spec, seed=1)
    expected = Reference(folder).chunk(observation)
    got = adapter.infer(observation, None, seed=7).actions
    assert got.shape == (16, 6) and got.dtype == np.float64
    np.testing.assert_allclose(got, expected, atol=1e-5)
    again = adapter.infer(observation, None, num_steps=3, seed=8).actions
    assert np.array_equal(got, again)
    assert np.abs(adapter.infer(other, None).actions - got).max() > 1e-3


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_size": 9, "temporal_ensemble_coeff": 0.01, "n_action_steps": 1},
        {"cameras": {"observation.images.only": (80, 60)}, "use_vae": False, "state_dim": 40},
    ],
    ids=["ensembled by LeRobot", "one camera, no VAE, many joints"],
)
def test_the_chunk_is_lerobot_s_for_other_configs(tmp_path, fields):
    folder = write_act(tmp_path / "tiny", **fields)
    adapter = FlowAdapter.load(folder, device="cpu")
    observation = observe(adapter.spec)
    expected = Reference(folder).chunk(observation)
    np.testing.assert_allclose(adapter.infer(observation, None).actions, expected, atol=1e-5)


def test_its_files_say_what_the_loaded_one_is(adapter, folder):
    checkpoint = read_checkpoint(folder)
    spec = dataclasses.replace(checkpoint.spec, description=adapter.spec.description)
    assert spec == adapter.spec and not spec.flow
    assert spec.num_steps == 1 and dict(spec.image_features) == CAMERAS
    assert checkpoint.backbone() is None and checkpoint.task_reader() is None
    assert "ACT tiny, 11." in adapter.spec.description
    assert adapter.warm_up("pass the cube") > 0.0


def test_no_weights_of_the_vision_are_fetched(broken, no_network):
    edit(
        broken / "config.json",
        lambda c: c.update(pretrained_backbone_weights="ResNet18_Weights.IMAGENET1K_V1"),
    )
    assert FlowAdapter.load(broken, device="cpu").spec.horizon == 16
    assert not no_network


# ------------------------------------------------------------------------------- what it can't


def test_strategies_that_need_a_prefix_are_refused_by_name_and_the_others_named(adapter):
    refused = {name: adapter.spec.cannot(name) for name in STRATEGIES}
    assert {name for name, why in refused.items() if not why} == ABLE
    for name, why in refused.items():
        if why:
            assert why.startswith(f"{name} takes the previous chunk") and "ACT tiny" in why
            assert "set strategy (strategy:=… in a launch) to one of " in why
            assert set(why.rsplit(" to one of ", 1)[1].split(", ")) == ABLE
    flow = PolicySpec(16, 6, 6, 10, {})
    assert not any(flow.cannot(name) for name in STRATEGIES)


def test_guidance_never_reaches_it(adapter):
    with pytest.raises(ValueError, match="ACT tiny.*one pass"):
        adapter.infer(observe(adapter.spec), guide(adapter.spec))


def test_what_it_has_no_use_for_is_refused(adapter, folder):
    with pytest.raises(ValueError, match=r"images\.side can't be left out: ACT"):
        adapter.leave_out(["observation.images.side"])
    adapter.leave_out([])
    with pytest.raises(ValueError, match="weak_policy_path is for bid"):
        adapter.contrast_with(adapter)
    with pytest.raises(ValueError, match="dtype is bfloat16, and ACT runs in float32"):
        FlowAdapter.load(folder, device="cpu", dtype="bfloat16")
    with pytest.raises(ValueError, match="image_positions is 'shifted', but ACT"):
        FlowAdapter.load(folder, device="cpu", image_positions="shifted")


def test_settings_that_a_sweep_tries_are_refused_by_name(adapter):
    from rtc_ros.replay.sweep import sweep

    nothing: Any = None
    (trial,) = sweep(nothing, adapter, [RtcSettings(s_min=4)], nothing, nothing, 0)
    assert trial.why is not None and trial.why.startswith("rtc takes the previous chunk")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(n_obs_steps=2), "n_obs_steps is 2"),
        (lambda c: c.update(vision_backbone="vit"), "can't build .*config.json: .*vit"),
        (lambda c: c.update(new_attention="ring"), "do(es)? not know .*new_attention"),
        (
            lambda c: c["input_features"].update({"environment": {"type": "ENV", "shape": [3]}}),
            "environment is the state of a simulated environment",
        ),
        (lambda c: c["input_features"].pop("observation.state"), "ACT always reads a state"),
    ],
)
def test_a_config_that_does_not_fit(broken, change, named):
    edit(broken / "config.json", change)
    with pytest.raises(CheckpointError, match=named):
        FlowAdapter.load(broken, device="cpu")


def test_faults_of_weights_and_statistics_are_named(broken):
    file = broken / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.gate": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match="1 unexpected: model.gate"):
        FlowAdapter.load(broken, device="cpu")
    save_file(tensors, file)
    (stats,) = broken.glob("policy_preprocessor*normalizer*.safetensors")
    left = {n: v for n, v in load_file(stats).items() if "images.side" not in n}
    save_file(left, stats)
    with pytest.raises(CheckpointError, match=r"normalises observation\.images\.side by MEAN_STD"):
        FlowAdapter.load(broken, device="cpu")
