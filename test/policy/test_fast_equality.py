"""The fast path against LeRobot's own code: velocity, Jacobian, chunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import Reference, guide, observe
from tiny_checkpoint import SPEC, make_stats
from torch.autograd.functional import vjp

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.guidance import sample_chunk
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint
from rtc_ros.policy.velocity_field import LeRobotField

ROWS = SPEC.chunk_size


def load(folder: Path, **options: object) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1, **options)


def write(folder: Path, spec: TinySpec = SPEC, **fields: object) -> Path:
    stats = make_stats(spec.action_dim, spec.state_dim)
    return write_tiny_checkpoint(folder / "tiny", spec, stats=stats, **fields)


def apart(got: np.ndarray | torch.Tensor, expected: np.ndarray | torch.Tensor) -> float:
    """Largest difference, relative to the largest entry."""
    return float(abs(got - expected).max() / abs(expected).max())


@pytest.fixture(scope="module")
def fast(checkpoint: Path) -> FlowAdapter:
    adapter = load(checkpoint)
    assert isinstance(adapter._field, FastField)
    return adapter


@pytest.fixture(scope="module")
def slow(checkpoint: Path) -> FlowAdapter:
    adapter = load(checkpoint, fast=False)
    assert isinstance(adapter._field, LeRobotField)
    return adapter


def batch_of(adapter: FlowAdapter, reference: Reference, **options: object) -> dict:
    return reference.batch(observe(adapter.spec, **options))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Reference:
    return Reference(checkpoint)


# ------------------------------------------------------------------------- chunks


def test_unguided_chunk_is_that_of_lerobot_s_sample_actions(fast, reference):
    observation = observe(fast.spec)
    expected = reference.chunk(observation, fast.noise(7))
    assert apart(fast.infer(observation, None, seed=7).actions, expected) < 1e-5


@pytest.mark.parametrize("jacobian", ["vjp", "identity"])
@pytest.mark.parametrize("rows", [3, 9, ROWS])
def test_guided_chunk_is_that_of_autograd_through_lerobot_s_denoise_step(
    fast, slow, rows, jacobian
):
    """The generic sampler is compared with equations 1 to 4 in test_guidance and test_smolvla."""
    observation = observe(fast.spec)
    guidance = guide(fast.spec, rows=rows, beta=3.0, sigma_d=0.7, jacobian=jacobian)
    expected = slow.infer(observation, guidance, seed=7).actions
    assert apart(fast.infer(observation, guidance, seed=7).actions, expected) < 1e-4
    free = slow.infer(observation, None, seed=7).actions
    assert apart(free, expected) > 0.05  # or both would just be unguided


ALOHA = dataclasses.replace(SPEC, action_dim=14, state_dim=14, max_action_dim=16, max_state_dim=16)


@pytest.mark.parametrize(
    "fields",
    [
        {"adapt_to_pi_aloha": True},
        {"empty_cameras": 2},
        {"prefix_length": 60},
        {"add_image_special_tokens": True},
        {"empty_cameras": 1, "add_image_special_tokens": True},
        {"empty_cameras": 3, "add_image_special_tokens": True, "prefix_length": 80},
        {"pad_language_to": "max_length"},
        {"self_attn_every_n_layers": 4},
        {"self_attn_every_n_layers": -1},
        {"attention_mode": "self_attn"},
        {"num_expert_layers": 2, "self_attn_every_n_layers": -1},
        {"expert_width_multiplier": 0.5},
    ],
    ids=str,
)
def test_chunks_are_equal_for_other_configs(tmp_path, fields):
    folder = write(tmp_path, ALOHA, **fields)
    fast, slow = load(folder), load(folder, fast=False)
    assert isinstance(fast._field, FastField)
    observation = observe(fast.spec)
    for guidance in (None, guide(fast.spec)):
        expected = slow.infer(observation, guidance, seed=7).actions
        assert apart(fast.infer(observation, guidance, seed=7).actions, expected) < 1e-4


def test_chunks_are_equal_with_the_kernels_that_large_weights_get(checkpoint, slow, monkeypatch):
    monkeypatch.setattr("rtc_ros.policy.fast.linear._LEAST_TO_PACK", 0)
    packed = load(checkpoint)
    observation = observe(slow.spec)
    for guidance in (None, guide(slow.spec)):
        expected = slow.infer(observation, guidance, seed=7).actions
        assert apart(packed.infer(observation, guidance, seed=7).actions, expected) < 1e-4


@pytest.mark.parametrize("fields", [{}, {"attention_mode": "self_attn"}], ids=str)
def test_padding_language_to_one_length_changes_nothing(tmp_path, fields):
    """What a CUDA graph for every sentence needs, on the CPU."""
    slow = load(write(tmp_path, **fields), fast=False)
    field = FastField(slow._policy, padded=True)
    padded = FlowAdapter(
        slow._policy, slow._pre, slow._post, device="cpu", field=lambda policy: field
    )
    lengths = set()
    for task in ("pass the cube", "lift", "put the red cube on the far side, slowly", "lift"):
        observation = observe(slow.spec, task=task)
        for guidance in (None, guide(slow.spec), guide(slow.spec, rows=ROWS)):
            expected = slow.infer(observation, guidance, seed=7).actions
            assert apart(padded.infer(observation, guidance, seed=7).actions, expected) < 1e-4
        lengths.add(field.expert.prefix_tokens)
    assert len(lengths) == 1


def test_bfloat16_is_as_near_to_float32_as_lerobot_s(checkpoint, slow):
    fast16, slow16 = (load(checkpoint, dtype="bfloat16", fast=each) for each in (True, False))
    assert isinstance(fast16._field, FastField)
    off = {"fast": 0.0, "slow": 0.0}
    for seed in range(4):
        observation = observe(slow.spec, seed=seed)
        for guidance in (None, guide(slow.spec)):
            exact = slow.infer(observation, guidance, seed=seed).actions
            for name, adapter in (("fast", fast16), ("slow", slow16)):
                off[name] += apart(adapter.infer(observation, guidance, seed=seed).actions, exact)
    assert off["fast"] < 1.2 * off["slow"]


def test_same_seed_same_chunk_to_the_bit_whatever_was_computed_before(fast):
    observation, guidance = observe(fast.spec), guide(fast.spec)
    first = fast.infer(observation, guidance, seed=7).actions
    fast.infer(observe(fast.spec, seed=1, task="something longer than before"), None, num_steps=3)
    fast.infer(observation, guide(fast.spec, rows=5, seed=9))
    assert np.array_equal(fast.infer(observation, guidance, seed=7).actions, first)


# ------------------------------------------------------------------ velocity and Jacobian


def test_velocity_is_lerobot_s(fast, slow, reference):
    batch = batch_of(fast, reference)
    actions = fast.noise(3)
    for tau in (0.0, 0.3, 0.9):
        got = fast._field(batch)(actions, tau)
        with torch.no_grad():
            expected = slow._field(batch)(actions, tau)
        assert apart(got, expected) < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 9, ROWS])
def test_pull_back_is_autograd_s_through_lerobot_s_denoise_step(fast, reference, rows):
    batch = batch_of(fast, reference)
    actions, tau = fast.noise(3), 0.5
    cotangent = torch.zeros_like(actions)
    cotangent[:, :rows] = torch.randn(rows, SPEC.max_action_dim, generator=torch.Generator())
    fast._field(batch)(actions, tau)
    got = fast._field.expert.pull_back(cotangent[0, :rows])
    prefix = SMOLVLA.encode_prefix(reference.policy, batch)
    _, expected = vjp(
        lambda a: -SMOLVLA.denoise(reference.policy, prefix, a, torch.tensor([1.0 - tau])),
        actions,
        cotangent,
    )
    assert got.shape == (rows, SPEC.max_action_dim)
    assert apart(got, expected[0, :rows]) < 1e-4
    # The claim that lets the backward pass leave them out, on LeRobot's own code.
    assert torch.equal(expected[0, rows:], torch.zeros(ROWS - rows, SPEC.max_action_dim))


def test_rows_beyond_the_mask_are_not_moved_by_guidance_of_one_step(fast):
    """Nor may they depend on A_prev: with one Euler step nothing has reached them."""
    observation, guidance = observe(fast.spec), guide(fast.spec, rows=9)
    guided = fast.infer(observation, guidance, seed=7, num_steps=1).actions
    free = fast.infer(observation, None, seed=7, num_steps=1).actions
    assert np.array_equal(guided[9:], free[9:])
    assert np.abs(guided[:9] - free[:9]).min() > 0.0


def test_no_weight_or_no_beta_is_no_guidance_to_the_bit(fast):
    observation = observe(fast.spec)
    free = fast.infer(observation, None, seed=7).actions
    guidance = guide(fast.spec)
    for each in (
        dataclasses.replace(guidance, weights=np.zeros(ROWS)),
        dataclasses.replace(guidance, beta=0.0),
    ):
        assert np.array_equal(fast.infer(observation, each, seed=7).actions, free)


def test_one_chunk_at_a_time(fast, reference):
    velocity = fast._field(batch_of(fast, reference))
    with pytest.raises(ValueError, match="one chunk at a time, not 2"):
        sample_chunk(velocity, torch.zeros(2, ROWS, SPEC.max_action_dim), num_steps=1, beta=0.0)
