"""Rows that are given at their own flow time: LeRobot's numbers, exact rows, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot.policies.smolvla.modeling_smolvla import create_sinusoidal_pos_embedding
from reference import observe
from tiny_checkpoint import SPEC, STATS

from rtc_ros.core.settings import RtcSettings, beyond_training
from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.guidance import condition_chunk, sample_chunk
from rtc_ros.policy.protocol import Guidance
from rtc_ros.policy.tiny import write_tiny_checkpoint

D = 12


def trained(folder: Path, delay: int = D) -> Path:
    """Let a checkpoint say that it was trained so."""
    file = folder / "trained_with.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"rtc_training_max_delay": delay}))
    return folder


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("trained") / "tiny")))


def load(folder: Path, **options: object) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1, **options)


@pytest.fixture(scope="module")
def fast(folder: Path) -> FlowAdapter:
    return load(folder)


@pytest.fixture(scope="module")
def slow(folder: Path) -> FlowAdapter:
    return load(folder, fast=False)


def give(spec, rows: int, known: int = 14, seed: int = 3) -> Guidance:
    weights = np.r_[np.ones(rows), np.zeros(spec.horizon - rows)]
    prev = np.random.default_rng(seed).normal(size=(known, spec.action_dim))
    return Guidance(prev, weights, method="trained")


def apart(got: np.ndarray, expected: np.ndarray) -> float:
    return float(abs(got - expected).max() / abs(expected).max())


# ------------------------------------------------------------------------- LeRobot's numbers


def embedded(policy, actions: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """LeRobot's embedding of a chunk [1, H, A], written out for a time per row."""
    model, config = policy.model, policy.config
    rows = model.action_in_proj(actions)
    waves = create_sinusoidal_pos_embedding(
        times, rows.shape[-1], config.min_period, config.max_period, device=rows.device
    ).to(rows.dtype)
    both = torch.cat([rows, waves[None]], dim=2)
    return model.action_time_mlp_out(torch.nn.functional.silu(model.action_time_mlp_in(both)))


def test_each_row_is_embedded_at_its_own_time_by_lerobot_s_modules(slow):
    policy, model = slow._policy, slow._policy.model
    actions, times = slow.noise(1), torch.linspace(0.0, 1.0, SPEC.chunk_size)
    seen = []
    prefix = SMOLVLA.encode_prefix(policy, batch_of(slow))
    hook = model.vlm_with_expert.register_forward_hook(lambda *_: None)
    own = model.vlm_with_expert.forward

    def forward(*args, **options):
        seen.append(options["inputs_embeds"][1])
        return own(*args, **options)

    model.vlm_with_expert.forward = forward
    try:
        with torch.no_grad():
            SMOLVLA.denoise(policy, prefix, actions, times[None])
    finally:
        del model.vlm_with_expert.forward
        hook.remove()
    with torch.no_grad():
        torch.testing.assert_close(seen[0], embedded(policy, actions, times), rtol=0, atol=1e-6)
    assert "embed_suffix" not in vars(model)


def batch_of(adapter: FlowAdapter) -> dict:
    observation = observe(adapter.spec)
    batch = {"observation.state": torch.tensor(observation.state).float(), "task": "pass"}
    for name, image in observation.images.items():
        batch[name] = torch.tensor(image).permute(2, 0, 1) / 255.0
    return adapter._pre(batch)


def test_one_time_for_all_rows_is_lerobot_s_own(slow):
    prefix = SMOLVLA.encode_prefix(slow._policy, batch_of(slow))
    actions, time = slow.noise(1), torch.tensor([0.37])
    with torch.no_grad():
        one = SMOLVLA.denoise(slow._policy, prefix, actions, time)
        each = SMOLVLA.denoise(
            slow._policy, prefix, actions, time[:, None].expand(1, SPEC.chunk_size)
        )
    torch.testing.assert_close(each, one, rtol=0, atol=1e-6)


def by_hand(adapter: FlowAdapter, guidance: Guidance, seed: int, n: int) -> np.ndarray:
    """LeRobot's loop with a hard prefix, on its velocity, in its own direction of time."""
    rows, policy = guidance.frozen, adapter._policy
    spec, observation = adapter.spec, observe(adapter.spec)
    batch = {"observation.state": torch.tensor(observation.state).float(), "task": "pass the cube"}
    for name, image in observation.images.items():
        batch[name] = torch.tensor(image).permute(2, 0, 1) / 255.0
    batch["action"] = torch.tensor(guidance.prev, dtype=torch.float32)[None]
    batch = adapter._pre(batch)
    prefix = SMOLVLA.encode_prefix(policy, batch)
    x = adapter.noise(seed)
    clean = torch.zeros_like(x)
    clean[:, :rows, : spec.action_dim] = batch["action"][:, :rows]
    mask = torch.arange(spec.horizon) < rows
    with torch.no_grad():
        for step in range(n):
            time = torch.full((1, spec.horizon), 1.0 - step / n)
            time[:, mask] = 0.0
            x = torch.where(mask[:, None], clean, x)
            x = x - SMOLVLA.denoise(policy, prefix, x, time) / n
    x = torch.where(mask[:, None], clean, x)
    return adapter._post(x[:, :, : spec.action_dim])[0].numpy()


@given(rows=st.integers(1, D), n=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_chunks_are_those_of_lerobot_s_modules_on_both_paths(fast, slow, rows, n, seed):
    guidance = give(fast.spec, rows, seed=seed)
    expected = by_hand(slow, guidance, seed, n)
    for adapter in (fast, slow):
        got = adapter.infer(observe(fast.spec), guidance, num_steps=n, seed=seed).actions
        assert apart(got, expected) < 1e-5
    assert isinstance(fast._field, FastField)


@pytest.mark.parametrize("horizon", [5, 23, 40])
def test_other_horizons(tmp_path, horizon):
    spec = dataclasses.replace(SPEC, chunk_size=horizon)
    folder = trained(write_tiny_checkpoint(tmp_path / "tiny", spec, stats=STATS), horizon - 1)
    fast, slow = load(folder), load(folder, fast=False)
    for rows in (1, horizon // 2, horizon - 1):
        guidance = give(fast.spec, rows, horizon - 1)
        expected = by_hand(slow, guidance, 5, 3)
        for adapter in (fast, slow):
            got = adapter.infer(observe(fast.spec), guidance, num_steps=3, seed=5).actions
            assert apart(got, expected) < 1e-5


def test_one_length_of_prefix_serves_every_d_without_another_shape(fast):
    """As one CUDA graph needs it: the sampler is run by one key on inputs of the same shapes."""
    field, seen = fast._field, set()
    own = field.run

    def run(key, function, *inputs):
        seen.add((key, *(tuple(each.shape) for each in inputs)))
        return own(key, function, *inputs)

    field.run = run
    try:
        for rows in range(1, D + 1):
            fast.infer(observe(fast.spec), give(fast.spec, rows), seed=1)
    finally:
        del field.run
    assert len([key for key, *_ in seen if "trained" in key]) == 1
    assert len(seen) == 2  # the prefix is the other one


# --------------------------------------------------------------------------------- exact rows


def test_given_rows_are_a_prev_to_the_bit_and_the_others_know_them(fast, slow):
    for adapter in (fast, slow):
        guidance = give(adapter.spec, 5)
        got = adapter.infer(observe(adapter.spec), guidance, seed=7).actions
        assert np.array_equal(got[:5], guidance.prev[:5])
        other = adapter.infer(observe(adapter.spec), give(adapter.spec, 5, seed=4), seed=7).actions
        assert np.abs(got[5:] - other[5:]).max() > 1e-3


def test_no_given_row_is_the_unguided_chunk_to_the_bit(fast):
    free = fast.infer(observe(fast.spec), None, seed=7).actions
    got = fast.infer(observe(fast.spec), give(fast.spec, 0), seed=7).actions
    assert np.array_equal(got, free)


def test_what_is_not_given_is_never_read(fast):
    clean, dirty = give(fast.spec, 4), give(fast.spec, 4)
    dirty.prev[4:] = np.nan
    made = [fast.infer(observe(fast.spec), g, seed=7).actions for g in (clean, dirty)]
    assert np.array_equal(*made)


def test_a_joint_that_never_moved_is_given_as_training_had_it(checkpoint, tmp_path):
    """Normalised it is 0 there, and anything times 10⁸ elsewhere."""
    stats = {feature: dict(values) for feature, values in STATS.items()}
    stats["action"]["std"] = np.array(STATS["action"]["std"])
    stats["action"]["std"][2] = 0.0
    folder = trained(write_tiny_checkpoint(tmp_path / "tiny", SPEC, stats=stats))
    adapter = load(folder)
    guidance, other = give(adapter.spec, 4), give(adapter.spec, 4)
    other.prev[:, 2] += 1.0
    made = [adapter.infer(observe(adapter.spec), g, seed=7).actions for g in (guidance, other)]
    assert np.array_equal(made[0][4:], made[1][4:])
    assert np.array_equal(made[1][:4], other.prev[:4])


def test_a_field_sees_given_rows_clean_and_at_the_end_of_time():
    seen = []

    def field(actions, tau):
        seen.append((actions.clone(), tau.clone()))
        return torch.ones_like(actions)

    noise, prev = torch.randn(2, 2, 6, 3).unbind()
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    got = condition_chunk(field, noise, prev, weights, num_steps=4)
    for step, (actions, tau) in enumerate(seen):
        assert torch.equal(actions[:, :2], prev[:, :2])
        assert tau.tolist() == [1.0, 1.0] + [step / 4] * 4
    assert torch.equal(got[:, :2], prev[:, :2])
    torch.testing.assert_close(got[:, 2:], noise[:, 2:] + 1.0)
    free = sample_chunk(lambda a, tau: torch.ones_like(a), noise, num_steps=4, beta=0.0)
    assert torch.equal(got[:, 2:], free[:, 2:])


# ---------------------------------------------------------------------- what a checkpoint says


def test_the_trained_delay_is_read_from_either_file(checkpoint, tmp_path):
    assert read_checkpoint(checkpoint).spec.trained_delay == 0
    beside = trained(Path(shutil.copytree(checkpoint, tmp_path / "beside")), 7)
    assert read_checkpoint(beside).spec.trained_delay == load(beside).spec.trained_delay == 7
    inside = Path(shutil.copytree(beside, tmp_path / "inside"))
    config = json.loads((inside / "config.json").read_text())
    (inside / "config.json").write_text(json.dumps(config | {"rtc_training_max_delay": 9}))
    assert load(inside).spec.trained_delay == 9


@pytest.mark.parametrize("wrong", [16, -1, 2.5, True, "8"])
def test_a_trained_delay_that_can_not_be_is_refused(broken, wrong):
    trained(broken, wrong)
    with pytest.raises(CheckpointError, match="rtc_training_max_delay.*from 0 to 15"):
        read_checkpoint(broken)


def test_lerobot_itself_loads_what_our_writer_leaves(tmp_path):
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    parts = load(write_tiny_checkpoint(tmp_path / "one", SPEC, stats=STATS))
    out = compat.save_checkpoint(
        tmp_path / "two", parts._policy, parts._pre, parts._post,
        backbone=tmp_path / "one" / "backbone", trained_delay=5,
    )  # fmt: skip
    assert read_checkpoint(out).spec.trained_delay == 5
    config = json.loads((out / "config.json").read_text())
    assert "rtc_training_max_delay" not in config
    config["vlm_model_name"] = str(out / "backbone")
    (out / "config.json").write_text(json.dumps(config))
    SmolVLAPolicy.from_pretrained(out)


def test_more_given_rows_than_it_was_trained_for_are_refused_with_the_numbers(fast, checkpoint):
    with pytest.raises(ValueError, match="d = 13 rows.*= 12.*--max-delay 13"):
        fast.infer(observe(fast.spec), give(fast.spec, 13))
    with pytest.raises(ValueError, match="rtc_ros finetune CHECKPOINT DATASET --max-delay D"):
        load(checkpoint).infer(observe(fast.spec), give(fast.spec, 1))
    assert beyond_training(12, 12) == "" != beyond_training(0, 0)


def test_the_strategy_asks_for_it():
    assert Guidance.of(
        RtcSettings(strategy="rtc_trained"), np.zeros((3, 2)), np.ones(3)
    ).method == "trained"  # fmt: skip
