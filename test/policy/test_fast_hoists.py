"""What the fast path computes once: LeRobot's values to the bit, as seldom as can be."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.policies.smolvla.modeling_smolvla import create_sinusoidal_pos_embedding
from lerobot.policies.smolvla.smolvlm_with_expert import apply_rope
from reference import guide, observe
from test_fast_equality import load, write
from tiny_checkpoint import SPEC
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast import linear as linear_module
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.fast.linear import DenseLinear, PackedLinear, linear
from rtc_ros.policy.fast.norm import Norm, norm_pull_back
from rtc_ros.policy.fast.rotation import paired_columns, paired_rows, turns
from rtc_ros.policy.guidance import integrate
from rtc_ros.policy.velocity_field import LeRobotField


@pytest.fixture
def adapter(checkpoint: Path) -> FlowAdapter:
    return load(checkpoint)


class Operations(TorchDispatchMode):
    """Counts the operations that PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.counts[str(operation)] += 1
        return operation(*args, **(kwargs or {}))


class Storages(TorchDispatchMode):
    """The memory behind what operations return, of this thread alone (a profiler sees all)."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        returned = operation(*args, **(kwargs or {}))
        for each in tree_leaves(returned):
            if isinstance(each, torch.Tensor):
                seen = StorageWeakRef(each.untyped_storage())
                self._seen[seen.cdata] = seen
        return returned

    def alive(self) -> list[torch.UntypedStorage]:
        there = (s for s in self._seen.values() if not s.expired())
        return [torch.UntypedStorage._new_with_weak_ptr(s.cdata) for s in there]


# ------------------------------------------------------------------- equal to the bit


def test_turns_are_cosine_and_sine_of_lerobot_s_rope():
    positions = torch.arange(300)
    unit = torch.zeros(1, 300, 1, 64)
    unit[..., :32] = 1.0
    turned = apply_rope(unit, positions[None])[0, :, 0]
    assert torch.equal(turns(positions, 64).real, turned[:, :32])
    assert torch.equal(turns(positions, 64).imag, turned[:, 32:])


@pytest.mark.parametrize("num_steps", [1, 4, 7, 10])
def test_time_embeddings_are_lerobot_s(adapter, num_steps):
    config, width = adapter._policy.config, adapter._policy.model.action_in_proj.out_features
    taus = torch.arange(num_steps, dtype=torch.float64) / num_steps
    got = SMOLVLA.time_embedding(adapter._policy, (1.0 - taus).float())
    for step in range(num_steps):
        time = torch.tensor([1.0 + step * (-1.0 / num_steps)], dtype=torch.float32)
        expected = create_sinusoidal_pos_embedding(
            time, width, config.min_period, config.max_period, device=time.device
        )
        assert torch.equal(got[step], expected[0].float())


def test_embedded_prefix_is_lerobot_s(adapter):
    """Language and state to the bit, images to the order of sums, the padding not at all."""
    policy = adapter._policy
    batch = preprocessed(adapter, "pass the cube")
    images, masks = policy.prepare_images(batch)
    expected, _, _ = policy.model.embed_prefix(
        images, masks, batch[compat.TOKENS], batch[compat.TOKEN_MASK], policy.prepare_state(batch)
    )
    gathered = adapter._field.prefix.gather(batch)
    got = adapter._field.prefix.embed(gathered.images, 0, gathered.language, gathered.state)
    text = int(batch[compat.TOKEN_MASK].sum()) + 1
    assert torch.equal(got[-text:], expected[0, -text:])
    torch.testing.assert_close(got, expected[0], rtol=1e-4, atol=1e-5)


def test_patch_positions_are_looked_up_by_the_model_itself(adapter):
    vision = adapter._policy.model.vlm_with_expert.get_vlm_model().vision_model
    image = torch.rand(1, 3, 64, 64)
    whole = torch.ones(1, 4, 4, dtype=torch.bool)
    embedded = vision.embeddings(pixel_values=image, patch_attention_mask=whole)
    patches = vision.embeddings.patch_embedding(image).flatten(2).transpose(1, 2)
    assert torch.equal(patches + adapter._field.prefix.vision._position(image), embedded)


def test_images_that_go_through_the_encoder_together_give_the_same_tokens(adapter):
    """As on a CUDA device."""
    vision, random = adapter._field.prefix.vision, torch.Generator().manual_seed(1)
    images = [2.0 * torch.rand(1, 3, 64, 64, generator=random) - 1.0 for _ in range(3)]
    encoded = []
    hook = vision._vision.embeddings.patch_embedding.register_forward_hook(
        lambda module, args, output: encoded.append(len(output))
    )
    with torch.no_grad():
        alone = vision.encode(images)
        assert not vision.together and encoded[-3:] == [1, 1, 1]
        vision.together = True
        together = vision.encode(images)
    hook.remove()
    assert encoded[-1] == 3 and len(together) == 3
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def preprocessed(adapter: FlowAdapter, task: str) -> dict:
    observation = observe(adapter.spec, task=task)
    batch = {"observation.state": torch.tensor(observation.state).float(), "task": task}
    for name, image in observation.images.items():
        batch[name] = torch.tensor(image).permute(2, 0, 1) / 255.0
    return adapter._pre(batch)


# ---------------------------------------------------------------------- the building blocks


def test_folded_norm_is_rms_norm():
    module = torch.nn.RMSNorm(24, eps=1e-2)
    module.variance_epsilon = 1e-2
    torch.nn.init.normal_(module.weight)
    norm, weight, x = Norm(module), torch.randn(10, 24), torch.randn(5, 24)
    torch.testing.assert_close(norm(x) @ norm.folded(weight).T, module(x) @ weight.T)


def test_norm_s_way_back_is_autograd_s():
    x, floor = torch.randn(5, 24, dtype=torch.float64, requires_grad=True), 0.3
    rho = (x.square().sum(-1, keepdim=True) + floor**2).sqrt()
    dy, residual = torch.randn(2, 5, 24, dtype=torch.float64)
    (expected,) = torch.autograd.grad(x / rho, x, dy)
    got = norm_pull_back(dy, (x / rho).detach(), rho.detach(), residual)
    torch.testing.assert_close(got, expected + residual)


def test_reordered_heads_give_the_same_scores():
    q, k, x = torch.randn(3, 16, 24, dtype=torch.float64)
    for heads in (1, 2):
        size = 16 // heads
        scores = (paired_rows(q, size) @ x.T) * (paired_rows(k, size) @ x.T)
        torch.testing.assert_close(scores.sum(0), ((q @ x.T) * (k @ x.T)).sum(0))
        out = paired_columns(x.T[:, :16], size) @ paired_rows(q[:, :16], size)
        torch.testing.assert_close(out, x.T[:, :16] @ q[:, :16])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [PackedLinear, DenseLinear])
def test_products_are_those_of_a_linear_layer(kind, bias):
    if kind is PackedLinear and not linear_module._packs(torch.float32):
        pytest.skip("oneDNN's packed products don't run here")
    layer = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    x, residual = torch.randn(5, 24), torch.randn(5, 40)
    product = kind(layer.weight, layer.bias, "none")
    torch.testing.assert_close(product(x), layer(x))
    torch.testing.assert_close(product.plus(x, residual), layer(x) + residual)
    curved = kind(layer.weight, layer.bias, "gelu_tanh")
    expected = torch.nn.functional.gelu(layer(x), approximate="tanh")
    torch.testing.assert_close(curved(x), expected)


def test_where_the_packed_product_fails_the_plain_one_is_taken(monkeypatch):
    def broken(*args):
        raise RuntimeError("not on this machine")

    monkeypatch.setattr(PackedLinear, "__call__", broken)
    linear_module._packs.cache_clear()
    try:
        assert isinstance(linear(torch.zeros(1000, 1000)), DenseLinear)
    finally:
        linear_module._packs.cache_clear()


# ---------------------------------------------------------------------- no more than needed


def test_a_guided_step_dispatches_a_third_of_lerobot_s_operations(adapter):
    slow = FlowAdapter(adapter._policy, adapter._pre, adapter._post, device="cpu")
    counts = []
    for each in (adapter, slow):
        each.infer(observe(each.spec), None)  # the first one compares
        per_chunk = []
        for steps in (1, 3):
            with Operations() as operations:
                each.infer(observe(each.spec), guide(each.spec), num_steps=steps, seed=0)
            per_chunk.append(sum(operations.counts.values()))
        counts.append((per_chunk[1] - per_chunk[0]) / 2)
    assert counts[0] < 0.36 * counts[1], counts  # 16 layers: see docs/performance.md


def test_steps_neither_wait_for_the_device_nor_copy_to_it(adapter):
    velocity = adapter._field(preprocessed(adapter, "pass the cube"))
    expert, rows = adapter._field.expert, torch.zeros(9, SPEC.max_action_dim)
    times = expert.times(4)
    with torch.no_grad(), Operations() as operations:
        velocity._expert.velocity(adapter.noise(0)[0], times[1])
        expert.pull_back(rows)
    wrong = {"aten._local_scalar_dense.default", "aten._to_copy.default", "aten.nonzero.default"}
    assert operations.counts and not wrong & set(operations.counts), operations.counts


@pytest.mark.parametrize("how", ["vjp", "identity", "trained", ""])
def test_steps_leave_nothing_allocated_and_work_where_they_did(adapter, how):
    """As a CUDA graph needs it: more steps take no more memory, and no tensor moves."""
    velocity = adapter._field(preprocessed(adapter, "pass the cube"))
    expert, noise = adapter._field.expert, adapter.noise(0)
    ones = torch.ones(noise.shape[1], 1)
    given = {"trained": (ones.cumsum(0) < 4, torch.zeros(())), "": ()}

    def places() -> list[int]:
        attentions = [each.attention for each in expert._passes]
        kept = [t for a in attentions for t in (a.q, a.k, a.v, a.p, a.output)]
        kept += [t for each in expert._passes for t in (each.y1, each.y2, each.rho1, each.silu)]
        return [t.data_ptr() for t in kept]

    def left(steps: int) -> list[int]:
        """Bytes of each storage that the operations touched or made and that is still there."""
        inputs = given.get(how, (0.5 * noise, ones, torch.ones(9)))
        integrate(velocity, noise, steps, how, *inputs)  # its times are made here
        with Storages() as storages:
            integrate(velocity, noise, steps, how, *inputs)
        times = expert.times(steps)[0].untyped_storage().data_ptr()
        return sorted(each.nbytes() for each in storages.alive() if each.data_ptr() != times)

    left(1)
    before = places()
    assert left(2) == left(9)
    assert places() == before


def test_language_is_embedded_once_for_a_sentence(adapter):
    adapter.infer(observe(adapter.spec, task="lift"), None)  # the first one compares
    looked_up = []
    text = adapter._policy.model.vlm_with_expert.get_vlm_model().text_model
    text.get_input_embeddings().register_forward_hook(lambda *_: looked_up.append(1))
    for task, lookups in (("pass the cube", 1), ("pass the cube", 1), ("pass the bowl", 2)):
        adapter.infer(observe(adapter.spec, task=task), None)
        assert len(looked_up) == lookups, task


def test_cameras_that_are_not_there_are_not_encoded(tmp_path):
    adapter = load(write(tmp_path, empty_cameras=2))
    encoded = []
    vision = adapter._policy.model.vlm_with_expert.get_vlm_model().vision_model
    vision.embeddings.patch_embedding.register_forward_hook(lambda *_: encoded.append(1))
    observation = observe(adapter.spec)
    adapter.infer(observation, None)
    encoded.clear()
    adapter.infer(observation, None)
    assert len(encoded) == len(adapter.spec.image_features) == 2


# --------------------------------------------------------------------- the switch, the way out


def test_fast_false_is_lerobot_s_code(checkpoint):
    assert isinstance(load(checkpoint, fast=False)._field, LeRobotField)


def test_a_model_that_computes_otherwise_is_left_to_lerobot(checkpoint, caplog):
    loaded = load(checkpoint)
    expert = loaded._policy.model.vlm_with_expert.lm_expert
    expert.layers[1].mlp.act_fn = torch.nn.GELU()
    from rtc_ros.policy.velocity_field import quickest_field

    assert isinstance(quickest_field(loaded._policy), LeRobotField)
    assert "activation is GELU" in caplog.text


def test_a_model_that_lerobot_can_not_run_either_is_left_to_it(tmp_path, caplog):
    """With this choice LeRobot builds projections that don't fit the layers they are used in."""
    assert isinstance(load(write(tmp_path, num_expert_layers=2))._field, LeRobotField)
    assert "keys are made of something else" in caplog.text


def test_warm_up_gives_the_fast_path_up_where_it_is_not_equal(checkpoint, caplog):
    adapter = load(checkpoint)
    with caplog.at_level(logging.WARNING):
        adapter.warm_up()
    assert isinstance(adapter._field, FastField) and not caplog.text
    with torch.no_grad():  # as if a later LeRobot computed something else with the same weights
        adapter._policy.model.action_out_proj.weight.mul_(1.01)
    adapter.warm_up()
    assert isinstance(adapter._field, LeRobotField)
    assert "off it" in caplog.text


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("velocity", "fast path's velocity is"),
        ("pull_back", "fast path's vector-Jacobian product is"),
        ("done", "fast path's velocity beside given rows is"),
    ],
)
def test_the_first_chunk_anywhere_is_compared_velocity_and_way_back(
    checkpoint, monkeypatch, caplog, part, named
):
    """Without a warm-up, as rollouts and checks of a training make chunks."""
    expected = load(checkpoint, fast=False).infer(observe(load(checkpoint).spec), None, seed=1)
    adapter = load(checkpoint)
    own = getattr(adapter._field.expert, part)
    wrong = 1.5 * own if part == "done" else lambda *inputs: 1.01 * own(*inputs)
    monkeypatch.setattr(adapter._field.expert, part, wrong)
    with caplog.at_level(logging.WARNING):
        got = adapter.infer(observe(adapter.spec), None, seed=1)
    assert isinstance(adapter._field, LeRobotField) and named in caplog.text
    np.testing.assert_array_equal(got.actions, expected.actions)


def test_warm_up_makes_ready_what_any_number_of_guided_rows_needs(adapter, monkeypatch):
    seen = set()
    monkeypatch.setattr("rtc_ros.policy.fast.linear._LEAST_TO_PACK", 0)
    adapter = FlowAdapter(
        adapter._policy, adapter._pre, adapter._post, device="cpu", field=FastField
    )
    original = PackedLinear.__call__

    def spy(self, x):
        seen.add((self.shape, len(x)))
        return original(self, x)

    monkeypatch.setattr(PackedLinear, "__call__", spy)
    adapter.warm_up("pass the cube")
    ready = set(seen)
    for rows in range(2, SPEC.chunk_size + 1):
        adapter.infer(observe(adapter.spec), guide(adapter.spec, rows=rows))
    assert seen == ready


def test_refused_values_are_those_of_the_plain_sampler(adapter):
    guidance = guide(adapter.spec)
    guidance.prev[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"not finite in the rows \[0\]"):
        adapter.infer(observe(adapter.spec), guidance)
