"""The adapter against LeRobot's own code, on tiny checkpoints of its real classes."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from reference import Reference, guide, observe, rtc_config
from still_field import StillField, still_like
from tiny_checkpoint import SPEC, STATS, make_stats
from torch.autograd.functional import vjp

from rtc_ros.core.prefix import prefix_weights
from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter, PolicyError
from rtc_ros.policy.checkpoint import loadable_config, read_checkpoint
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.guidance import guidance_weight
from rtc_ros.policy.protocol import Guidance
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint
from rtc_ros.policy.velocity_field import LeRobotField


def load(folder: Path, **options: object) -> FlowAdapter:
    return FlowAdapter.load(folder, device="cpu", torch_threads=1, **options)


def write(folder: Path, spec: TinySpec = SPEC, **fields: object) -> Path:
    stats = make_stats(spec.action_dim, spec.state_dim)
    return write_tiny_checkpoint(folder / "tiny", spec, stats=stats, **fields)


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> FlowAdapter:
    return load(checkpoint)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Reference:
    return Reference(checkpoint)


# ---------------------------------------------------------------------- equal to LeRobot


@pytest.mark.parametrize("task", ["pass the cube", "put the red cube on the far side, slowly"])
def test_unguided_chunk_is_lerobot_s(adapter, reference, task):
    observation = observe(adapter.spec, task=task)
    expected = reference.chunk(observation, adapter.noise(7))
    got = adapter.infer(observation, None, seed=7).actions
    assert got.shape == (SPEC.chunk_size, SPEC.action_dim) and got.dtype == np.float64
    np.testing.assert_allclose(got, expected, atol=1e-5)


def sizes(spec):
    return dataclasses.replace(spec, description="")


@pytest.mark.parametrize(
    "fields",
    [
        {"adapt_to_pi_aloha": True},
        {"empty_cameras": 2},
        {"prefix_length": 60},
        {"add_image_special_tokens": True},
        {"pad_language_to": "max_length"},
        {"self_attn_every_n_layers": 4},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_unguided_chunk_is_lerobot_s_for_other_configs(tmp_path, fields):
    spec = dataclasses.replace(
        SPEC, action_dim=14, state_dim=14, max_action_dim=16, max_state_dim=16
    )
    folder = write(tmp_path, spec, **fields)
    adapter = load(folder)
    assert set(adapter.spec.image_features) == set(spec.image_features)
    assert sizes(read_checkpoint(folder).spec) == sizes(adapter.spec)
    observation = observe(adapter.spec)
    expected = Reference(folder).chunk(observation, adapter.noise(7))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(
        adapter.infer(observation, None, seed=7).actions, expected, atol=1e-5
    )


def test_num_steps_are_lerobot_s(adapter, reference, monkeypatch):
    observation = observe(adapter.spec)
    monkeypatch.setattr(reference.policy.config, "num_steps", 7)
    expected = reference.chunk(observation, adapter.noise(1))
    got = adapter.infer(observation, None, num_steps=7, seed=1).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("delay", "stride"), [(0, 4), (3, 4), (5, 8)])
def test_identity_is_lerobot_s_rtc_without_padding_dimensions(tmp_path, delay, stride):
    """LeRobot guides padding dimensions too, to zero; without any both must agree."""
    spec = dataclasses.replace(SPEC, max_action_dim=SPEC.action_dim)
    folder = write(tmp_path, spec)
    adapter = load(folder)
    horizon, end = spec.chunk_size, spec.chunk_size - stride
    observation = observe(adapter.spec)
    prev = np.random.default_rng(3).normal(size=(end, spec.action_dim))
    weights = prefix_weights(horizon, delay, stride, "exp")
    reference = Reference(folder, rtc_config(beta=5.0, end=end))
    expected = reference.chunk(
        observation,
        adapter.noise(7),
        inference_delay=delay,
        prev_chunk_left_over=reference.batch(observation, prev)["action"],
        execution_horizon=end,
    )
    guidance = Guidance(prev, weights, beta=5.0, jacobian="identity")
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    unguided = adapter.infer(observation, None, seed=7).actions
    assert np.abs(got - unguided).max() > 0.1  # or both would just be unguided


def test_vjp_is_autograd_s_through_lerobot_s_denoise_step(adapter, reference):
    """Equations 1 to 4 written out once more, in LeRobot's time and sign."""
    observation, guidance = observe(adapter.spec), guide(adapter.spec, beta=3.0, sigma_d=0.7)
    batch = reference.batch(observation, guidance.prev)
    rows, dims, steps = len(guidance.prev), SPEC.action_dim, SPEC.num_steps
    weights = torch.zeros(1, SPEC.chunk_size, SPEC.max_action_dim)
    weights[:, :rows, :dims] = torch.tensor(guidance.weights[:rows, None], dtype=torch.float32)
    prev = torch.zeros_like(weights)
    prev[:, :rows, :dims] = batch["action"]
    model = reference.policy.model.requires_grad_(False)
    prefix = SMOLVLA.encode_prefix(reference.policy, batch)
    x = adapter.noise(7)
    for step in range(steps):
        t = 1.0 - step / steps

        def towards_noise(a, t=t):
            return model.denoise_step(prefix.pad_masks, prefix.cache, a, torch.tensor([t]))

        def final(a, t=t):
            return a - t * towards_noise(a)

        with torch.enable_grad():
            denoised, product = vjp(final, x, weights * (prev - final(x)))
        v = (denoised - x) / t
        x = x + (v + guidance_weight(1 - t, 3.0, 0.7) * product) / steps
    expected = reference.post(x[:, :, :dims].detach())[0].numpy()
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    identity = dataclasses.replace(guidance, jacobian="identity")
    other = adapter.infer(observation, identity, seed=7).actions
    assert np.abs(got - other).max() > 1e-3


# ------------------------------------------------------------------------------ guidance


def test_guided_frozen_rows_come_closer_to_prev(adapter):
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    guided = adapter.infer(observation, guidance, seed=7).actions
    free = adapter.infer(observation, None, seed=7).actions
    frozen = guidance.weights == 1.0
    target = guidance.prev[frozen[: len(guidance.prev)]]
    assert np.abs(guided[frozen] - target).mean() < 0.3 * np.abs(free[frozen] - target).mean()


def still(folder: Path) -> tuple[FlowAdapter, StillField]:
    return still_like(load(folder))


@pytest.mark.parametrize("jacobian", ["vjp", "identity"])
def test_padding_dimensions_and_missing_rows_are_never_guided(checkpoint, jacobian):
    adapter, field = still(checkpoint)
    guidance = guide(adapter.spec, rows=9, jacobian=jacobian)
    adapter.infer(observe(adapter.spec), guidance, seed=7, num_steps=3)
    noise, last = adapter.noise(7), field.last
    assert torch.equal(last[:, :, SPEC.action_dim :], noise[:, :, SPEC.action_dim :])
    assert torch.equal(last[:, 9:], noise[:, 9:])
    assert (last[:, :9, : SPEC.action_dim] != noise[:, :9, : SPEC.action_dim]).all()


@pytest.mark.parametrize(
    "normalization", ["MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY"]
)
def test_prev_goes_through_the_checkpoint_s_own_normalisation(tmp_path, normalization):
    """One step of weight 1 in a still field ends exactly on prev, back in the robot's units."""
    folder = write(tmp_path, dataclasses.replace(SPEC, normalization=normalization))
    adapter, _ = still(folder)
    prev = np.random.default_rng(3).normal(size=(SPEC.chunk_size, SPEC.action_dim))
    guidance = Guidance(prev, np.ones(SPEC.chunk_size), beta=1.0)
    got = adapter.infer(observe(adapter.spec), guidance, num_steps=1).actions
    np.testing.assert_allclose(got, prev, atol=1e-5)


def test_prev_goes_through_the_pi_aloha_adaptation_and_back(tmp_path):
    spec = dataclasses.replace(
        SPEC, action_dim=14, state_dim=14, max_action_dim=16, max_state_dim=16
    )
    adapter, field = still(write(tmp_path, spec, adapt_to_pi_aloha=True))
    prev = np.random.default_rng(3).normal(size=(spec.chunk_size, 14))
    guidance = Guidance(prev, np.ones(spec.chunk_size), beta=1.0)
    got = adapter.infer(observe(adapter.spec), guidance, num_steps=1).actions
    np.testing.assert_allclose(got, prev, atol=1e-5)


def test_a_joint_that_never_moved_in_training_is_not_guided(tmp_path, caplog):
    stats = {feature: dict(values) for feature, values in STATS.items()}
    stats[compat.ACTION]["std"] = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    folder = write_tiny_checkpoint(tmp_path / "tiny", SPEC, stats=stats)
    adapter, field = still(folder)
    assert "[1] never vary" in caplog.text
    adapter.infer(observe(adapter.spec), guide(adapter.spec), seed=7, num_steps=3)
    assert torch.equal(field.last[:, :, 1], adapter.noise(7)[:, :, 1])
    assert (field.last[:, :12, 0] != adapter.noise(7)[:, :12, 0]).all()


def test_nan_in_rows_without_weight_does_no_harm(adapter):
    observation, guidance = observe(adapter.spec), guide(adapter.spec, rows=12)
    weights = np.where(np.arange(SPEC.chunk_size) < 8, guidance.weights, 0.0)
    dirty = guidance.prev.copy()
    dirty[8:] = np.nan
    clean = adapter.infer(observation, Guidance(guidance.prev, weights), seed=7).actions
    got = adapter.infer(observation, Guidance(dirty, weights), seed=7).actions
    assert np.array_equal(got, clean)


def test_no_parameter_takes_part_in_the_gradient(adapter):
    adapter.infer(observe(adapter.spec), guide(adapter.spec), seed=7)
    parameters = list(adapter._policy.parameters())
    assert parameters and not any(p.requires_grad or p.grad is not None for p in parameters)
    assert not adapter._policy.training


# ------------------------------------------------------------ seeds, threads, dtypes, phases


def test_seed_fixes_the_chunk(adapter):
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    torch.manual_seed(0)
    first = adapter.infer(observation, guidance, seed=7).actions
    assert np.array_equal(first, adapter.infer(observation, guidance, seed=7).actions)
    assert not np.array_equal(first, adapter.infer(observation, guidance, seed=8).actions)
    torch.manual_seed(0)
    free = adapter.infer(observation, None).actions
    torch.manual_seed(0)
    assert not np.array_equal(free, adapter.infer(observation, None).actions)


def test_runs_in_another_thread(adapter):
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    got = []
    thread = threading.Thread(
        target=lambda: got.append(adapter.infer(observation, guidance, seed=7).actions)
    )
    thread.start()
    thread.join(120)
    assert np.array_equal(got[0], adapter.infer(observation, guidance, seed=7).actions)


def test_warm_up_runs_without_and_with_a_previous_chunk(adapter, monkeypatch):
    calls, now = [], [0.0]
    infer, lasts = adapter.infer, iter([9.0, 7.0, 0.2, 5.0, 0.3])

    def spy(observation, guidance, **options):
        calls.append(guidance is not None)
        now[0] += next(lasts)
        return infer(observation, guidance, **options)

    monkeypatch.setattr(adapter, "infer", spy)
    monkeypatch.setattr("rtc_ros.policy.adapter.time.perf_counter", lambda: now[0])
    # One that the machine held up does not make the first forecast.
    assert adapter.warm_up() == pytest.approx(0.3)
    assert calls == [False, True, True, True, True]


def test_result_says_where_its_time_went(adapter):
    durations = adapter.infer(observe(adapter.spec), None).durations_s
    assert list(durations) == ["preprocess", "prefix", "denoise", "postprocess"]
    assert all(duration > 0.0 for duration in durations.values())


def test_dtypes_are_pinned(checkpoint, adapter):
    low = load(checkpoint, dtype="bfloat16")
    inner = low._policy.model.vlm_with_expert
    assert {p.dtype for p in inner.parameters()} == {torch.bfloat16}
    assert low._policy.model.action_out_proj.weight.dtype == torch.float32
    assert {p.dtype for p in adapter._policy.parameters()} == {torch.float32}
    assert "float32" in load(checkpoint, dtype="checkpoint").spec.description
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    for each in (None, guidance):
        got = low.infer(observation, each, seed=7).actions
        near = adapter.infer(observation, each, seed=7).actions
        np.testing.assert_allclose(got, near, atol=0.1)


def test_mixed_dtypes_of_a_backbone_do_not_leak_in(broken, adapter):
    """Parts that LeRobot builds from the backbone's config take the dtype it names."""
    config = broken / "backbone" / "config.json"
    config.write_text(
        config.read_text().replace(
            '"text_config": {', '"text_config": {"torch_dtype": "bfloat16",', 1
        )
    )
    known = compat.known_fields(SMOLVLA.config_class())
    fields = loadable_config(read_checkpoint(broken).config, known)
    raw = SMOLVLA.build(
        SMOLVLA.decode_config(fields, backbone=broken / "backbone", device="cpu")
    )
    assert len({p.dtype for p in raw.parameters()}) == 2  # the trap is there
    mixed = load(broken)
    assert {p.dtype for p in mixed._policy.parameters()} == {torch.float32}
    observation = observe(adapter.spec)
    got = mixed.infer(observation, None, seed=7).actions
    assert np.array_equal(got, adapter.infer(observation, None, seed=7).actions)


def test_images_of_another_size_are_resized(adapter):
    observation = observe(adapter.spec)
    big = {name: image.repeat(2, 0).repeat(2, 1) for name, image in observation.images.items()}
    got = adapter.infer(dataclasses.replace(observation, images=big), None, seed=7).actions
    same = adapter.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got, same, atol=0.05)


def test_read_only_images_are_taken(adapter, recwarn):
    observation = observe(adapter.spec)
    for image in observation.images.values():
        image.setflags(write=False)
    adapter.infer(observation, None, seed=7)
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_renamed_features_are_asked_for_by_the_robot_s_names(broken, adapter):
    path = broken / "policy_preprocessor.json"
    renamed = {"observation.images.cam_high": "observation.images.top"}
    text = path.read_text().replace(
        '"rename_map": {}', f'"rename_map": {renamed}'.replace("'", '"')
    )
    path.write_text(text)
    other = load(broken)
    assert set(other.spec.image_features) == {
        "observation.images.cam_high",
        "observation.images.side",
    }
    assert sizes(read_checkpoint(broken).spec) == sizes(other.spec)
    observation = observe(adapter.spec)
    images = dict(observation.images)
    images["observation.images.cam_high"] = images.pop("observation.images.top")
    got = other.infer(dataclasses.replace(observation, images=images), None, seed=7).actions
    assert np.array_equal(got, adapter.infer(observation, None, seed=7).actions)


def test_nothing_reaches_for_a_network(checkpoint, no_network):
    load(checkpoint).warm_up()
    assert no_network == []
    with pytest.raises(Exception):  # noqa: B017  of requests or httpx, by version
        huggingface_hub.utils.get_session().head("https://huggingface.co")
    assert no_network, "the guard would not have seen an attempt"


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"state": np.zeros(5)}, r"\[5\].*\[7\]"),
        ({"state": np.array([0, 0, np.nan, 0, np.inf, 0, 0])}, r"not finite at \[2, 4\]"),
        ({"images": {}}, "missing: observation.images.side, observation.images.top"),
        ({"task": None}, "None"),
    ],
)
def test_observation_errors_name_what_does_not_fit(adapter, changed, named):
    observation = dataclasses.replace(observe(adapter.spec), **changed)
    with pytest.raises(ValueError, match=named):
        adapter.infer(observation, None)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.zeros((64, 64, 3), dtype=np.float32), "float32"),
        (np.zeros((3, 64, 64), dtype=np.uint8), r"\[3, 64, 64\]"),
        (np.zeros((64, 64), dtype=np.uint8), r"\[64, 64\]"),
        (np.zeros((0, 64, 3), dtype=np.uint8), r"\[0, 64, 3\]"),
    ],
)
def test_image_errors_name_the_image(adapter, image, named):
    observation = observe(adapter.spec)
    observation.images["observation.images.top"] = image
    with pytest.raises(ValueError, match=f"observation.images.top is .*{named}"):
        adapter.infer(observation, None)


def test_an_image_the_policy_does_not_know_is_refused(adapter):
    observation = observe(adapter.spec)
    observation.images["observation.images.spare"] = np.zeros((64, 64, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="not known to it: observation.images.spare"):
        adapter.infer(observation, None)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"prev": np.zeros((12, 5))}, r"\[12, 5\].*6\]"),
        ({"prev": np.zeros((17, 6))}, r"\[17, 6\].*1 to 16"),
        ({"prev": np.zeros((0, 6))}, r"\[0, 6\]"),
        ({"prev": np.full((12, 6), np.nan)}, r"not finite in the rows \[0, 1"),
        ({"weights": np.ones(12)}, r"\[12\], not \[16\]"),
        ({"weights": np.ones(16)}, "beyond the 12 rows"),
        ({"weights": np.r_[2.0, np.zeros(15)]}, "within 0 and 1"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"sigma_d": 0.0}, "sigma_d is 0.0"),
        ({"jacobian": "full"}, "vjp, identity"),
    ],
)
def test_guidance_errors_name_what_does_not_fit(adapter, changed, named):
    guidance = dataclasses.replace(guide(adapter.spec), **changed)
    with pytest.raises(ValueError, match=named):
        adapter.infer(observe(adapter.spec), guidance)


def test_num_steps_below_one_are_refused(adapter):
    with pytest.raises(ValueError, match="num_steps is 0"):
        adapter.infer(observe(adapter.spec), None, num_steps=0)


def test_a_chunk_that_is_not_finite_never_leaves(checkpoint):
    loaded = load(checkpoint)

    def broken_field(policy):
        inner = LeRobotField(policy)
        return lambda batch: lambda actions, tau: inner(batch)(actions, tau) * float("nan")

    adapter = FlowAdapter(
        loaded._policy, loaded._pre, loaded._post, device="cpu", field=broken_field
    )
    with pytest.raises(PolicyError, match="96 values that are not finite"):
        adapter.infer(observe(adapter.spec), None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dtype": "float16"}, "float32, bfloat16, checkpoint"),
        ({"device": "toaster"}, "toaster"),
    ],
)
def test_load_errors_name_the_argument(checkpoint, options, named):
    with pytest.raises(ValueError, match=named):
        FlowAdapter.load(checkpoint, **{"device": "cpu", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(checkpoint):
    with pytest.raises(ValueError, match="no CUDA device here; use cpu"):
        FlowAdapter.load(checkpoint, device="cuda")
