"""The loss for given rows, proved; and fine-tunings that can be stopped, of a real data set."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import observe
from safetensors.torch import load_file
from tiny_checkpoint import SPEC, STATS
from torch import nn

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.flow_loss import draw_delays, flow_loss
from rtc_ros.policy.protocol import Guidance
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint
from rtc_ros.tools.finetune import main

B, H, A = 3, SPEC.chunk_size, SPEC.action_dim


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> FlowAdapter:
    return FlowAdapter.load(checkpoint, device="cpu", torch_threads=1, fast=False)


@pytest.fixture(scope="module")
def example(adapter):
    """A batch of three observations, and everything that the loss is drawn from."""
    batch = {"observation.state": [], "task": [], "images": {}}
    for seed in range(B):
        observation = observe(adapter.spec, seed=seed)
        batch["observation.state"].append(torch.tensor(observation.state).float())
        batch["task"].append(observation.task)
        for name, image in observation.images.items():
            planes = torch.tensor(image).permute(2, 0, 1) / 255.0
            batch["images"].setdefault(name, []).append(planes)
    images = {name: torch.stack(each) for name, each in batch.pop("images").items()}
    batch["observation.state"] = torch.stack(batch["observation.state"])
    random = torch.Generator().manual_seed(1)
    actions = nn.functional.pad(
        torch.randn(B, H, A, generator=random), (0, SPEC.max_action_dim - A)
    )
    noise = torch.randn(actions.shape, generator=random)
    return adapter._pre({**batch, **images}), actions, noise, torch.tensor([0.2, 0.5, 0.9])


def loss(adapter, example, **options):
    batch, actions, noise, time = example
    prefix = options.pop("prefix", None) or SMOLVLA.encode_prefix(adapter._policy, batch)
    given = {"dims": A, "noise": noise, "time": time, **options}
    return flow_loss(SMOLVLA, adapter._policy, prefix, actions, **given)


# --------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("delays", [None, torch.zeros(B, dtype=torch.long)])
def test_without_given_rows_it_is_lerobot_s_own_loss(adapter, example, delays):
    """Of the same noise and times, LeRobot's training pass: both transformers together."""
    batch, actions, noise, time = example
    policy = adapter._policy
    images, masks = policy.prepare_images(batch)
    with torch.no_grad():
        own = policy.model.forward(
            images,
            masks,
            batch[compat.TOKENS],
            batch[compat.TOKEN_MASK],
            policy.prepare_state(batch),
            actions,
            noise,
            time,
        )
        got = loss(adapter, example, delays=delays)
        everything = loss(adapter, example, delays=delays, dims=SPEC.max_action_dim)
        whole, _ = policy.forward({**batch, compat.ACTION: actions}, noise=noise, time=time)
    assert got.item() == pytest.approx(own[:, :, :A].mean().item(), rel=1e-6)
    # What LeRobot makes of it: up to 0.5 padding dimensions count, too.
    counted = min((got, everything), key=lambda each: abs(each - whole))
    assert counted.item() == pytest.approx(whole.item(), rel=1e-6)


def test_rows_below_d_have_no_gradient_and_no_noise(adapter, example, monkeypatch):
    batch, actions, noise, time = example
    delays, made = torch.tensor([0, 4, 9]), []
    own = SMOLVLA.denoise

    def watched(policy, prefix, rows, at):
        velocity = own(policy, prefix, rows, at).requires_grad_()
        velocity.retain_grad()
        made.append((rows, at, velocity))
        return velocity

    monkeypatch.setattr(type(SMOLVLA), "denoise", lambda self, *given: watched(*given))
    value = loss(adapter, example, delays=delays)
    value.backward()
    rows, at, velocity = made[0]
    for each, d in enumerate(delays):
        assert (velocity.grad[each, :d] == 0).all()
        assert (velocity.grad[each, d:, :A] != 0).all()
        assert (velocity.grad[each, :, A:] == 0).all()  # nor have padding dimensions
        assert torch.equal(rows[each, :d], actions[each, :d])
        assert at[each].tolist() == [0.0] * d + [time[each].item()] * (H - d)
    other = noise.clone()
    for each, d in enumerate(delays):
        other[each, :d] = 7.0
    assert loss(adapter, example, delays=delays, noise=other).item() == value.item()


def test_it_is_the_mean_over_what_counts(adapter, example):
    batch, actions, noise, time = example
    delays, padded = torch.tensor([0, 4, 9]), torch.zeros(B, H, dtype=torch.bool)
    padded[1, 12:] = True
    with torch.no_grad():
        prefix = SMOLVLA.encode_prefix(adapter._policy, batch)
        at = torch.where(torch.arange(H) < delays[:, None], 0.0, time[:, None])
        mixed = at[..., None] * noise + (1 - at[..., None]) * actions
        velocity = SMOLVLA.denoise(adapter._policy, prefix, mixed, at)
        error = (velocity - (noise - actions))[..., :A].square().numpy()
        got = loss(adapter, example, delays=delays, padded=padded)
    kept = [error[0], error[1, 4:12], error[2, 9:]]
    assert got.item() == pytest.approx(np.concatenate(kept).mean(), rel=1e-5)


def test_delays_are_drawn_evenly_with_both_ends():
    torch.manual_seed(0)
    counts = torch.bincount(draw_delays(6000, 5))
    assert len(counts) == 6 and counts.min() > 850
    assert draw_delays(10, 0) is None


TOY = TinySpec(
    chunk_size=8,
    action_dim=2,
    state_dim=2,
    image_features={"observation.images.top": (32, 32)},
    image_size=32,
    hidden=32,
    layers=2,
    heads=2,
    vision_hidden=16,
    vision_layers=1,
    max_action_dim=2,
    max_state_dim=2,
)


def toy_policy(folder: Path, max_delay: int) -> FlowAdapter:
    """A policy of chunks that stand still somewhere, as nothing but their beginning tells."""
    stats = {
        name: {"mean": np.zeros(2), "std": np.ones(2)} for name in (compat.STATE, compat.ACTION)
    }
    made = FlowAdapter.load(write_tiny_checkpoint(folder, TOY, stats=stats), torch_threads=1)
    policy, observation = made._policy, observe(made.spec)
    image = torch.tensor(observation.images["observation.images.top"]).permute(2, 0, 1) / 255.0
    batch = made._pre({
        "observation.state": torch.zeros(2), "task": "go", "observation.images.top": image,
    })  # fmt: skip
    with torch.no_grad():
        prefix = SMOLVLA.encode_prefix(policy, batch).repeat(64)
    model = policy.model
    learning = [*model.vlm_with_expert.lm_expert.parameters(), *model.action_in_proj.parameters(),
                *model.action_out_proj.parameters(), *model.action_time_mlp_in.parameters(),
                *model.action_time_mlp_out.parameters()]  # fmt: skip
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(learning, lr=3e-3)
    torch.manual_seed(0)
    for _ in range(250):
        actions = (4.0 * torch.rand(64, 1, 2) - 2.0).expand(64, 8, 2)
        value = flow_loss(
            SMOLVLA, policy, prefix, actions, dims=2, noise=torch.randn(64, 8, 2),
            time=model.sample_time(64, "cpu"), delays=draw_delays(64, max_delay),
        )  # fmt: skip
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    policy.requires_grad_(False)
    return FlowAdapter(policy, made._pre, made._post, device="cpu", trained_delay=4)


def error(policy: FlowAdapter, delay: int) -> float:
    """How far (RMS) 40 chunks are from standing where their given rows stand, within ±2."""
    observation, random, off = observe(policy.spec), np.random.default_rng(0), []
    for seed in range(40):
        place = random.uniform(-2.0, 2.0, 2)
        weights = np.r_[np.ones(delay), np.zeros(8 - delay)]
        guidance = Guidance(np.tile(place, (8, 1)), weights, method="trained")
        off.append(policy.infer(observation, guidance, seed=seed).actions[delay:] - place)
    return float(np.sqrt(np.square(off).mean()))


@pytest.mark.slow
def test_a_tiny_policy_learns_what_depends_on_the_given_rows(tmp_path):
    taught, untaught = (toy_policy(tmp_path / str(d), d) for d in (4, 0))
    for delay in (1, 2, 4):
        assert error(taught, delay) < 0.25  # of places 1.15 apart (RMS)
    assert error(untaught, 2) > 2.0 * error(taught, 2)
    free = [taught.infer(observe(taught.spec), None, seed=s).actions.mean() for s in range(20)]
    assert min(free) < -0.5 and max(free) > 0.5  # without any it is anywhere


# ---------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    from rtc_ros.policy.lerobot_data import create_dataset, write_episode

    folder, random = tmp_path_factory.mktemp("data") / "set", np.random.default_rng(0)
    features = {"action": ((A,), None), "observation.state": ((SPEC.state_dim,), None)}
    for name, (height, width) in SPEC.image_features.items():
        features[name] = ((height, width, 3), None)
    dataset = create_dataset(folder, features, fps=50, robot="none")
    for _ in range(2):
        frames = {
            name: random.normal(size=(20, *shape)).astype(np.float32)
            if len(shape) == 1
            else random.integers(0, 256, (20, *shape), dtype=np.uint8)
            for name, (shape, _) in features.items()
        }
        write_episode(dataset, frames, "pass the cube")
    dataset.finalize()
    return folder


def finetune(checkpoint: Path, data: Path, out: Path, *more: str) -> int:
    words = ["--max-delay", "5", "--batch", "4", "--steps", "6", "--save-every", "3"]
    return main([str(checkpoint), str(data), "--out", str(out), *words, *more])


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been(checkpoint, data, tmp_path, capsys):
    assert finetune(checkpoint, data, tmp_path / "whole") == 0
    assert finetune(checkpoint, data, tmp_path / "parts", "--until", "3") == 0
    assert finetune(checkpoint, data, tmp_path / "parts") == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert finetune(checkpoint, data, tmp_path / "parts", "--resume", "--seed", "1") == 2
    assert "seed 0 there, 1 here" in capsys.readouterr().err
    assert finetune(checkpoint, data, tmp_path / "parts", "--resume") == 0
    whole, parts, before = (
        load_file(f / "model.safetensors")
        for f in (tmp_path / "whole", tmp_path / "parts", checkpoint)
    )
    assert set(whole) == set(parts) == set(before)
    moved = {name for name in before if not torch.equal(whole[name], before[name])}
    for name in before:
        assert torch.equal(whole[name], parts[name]), name
        assert whole[name].dtype == before[name].dtype
        assert (name in moved) <= ("vlm_with_expert.vlm" not in name), name  # the expert alone
    assert len(moved) > 10
    record = json.loads((tmp_path / "parts" / "finetune.json").read_text())
    assert record["history"][-1]["step"] == 6 and record["frames"] == 40
    assert (tmp_path / "parts" / "finetune.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_comes_out_is_the_checkpoint_with_other_weights(checkpoint, data, tmp_path):
    out = tmp_path / "out"
    assert finetune(checkpoint, data, out, "--train", "all", "--steps", "2") == 0
    for name in ("config.json", "policy_preprocessor.json", "policy_postprocessor.json"):
        assert (out / name).read_bytes() == (checkpoint / name).read_bytes()
    assert read_checkpoint(out).spec.trained_delay == 5
    policy = FlowAdapter.load(out, torch_threads=1)
    guidance = Guidance(np.zeros((9, A)), np.r_[np.ones(5), np.zeros(H - 5)], method="trained")
    made = policy.infer(observe(policy.spec), guidance, seed=1).actions
    assert (made[:5] == 0).all() and (made[5:] != 0).all()
    old, new = (load_file(f / "model.safetensors") for f in (checkpoint, out))
    vision = [name for name in old if "vision_model" in name and name.endswith("weight")]
    assert any(not torch.equal(old[name], new[name]) for name in vision)


def test_what_does_not_go_together_is_refused_before_it_begins(checkpoint, data, tmp_path, capsys):
    def refused(*words: str) -> str:
        assert finetune(*words) == 2
        return capsys.readouterr().err

    assert "max_delay is 16; it must be from 1 to 15" in refused(
        checkpoint, data, tmp_path / "a", "--max-delay", "16"
    )
    assert "holds no data set" in refused(checkpoint, tmp_path, tmp_path / "a")
    assert "is the checkpoint itself" in refused(checkpoint, data, checkpoint)
    assert "nothing to resume" in refused(checkpoint, data, tmp_path / "a", "--resume")
    spec = dataclasses.replace(SPEC, action_dim=5)
    stats = {compat.STATE: STATS[compat.STATE]}
    stats[compat.ACTION] = {name: value[:5] for name, value in STATS[compat.ACTION].items()}
    other = write_tiny_checkpoint(tmp_path / "five", spec, stats=stats)
    assert "action has shape [6], the policy's has [5]" in refused(other, data, tmp_path / "a")
    views = {"observation.images.wrist": (64, 64)}
    spec = dataclasses.replace(SPEC, image_features=views)
    other = write_tiny_checkpoint(tmp_path / "wrist", spec, stats=STATS)
    assert "lacks observation.images.wrist" in refused(other, data, tmp_path / "a")
    assert not (tmp_path / "a").exists()
