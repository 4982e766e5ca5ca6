"""π0 and π0.5 through the adapter against LeRobot's own code, on tiny models of its classes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from reference import guide, observe, rtc_config
from safetensors.torch import load_file, save_file
from still_field import StillField, still_like
from tiny_pi import CAMERAS, KINDS, load_pi, small, write_pi
from torch.autograd.functional import vjp

from rtc_ros.core.prefix import prefix_weights
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError
from rtc_ros.policy.families import FAMILIES
from rtc_ros.policy.guidance import guidance_weight
from rtc_ros.policy.protocol import Guidance
from rtc_ros.policy.velocity_field import LeRobotField


class Reference(reference.Reference):
    """A checkpoint run as LeRobot's users run it, but for the tokenizer: a folder here."""

    def __init__(self, folder: Path, rtc: Any = None, dtype: str = "float32") -> None:
        config = PreTrainedConfig.from_pretrained(folder)
        config.rtc_config, config.dtype, config.device = rtc, dtype, "cpu"
        with small(config.type):
            kind = FAMILIES[config.type].policy_class()
            self.policy = kind.from_pretrained(folder, config=config)
        self.pre, self.post = make_pre_post_processors(
            config,
            pretrained_path=str(folder),
            preprocessor_overrides={
                "tokenizer_processor": {"tokenizer_name": str(folder / "backbone")}
            },
        )


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each kind. Not to be changed."""
    return write_pi(tmp_path_factory.mktemp(request.param) / "tiny", request.param)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> FlowAdapter:
    return load_pi(folder)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to break."""
    return Path(shutil.copytree(folder, tmp_path / "broken"))


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# -------------------------------------------------------------------------- equal to LeRobot


@pytest.mark.parametrize("task", ["pass the cube", "put the red_cube on the far side, slowly"])
def test_unguided_chunk_is_lerobot_s(adapter, reference, task):
    observation = observe(adapter.spec, task=task)
    expected = reference.chunk(observation, adapter.noise(7))
    got = adapter.infer(observation, None, seed=7).actions
    assert got.shape == (16, 6) and got.dtype == np.float64
    np.testing.assert_allclose(got, expected, atol=1e-5)
    free = adapter.infer(observation, None, seed=8).actions
    assert np.abs(free - got).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_size": 9, "num_inference_steps": 3},
        {"cameras": {"observation.images.only": (80, 60)}, "max_action_dim": 32},
        {"cameras": {f"observation.images.{n}": (56, 56) for n in "abc"}, "empty_cameras": 1},
    ],
    ids=["horizon", "one camera", "three and an empty one"],
)
def test_unguided_chunk_is_lerobot_s_for_other_configs(tmp_path, kind, fields):
    folder = write_pi(tmp_path / "tiny", kind, **fields)
    adapter = load_pi(folder)
    observation = observe(adapter.spec)
    expected = Reference(folder).chunk(observation, adapter.noise(7))
    got = adapter.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    spec = read_checkpoint(folder).spec
    assert (spec.horizon, spec.num_steps) == (adapter.spec.horizon, adapter.spec.num_steps)
    assert set(spec.image_features) == set(fields.get("cameras", CAMERAS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("delay", "stride"), [(0, 4), (3, 5)])
def test_identity_is_lerobot_s_rtc_without_padding_dimensions(tmp_path, kind, delay, stride):
    """LeRobot guides padding dimensions too, to zero; without any both must agree."""
    folder = write_pi(tmp_path / "tiny", kind, max_action_dim=6)
    adapter, end = load_pi(folder), 16 - stride
    observation = observe(adapter.spec)
    prev = np.random.default_rng(3).normal(size=(end, 6))
    reference = Reference(folder, rtc_config(beta=5.0, end=end))
    expected = reference.chunk(
        observation,
        adapter.noise(7),
        inference_delay=delay,
        prev_chunk_left_over=reference.batch(observation, prev)["action"],
        execution_horizon=end,
    )
    weights = prefix_weights(16, delay, stride, "exp")
    guidance = Guidance(prev, weights, beta=5.0, jacobian="identity")
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(got - adapter.infer(observation, None, seed=7).actions).max() > 0.1


def test_vjp_is_autograd_s_through_lerobot_s_denoise_step(adapter, reference):
    """Equations 1 to 4 written out once more, in LeRobot's time and sign."""
    observation, guidance = observe(adapter.spec), guide(adapter.spec, beta=3.0, sigma_d=0.7)
    batch = reference.batch(observation, guidance.prev)
    rows = len(guidance.prev)
    weights = torch.zeros(1, 16, 8)
    weights[:, :rows, :6] = torch.tensor(guidance.weights[:rows, None], dtype=torch.float32)
    prev = torch.zeros_like(weights)
    prev[:, :rows, :6] = batch["action"]
    reference.policy.requires_grad_(False)
    family = FAMILIES[reference.policy.name]
    prefix = family.encode_prefix(reference.policy, batch)
    more = {} if prefix.state is None else {"state": prefix.state}
    x = adapter.noise(7)
    for step in range(4):
        t = 1.0 - step / 4

        def final(a, t=t):
            step = reference.policy.model.denoise_step(
                prefix_pad_masks=prefix.pad_masks,
                past_key_values=prefix.cache,
                x_t=a,
                timestep=torch.tensor([t]),
                **more,
            )
            return a - t * step

        with torch.enable_grad():
            denoised, product = vjp(final, x, weights * (prev - final(x)))
        x = x + ((denoised - x) / t + guidance_weight(1 - t, 3.0, 0.7) * product) / 4
    expected = reference.post(x[:, :, :6].detach())[0].numpy()
    got = adapter.infer(observation, guidance, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    identity = adapter.infer(
        observation, guide(adapter.spec, beta=3.0, sigma_d=0.7, jacobian="identity"), seed=7
    )
    assert np.abs(got - identity.actions).max() > 1e-3


def test_bfloat16_is_lerobot_s_bfloat16(folder, adapter):
    low, own = load_pi(folder, dtype="bfloat16"), Reference(folder, dtype="bfloat16")
    observation = observe(adapter.spec)
    expected = own.chunk(observation, adapter.noise(7))
    got = low.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)
    exact = adapter.infer(observation, None, seed=7).actions
    assert 1e-4 < np.abs(got - exact).max() < 0.5  # it is another arithmetic, and not far off
    guided = low.infer(observation, guide(adapter.spec), seed=7).actions
    near = adapter.infer(observation, guide(adapter.spec), seed=7).actions
    assert np.abs(guided - near).max() < 0.5
    dtypes = {p.dtype for p in low._policy.model.paligemma_with_expert.gemma_expert.parameters()}
    assert torch.bfloat16 in dtypes
    assert low._policy.model.action_out_proj.weight.dtype == torch.float32


def test_candidates_are_the_chunks_of_their_noises(adapter):
    observation = observe(adapter.spec)
    chunks = adapter.candidates(observation, 3, 4, seed=7)
    alone = adapter.infer(observation, None, num_steps=4, seed=7).actions
    np.testing.assert_allclose(chunks[0], alone, atol=1e-5)
    assert np.abs(chunks[1] - chunks[0]).max() > 0.1


# ----------------------------------------------------------------------- guidance and the state


def still(folder: Path) -> tuple[FlowAdapter, StillField]:
    return still_like(load_pi(folder))


def test_padding_dimensions_and_missing_rows_are_never_guided(folder):
    adapter, field = still(folder)
    adapter.infer(observe(adapter.spec), guide(adapter.spec, rows=9), seed=7, num_steps=3)
    noise, last = adapter.noise(7), field.last
    assert torch.equal(last[:, :, 6:], noise[:, :, 6:])
    assert torch.equal(last[:, 9:], noise[:, 9:])
    assert (last[:, :9, :6] != noise[:, :9, :6]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", ["MEAN_STD", "MIN_MAX", "QUANTILES"])
def test_prev_goes_through_the_checkpoint_s_own_normalisation(tmp_path, kind, normalization):
    """One step of weight 1 in a still field ends exactly on prev, back in the robot's units."""
    adapter, _ = still(write_pi(tmp_path / "tiny", kind, normalization=normalization))
    prev = np.random.default_rng(3).normal(size=(16, 6))
    got = adapter.infer(
        observe(adapter.spec), Guidance(prev, np.ones(16), beta=1.0), num_steps=1
    ).actions
    np.testing.assert_allclose(got, prev, atol=1e-5)


def test_the_state_reaches_the_chunk_with_and_without_a_previous_one(adapter):
    """In π0 as a number, in π0.5 as one of 256 bins of the same pass that normalises prev."""
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    here = np.array(observation.state)
    for each in (None, guidance):
        chunks = []
        for state in (here, here + 1e-7, here + 0.5):
            moved = type(observation)(state, observation.images, observation.task)
            chunks.append(adapter.infer(moved, each, seed=7).actions)
        assert np.abs(chunks[1] - chunks[0]).max() < 1e-4
        assert np.abs(chunks[2] - chunks[0]).max() > 1e-3


def test_the_prompt_names_the_bins_of_the_normalised_state(tmp_path):
    """Pi 0.5: what LeRobot's own preprocessor writes, with A_prev in the batch or not."""
    folder = write_pi(tmp_path / "tiny", "pi05")
    adapter, reference = load_pi(folder), Reference(folder)
    observation, prev = observe(adapter.spec), guide(adapter.spec).prev
    seen = []
    tokenizer = next(s for s in adapter._pre.steps if hasattr(s, "input_tokenizer"))
    ask = tokenizer.get_task
    tokenizer.get_task = lambda transition: seen.append(ask(transition)) or seen[-1]
    adapter.infer(observation, None, seed=1)
    adapter.infer(observation, Guidance(prev, np.r_[np.ones(12), np.zeros(4)]), seed=1)
    assert seen[0] == seen[1]
    state = reference.pre.steps  # the normaliser alone, once more
    normalise = next(s for s in state if hasattr(s, "norm_map"))
    raw = {"observation": {"observation.state": torch.tensor(observation.state[None]).float()}}
    scaled = normalise(raw)["observation"]["observation.state"][0].numpy()
    bins = np.digitize(scaled, np.linspace(-1, 1, 257)[:-1]) - 1
    assert seen[0][0].startswith("Task: pass the cube, State: " + " ".join(map(str, bins)))


def test_the_prefix_is_encoded_once_per_chunk(adapter):
    model = adapter._policy.model.paligemma_with_expert.paligemma.language_model
    forward, calls = model.forward, []
    model.forward = lambda *args, **options: calls.append(1) or forward(*args, **options)
    try:
        adapter.infer(observe(adapter.spec), guide(adapter.spec), num_steps=6, seed=7)
    finally:
        del model.forward
    assert len(calls) == 1


def test_a_step_leaves_the_prefix_as_it_was(adapter):
    family = FAMILIES[adapter._policy.name]
    batch = adapter._pre(
        {
            "observation.state": torch.zeros(7),
            "task": "pass",
            **{name: torch.zeros(3, *size) for name, size in CAMERAS.items()},
        }
    )
    with torch.no_grad():
        prefix = family.encode_prefix(adapter._policy, batch)
        size = prefix.bytes
        first, second = (
            family.denoise(adapter._policy, prefix, adapter.noise(7), torch.tensor([0.5]))
            for _ in range(2)
        )
    assert torch.equal(first, second)
    assert size == prefix.bytes > 0
    assert "denoise_step" not in vars(adapter._policy.model)  # LeRobot's method is back


def test_the_same_seed_makes_the_same_chunk_to_the_bit(folder, adapter):
    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    first = adapter.infer(observation, guidance, seed=7).actions
    again = load_pi(folder).infer(observation, guidance, seed=7).actions
    assert np.array_equal(first, again)


def test_lerobot_s_code_computes_it_and_says_nothing_about_a_fast_path(folder, caplog):
    with caplog.at_level(logging.WARNING):
        adapter = load_pi(folder, fast=True)
        assert adapter.warm_up("pass the cube") > 0.0
    assert isinstance(adapter._field, LeRobotField)
    assert not caplog.records
    assert adapter.spec.max_candidates > 16


def test_a_camera_can_be_left_out_as_lerobot_hides_it(adapter, folder, reference):
    other = load_pi(folder)
    other.leave_out(["observation.images.side"])
    observation = observe(other.spec)
    expected = reference.chunk(observation, other.noise(7))
    got = other.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(got, expected, atol=1e-5)


# ----------------------------------------------------------------------------- vision's positions


def test_siglip_looks_its_patches_up_at_their_own_positions(adapter):
    """The shift of transformers 4.55 to 4.57 is SmolVLM's: SigLIP counts its patches."""
    tower = adapter._policy.model.paligemma_with_expert.paligemma.model.vision_tower
    asked: list[torch.Tensor] = []
    table = getattr(tower, "vision_model", tower).embeddings.position_embedding
    hook = table.register_forward_hook(lambda module, args, output: asked.append(args[0]))
    try:
        adapter.infer(observe(adapter.spec), None, seed=7)
    finally:
        hook.remove()
    assert asked and all(torch.equal(ids.flatten(), torch.arange(16)) for ids in asked)


def test_shifted_positions_are_refused(folder):
    with pytest.raises(ValueError, match="image_positions is 'shifted', but pi0.*every transf"):
        load_pi(folder, image_positions="shifted")
    assert read_checkpoint(folder).positions.needed == "right"


# ------------------------------------------------------------------------ what is said of faults


def refused(folder: Path, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        load_pi(folder)


def test_a_missing_tokenizer_is_said_with_what_to_do(broken, no_network):
    shutil.rmtree(broken / "backbone")
    refused(broken, "google/paligemma-3b-pt-224.*hf download.*the tokenizer's files")
    assert not no_network


def test_a_tokenizer_of_which_files_are_missing(broken):
    (broken / "backbone" / "tokenizer.json").unlink()
    refused(broken, "has no tokenizer.json or tokenizer.model; it needs the tokenizer's files")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(image_resolution=[224, 200]), r"image_resolution is \[224, 200\]"),
        (lambda c: c.update(n_obs_steps=2), "n_obs_steps is 2"),
        (lambda c: c.update(num_inference_steps=0), "num_inference_steps is 0"),
        (lambda c: c.update(new_attention="ring"), "do(es)? not know .*new_attention"),
        (lambda c: c.update(paligemma_variant="gemma_9b"), "gemma_9b"),
        (lambda c: c["output_features"]["action"].update(shape=[9]), "action has 9 .* for 8"),
        (lambda c: c["input_features"].pop("observation.state"), "pi0(.5)? always reads a state"),
    ],
)
def test_a_config_that_does_not_fit(broken, change, named):
    edit(broken / "config.json", change)
    refused(broken, named)


def test_a_weight_that_is_missing_or_beyond_the_model_is_named(broken):
    file = broken / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.action_in_proj.bias"]
    save_file({**tensors, "model.gate": torch.zeros(2)}, file)
    refused(broken, "1 missing: model.action_in_proj.bias; 1 unexpected: model.gate")


def test_openpi_s_names_are_lerobot_s_weights(broken, adapter):
    """No prefix, the other kind's name for the time's network, the embedding only as the head."""
    file = broken / "model.safetensors"
    pair = ("time_mlp_", "action_time_mlp_")
    own, other = pair if adapter._policy.name == "pi05" else pair[::-1]
    embedding = "paligemma.model.language_model.embed_tokens.weight"
    head = "paligemma_with_expert.paligemma.lm_head.weight"
    renamed = {}
    for name, value in load_file(file).items():
        short = name.removeprefix("model.")
        if short.endswith(embedding):
            renamed[head] = value
        elif short != head:
            renamed[short.replace(own, other) if short.startswith(own) else short] = value
    save_file(renamed, file)
    if not hasattr(adapter._policy.model, "_prepare_attention_masks_4d"):  # LeRobot 0.5 on
        observation = observe(adapter.spec)
        got = load_pi(broken).infer(observation, None, seed=7).actions
        expected = adapter.infer(observation, None, seed=7).actions
        np.testing.assert_allclose(got, expected, atol=1e-6)
    else:
        refused(broken, "embed_tokens.weight")


def test_the_vision_s_names_of_both_transformers_are_the_same_weights(broken, adapter):
    """Up to 5.5 SigLIP is one level deeper than in 5.17."""
    file = broken / "model.safetensors"
    deep, flat = "vision_tower.vision_model.", "vision_tower."
    stored = load_file(file)
    were = (deep, flat) if any(deep in name for name in stored) else (flat, deep)
    save_file({name.replace(*were): value for name, value in stored.items()}, file)
    if hasattr(adapter._policy.model, "_prepare_attention_masks_4d"):  # LeRobot 0.4
        assert were[0] == deep
    observation = observe(adapter.spec)
    got = load_pi(broken).infer(observation, None, seed=7).actions
    assert np.array_equal(got, adapter.infer(observation, None, seed=7).actions)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda p: [s.pop("state_file", None) for s in p["steps"]],
            "statistics have no action",
        ),
        (
            lambda p: p.update(
                steps=[s for s in p["steps"] if s["registry_name"] != "tokenizer_processor"]
            ),
            "no step 'tokenizer_processor', which this policy reads",
        ),
        (lambda p: p["steps"].append({"registry_name": "turn_round"}), "step 'turn_round'"),
    ],
)
def test_a_fault_in_the_preprocessor_is_named(broken, change, named):
    edit(broken / "policy_preprocessor.json", change)
    refused(broken, named)


def test_a_step_that_fails_while_it_runs_is_named(folder):
    """Every step of both processors, in turn."""
    adapter = load_pi(folder)
    observation = observe(adapter.spec)

    def stumbles(*_: Any) -> None:
        raise KeyError("no such\nkey")

    for what, pipeline in (("preprocessor", adapter._pre), ("postprocessor", adapter._post)):
        assert len(pipeline.steps) >= 2
        for step in pipeline.steps:
            kind = type(step)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kind, "__call__", stumbles)
                with pytest.raises(RuntimeError) as said:
                    adapter.infer(observation, guide(adapter.spec), seed=1)
            sentence = str(said.value)
            first = "preprocessor" if kind in {type(s) for s in adapter._pre.steps} else what
            assert sentence.startswith(f"the {first}'s step {kind.__name__} failed: KeyError")
            assert "\n" not in sentence
    adapter.infer(observation, None, seed=1)


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["pi05_prepare_state_tokenizer_processor_step"], "no step 'pi05_prepare_state"),
        (["normalizer_processor"], "in another order than normalizer_processor, pi05_prepare"),
    ],
    ids=["without the prompt", "normalised after it"],
)
def test_a_prompt_of_a_state_that_is_not_normalised_is_refused(tmp_path, names, named):
    folder = write_pi(tmp_path / "tiny", "pi05")

    def change(pipeline: dict) -> None:
        moved = [s for s in pipeline["steps"] if s["registry_name"] in names]
        rest = [s for s in pipeline["steps"] if s["registry_name"] not in names]
        pipeline["steps"] = rest + moved if "normalizer_processor" in names else rest

    edit(folder / "policy_preprocessor.json", change)
    refused(folder, named)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("evo1", "no adapter"),
        ("molmoact2", "no adapter"),
        ("pi0_fast", "tokens"),
        ("diffusion", "two observations"),
        ("pi06", "can be run"),
    ],
)
def test_other_kinds_are_refused_by_name_with_why(broken, kind, why):
    edit(broken / "config.json", lambda c: c.update(type=kind))
    with pytest.raises(CheckpointError, match=f"type '{kind}'.*{why}"):
        read_checkpoint(broken)


# ----------------------------------------------------------------------------- how much is read


def test_the_tokens_that_are_counted_are_those_that_lerobot_makes(adapter, folder, reference):
    """The longest state has three digits a joint: no other makes more tokens."""
    reader, task = read_checkpoint(folder).task_reader(), "pass the_cube \n"
    observation = observe(adapter.spec, task=task)
    far = type(observation)(observation.state + 1e3, observation.images, task)
    for each in (observation, far):
        mask = reference.batch(each)["observation.language.attention_mask"]
        made = int(mask.sum())
        assert made <= reader.count(task)
        assert made < mask.shape[1]
    assert made == reader.count(task)
    assert reader.problem(task) == ""
    assert "tokens and the policy reads" in reader.problem("go " * 200)


# -------------------------------------------------------------------- a LeRobot that can't do it


@pytest.fixture
def stock() -> Iterator[None]:
    """Only where LeRobot asks for a transformers that is patched."""
    import lerobot.policies.pi05.modeling_pi05 as modeling

    if hasattr(modeling, "PiGemmaForCausalLM") or find_spec("transformers.models.siglip.check"):
        pytest.skip("this LeRobot builds pi0 and pi05 on transformers as it is")
    yield


def test_a_lerobot_that_needs_another_transformers_is_told_so(stock, folder):
    with pytest.raises(CheckpointError, match=r"can't build .*patched transformers .*0\.5"):
        FlowAdapter.load(folder, device="cpu")  # before gigabytes are built, not after


def test_a_transformers_whose_masks_take_no_cache_position(folder, adapter, monkeypatch):
    """As 5.17 has them, after 5.4 and 5.5 took one and didn't look at it."""
    pi_gemma = pytest.importorskip("lerobot.policies.pi_gemma")
    from transformers.masking_utils import create_causal_mask as installed

    asked = []

    def later(config, inputs_embeds, attention_mask, past_key_values, position_ids=None):
        asked.append(attention_mask.shape)
        return installed(
            config=config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )

    observation, guidance = observe(adapter.spec), guide(adapter.spec)
    expected = adapter.infer(observation, guidance, seed=7).actions
    monkeypatch.setattr(pi_gemma, "create_causal_mask", later)
    got = load_pi(folder).infer(observation, guidance, seed=7).actions
    assert np.array_equal(got, expected) and asked


def test_a_transformers_that_does_not_fit_is_said_in_one_sentence_with_the_versions(
    folder, monkeypatch
):
    other = load_pi(folder)

    def stumbles(*_: Any, **__: Any) -> None:
        raise TypeError("forward() got an unexpected\nkeyword argument 'colour'")

    monkeypatch.setattr(other._policy.model, "embed_prefix", stumbles)
    with pytest.raises(RuntimeError) as said:
        other.warm_up("pass the cube")
    sentence = str(said.value)
    for version in (metadata.version("lerobot"), metadata.version("transformers")):
        assert version in sentence
    assert "keyword argument 'colour'" in sentence and "\n" not in sentence
    assert "it asks for transformers" in sentence and other._family.label in sentence
