"""Overwriting and choosing: on a linear field, and with a tiny checkpoint of LeRobot's classes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import guide, observe
from tiny_checkpoint import SPEC, STATS, make_stats

from rtc_ros.core.bid import choose
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.guidance import overwrite_chunk, sample_chunk
from rtc_ros.policy.kv_cache import most_candidates
from rtc_ros.policy.protocol import Guidance
from rtc_ros.policy.tiny import write_tiny_checkpoint

H, A = 5, 2


def linear_field(seed: int = 1):
    """v = M a + b over the flattened chunk: rows depend on each other."""
    random = np.random.default_rng(seed)
    m = torch.tensor(random.normal(size=(H * A, H * A)) / math.sqrt(H * A))
    b = torch.tensor(random.normal(size=H * A))
    return lambda a, tau: (a.flatten(1) @ m.T + b).reshape(a.shape)


def example(batch: int = 2):
    noise, prev = torch.tensor(np.random.default_rng(0).normal(size=(2, batch, H, A)))
    return noise, prev


# ------------------------------------------------------------------------------ overwriting


@pytest.mark.parametrize("n", [1, 2, 5])
def test_overwriting_integrates_the_free_rows_with_known_rows_on_their_straight_path(n):
    noise, prev = example()
    field, d = linear_field(), 2
    free = noise[:, d:].clone()
    for step in range(n):
        tau = step / n
        known = (1 - tau) * noise[:, :d] + tau * prev[:, :d]
        free = free + field(torch.cat([known, free], dim=1), tau)[:, d:] / n
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    got = overwrite_chunk(field, noise, prev, weights, num_steps=n)
    torch.testing.assert_close(got, torch.cat([prev[:, :d], free], dim=1))


def test_overwriting_nothing_is_the_unguided_chunk_and_garbage_without_weight_is_not_read():
    noise, prev = example()
    field = linear_field()
    got = overwrite_chunk(field, noise, prev * math.nan, torch.zeros(H), num_steps=4)
    torch.testing.assert_close(got, sample_chunk(field, noise, num_steps=4, beta=0.0))


def test_single_dimensions_can_be_known():
    noise, prev = example()
    weights = torch.zeros(H, A)
    weights[1, 0] = 1.0
    got = overwrite_chunk(linear_field(), noise, prev, weights, num_steps=3)
    assert torch.equal(got[:, 1, 0], prev[:, 1, 0])
    assert not torch.equal(got[:, 1, 1], prev[:, 1, 1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"prev": torch.zeros(2, H - 1, A)}, r"prev \[2, 4, 2\]"),
        ({"weights": torch.zeros(H + 1)}, r"weights \[6\]"),
    ],
)
def test_overwriting_names_what_does_not_fit(change, named):
    noise, prev = example()
    arguments = {"prev": prev, "weights": torch.zeros(H), "num_steps": 2, **change}
    steps = arguments.pop("num_steps")
    with pytest.raises(ValueError, match=named):
        overwrite_chunk(linear_field(), noise, *arguments.values(), num_steps=steps)


# --------------------------------------------------------------------------- from settings


@pytest.mark.parametrize("name", STRATEGIES)
def test_settings_say_what_the_sampler_does_with_the_previous_chunk(name):
    settings = RtcSettings(strategy=name, beta=3.0, bid_candidates=9, bid_contrast=2)
    rows = np.zeros((4, A))
    assert Guidance.of(settings, rows, None) is None is Guidance.of(settings, None, None)
    got = Guidance.of(settings, rows, np.ones(4))
    assert (got.beta, got.candidates, got.contrast) == (3.0, 9, 2)
    assert got.method == (settings.plan.prefix or "guide")


# --------------------------------------------------------------------------------- SmolVLA


def load(folder: Path, **options: object) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1, **options)


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> FlowAdapter:
    return load(checkpoint)


def test_candidates_are_the_chunks_of_their_noises(adapter):
    observation = observe(adapter.spec)
    chunks = adapter.candidates(observation, 3, 4, seed=7)
    assert chunks.shape == (3, SPEC.chunk_size, SPEC.action_dim)
    alone = adapter.infer(observation, None, num_steps=4, seed=7).actions
    np.testing.assert_allclose(chunks[0], alone, atol=1e-5)
    assert np.abs(chunks[1] - chunks[0]).max() > 0.1


def test_bid_takes_the_candidate_nearest_to_the_previous_chunk_in_normalised_distance(adapter):
    observation = observe(adapter.spec)
    chunks = adapter.candidates(observation, 6, 4, seed=7)
    std = STATS["action"]["std"]
    for wanted in range(6):
        near = chunks[wanted, :12] + 1e-3 * std
        guidance = dataclasses.replace(
            guide(adapter.spec), prev=near, method="choose", candidates=6
        )
        got = adapter.infer(observation, guidance, num_steps=4, seed=7).actions
        np.testing.assert_array_equal(got, chunks[wanted])
    far = guide(adapter.spec, method="choose", candidates=6)
    expected = chunks[choose(chunks, far.prev, far.weights, std)]
    got = adapter.infer(observation, far, num_steps=4, seed=7).actions
    np.testing.assert_array_equal(got, expected)


def test_overwritten_rows_are_the_previous_chunk_s(adapter):
    observation = observe(adapter.spec)
    guidance = guide(adapter.spec, method="overwrite")
    got = adapter.infer(observation, guidance, seed=7).actions
    free = adapter.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got[:2], guidance.prev[:2], atol=1e-5)  # its rows of weight 1
    assert np.abs(got[2:] - free[2:]).max() > 1e-3


def test_forward_contrast_compares_with_the_weak_checkpoint_s_chunks(checkpoint, tmp_path):
    strong = load(checkpoint)
    observation = observe(strong.spec)
    weak = load(write_tiny_checkpoint(tmp_path / "weak", SPEC, stats=STATS, seed=11))
    strong.contrast_with(weak)
    guidance = guide(strong.spec, method="choose", candidates=8, contrast=3)
    got = strong.infer(observation, guidance, num_steps=4, seed=3).actions
    chunks, bad = (p.candidates(observation, 8, 4, seed=3) for p in (strong, weak))
    std = STATS["action"]["std"]
    expected = chunks[choose(chunks, guidance.prev, guidance.weights, std, bad, 3)]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"chunk_size": 12}, "chunks of 12 rows and 6 joints, the policy of 16 rows and 6"),
        ({"action_dim": 5}, "chunks of 16 rows and 5 joints"),
        ({"state_dim": 6}, "takes 6 joints and the images"),
    ],
)
def test_a_weak_checkpoint_of_another_shape_is_refused(adapter, tmp_path, change, sentence):
    spec = dataclasses.replace(SPEC, **change)
    stats = make_stats(spec.action_dim, spec.state_dim)
    weak = load(write_tiny_checkpoint(tmp_path / "weak", spec, stats=stats))
    with pytest.raises(ValueError, match=sentence):
        adapter.contrast_with(weak)


def test_the_memory_for_candidates_is_known_after_the_warm_up(checkpoint):
    adapter = load(checkpoint)
    assert adapter.spec.max_candidates == 1
    adapter.warm_up()
    assert adapter.spec.max_candidates > 16
    half = most_candidates(2_000_000, torch.device("cpu"))
    assert 0.4 < half / most_candidates(1_000_000, torch.device("cpu")) < 0.6
    assert most_candidates(10**15, torch.device("cpu")) == 1
