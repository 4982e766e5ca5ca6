"""π0.5 that goes on from given rows: LeRobot's `trained` mode, on tiny models of its classes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.policies.pi05.modeling_pi05 import create_sinusoidal_pos_embedding
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from reference import observe
from test_pi import Reference
from tiny_pi import load_pi, write_pi
from torch.nn import functional

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.families import FAMILIES
from rtc_ros.policy.protocol import Guidance

D, H, N = 6, 16, 4
PI05 = FAMILIES["pi05"]
MODE = "mode" in {field.name for field in dataclasses.fields(RTCConfig)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pi(tmp_path_factory.mktemp("pi05") / "tiny", "pi05")
    config = json.loads((folder / "config.json").read_text())
    config["rtc_training_max_delay"] = D
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """LeRobot's own; up to 0.6.1 it refuses a config.json that says how it was trained."""
    if MODE:
        return Reference(folder, RTCConfig(enabled=True, mode="trained", execution_horizon=10))
    plain = Path(shutil.copytree(folder, tmp_path_factory.mktemp("plain") / "tiny"))
    config = json.loads((plain / "config.json").read_text())
    del config["rtc_training_max_delay"]
    (plain / "config.json").write_text(json.dumps(config))
    return Reference(plain)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> FlowAdapter:
    return load_pi(folder)


def give(rows: int, seed: int = 3) -> Guidance:
    prev = np.random.default_rng(seed).normal(size=(12, 6))
    return Guidance(prev, np.r_[np.ones(rows), np.zeros(H - rows)], method="trained")


def by_row(norm: Any) -> Any:
    """An adaptive norm written out, with a condition [B, H, width] for each row."""

    def forward(x: torch.Tensor, cond: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale, shift, gate = norm.dense(cond).chunk(3, dim=-1)
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.eps)
        return normed * (1 + scale) + shift, gate

    return forward


def by_hand(
    monkeypatch: pytest.MonkeyPatch, adapter: FlowAdapter, reference: Reference, rows: int
) -> np.ndarray:
    """LeRobot's loop with a hard prefix, in its direction of time, on its expert's layers."""
    guidance, observation = give(rows), observe(adapter.spec)
    batch = reference.batch(observation, guidance.prev)
    model = reference.policy.model
    for each in model.paligemma_with_expert.gemma_expert.model.modules():
        if getattr(each, "dense", None) is not None:
            monkeypatch.setattr(each, "forward", by_row(each))

    def embed(actions: torch.Tensor, time: torch.Tensor) -> tuple[torch.Tensor, ...]:
        width, config = model.action_in_proj.out_features, model.config
        waves = torch.stack(
            [
                create_sinusoidal_pos_embedding(
                    each, width, config.min_period, config.max_period, device=time.device
                )
                for each in time
            ]
        ).float()
        condition = functional.silu(model.time_mlp_in(waves))
        condition = functional.silu(model.time_mlp_out(condition))
        first = torch.tensor([[1.0] + [0.0] * (H - 1)])
        there = torch.ones(1, H, dtype=torch.bool)
        return model.action_in_proj(actions), there, first, condition

    x = adapter.noise(7)
    given = torch.arange(H) < rows
    clean = torch.zeros_like(x)
    clean[:, :rows, :6] = batch["action"][:, :rows]
    with torch.no_grad():
        prefix = PI05.encode_prefix(reference.policy, batch)
        monkeypatch.setattr(model, "embed_suffix", embed)
        for step in range(N):
            time = torch.full((1, H), 1.0 - step / N)
            time[:, given] = 0.0
            x = torch.where(given[:, None], clean, x)
            velocity = model.denoise_step(
                prefix_pad_masks=prefix.pad_masks,
                past_key_values=prefix.cache,
                x_t=x,
                timestep=time,
            )
            x = torch.where(given[:, None], clean, x - velocity / N)
    return reference.post(x[:, :, :6])[0].numpy()


@pytest.mark.parametrize("rows", [1, 4, D])
def test_a_chunk_is_that_of_lerobot_s_layers_with_a_time_for_each_row(
    adapter, reference, monkeypatch, rows
):
    expected = by_hand(monkeypatch, adapter, reference, rows)
    got = adapter.infer(observe(adapter.spec), give(rows), num_steps=N, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.array_equal(got[:rows], give(rows).prev[:rows])
    free = adapter.infer(observe(adapter.spec), None, num_steps=N, seed=7).actions
    assert np.abs(got[rows:] - free[rows:]).max() > 1e-2
    assert "embed_suffix" not in vars(adapter._policy.model)  # LeRobot's method is back


@pytest.mark.skipif(
    not MODE, reason="this LeRobot has no mode `trained` (it came after 0.6.1)"
)
@pytest.mark.parametrize("rows", [1, 4, D])
def test_a_chunk_is_that_of_lerobot_s_trained_mode(adapter, reference, rows):
    observation, guidance = observe(adapter.spec), give(rows)
    expected = reference.chunk(
        observation,
        adapter.noise(7),
        inference_delay=rows,
        prev_chunk_left_over=reference.batch(observation, guidance.prev)["action"],
    )
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_one_time_for_all_rows_is_lerobot_s_own_velocity(adapter, reference):
    batch = reference.batch(observe(adapter.spec))
    actions = torch.cat([adapter.noise(1), adapter.noise(2)])
    with torch.no_grad():
        prefix = PI05.encode_prefix(adapter._policy, batch).repeat(2)
        time = torch.tensor([0.37, 0.8])
        one = PI05.denoise(adapter._policy, prefix, actions, time)
        each = PI05.denoise(adapter._policy, prefix, actions, time[:, None].expand(2, H))
        torch.testing.assert_close(each, one, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            PI05.denoise(adapter._policy, prefix, actions, time), one, rtol=0, atol=0
        )


def test_what_is_not_given_is_never_read_and_no_given_row_is_the_unguided_chunk(adapter):
    observation, dirty = observe(adapter.spec), give(4)
    dirty.prev[4:] = np.nan
    made = [adapter.infer(observation, g, seed=7).actions for g in (give(4), dirty)]
    assert np.array_equal(*made)
    free = adapter.infer(observation, None, seed=7).actions
    assert np.array_equal(adapter.infer(observation, give(0), seed=7).actions, free)


def test_beyond_its_training_or_without_one_it_is_refused(adapter, tmp_path):
    assert adapter.spec.trained_delay == D
    with pytest.raises(ValueError, match=f"d = {D + 1} rows.*rtc_training_max_delay = {D}"):
        adapter.infer(observe(adapter.spec), give(D + 1))
    other = load_pi(write_pi(tmp_path / "pi05", "pi05"))
    with pytest.raises(ValueError, match=r"for a SmolVLA or pi0\.5 that was trained"):
        other.infer(observe(other.spec), give(1))
    # LeRobot's pi0 can't be trained so, whatever its file says.
    pi0 = write_pi(tmp_path / "pi0", "pi0")
    config = json.loads((pi0 / "config.json").read_text())
    (pi0 / "config.json").write_text(json.dumps(config | {"rtc_training_max_delay": D}))
    assert load_pi(pi0).spec.trained_delay == 0


def test_in_bfloat16_the_given_rows_stay_and_the_others_are_near(adapter, folder):
    low = load_pi(folder, dtype="bfloat16")
    observation = observe(adapter.spec)
    exact, near = (a.infer(observation, give(4), seed=7).actions for a in (adapter, low))
    assert np.array_equal(near[:4], exact[:4])
    assert 1e-4 < np.abs(near - exact).max() < 0.5
