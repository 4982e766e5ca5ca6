"""From nothing to a checkpoint that loads, in a few seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtc_ros.policy.protocol import Observation
from rtc_ros.policy.smolvla import SmolVLAAdapter
from rtc_ros.sim import batches, demonstrations, train
from rtc_ros.sim.demonstrations import POLICY_IMAGE, TASK, Demonstrations
from rtc_ros.sim.expert import EPISODE_STEPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four demonstrations in two files, as two recorders leave them."""
    folder = tmp_path_factory.mktemp("demonstrations")
    for seed in ("1", "2"):
        assert demonstrations.main([str(folder), "--episodes", "2", "--seed", seed]) == 0
    return folder


def test_recorded_frames_belong_to_their_episodes(folder: Path) -> None:
    data = Demonstrations.load(folder)
    assert data.actions.shape == (4, EPISODE_STEPS, 14)
    assert set(data.episodes) == {0, 1, 2, 3}
    count = len(data.steps)
    assert data.images.shape == (count, *POLICY_IMAGE, 3) and data.images.dtype == np.uint8
    assert data.states.shape == (count, 14) and data.cubes.shape == (count, 3)
    # The state seen at a step is near the target of that step, in its own episode only.
    own = np.abs(data.actions[data.episodes, data.steps] - data.states)[:, :6].max(1)
    other = np.abs(data.actions[data.episodes, (data.steps + 150) % EPISODE_STEPS] - data.states)
    assert np.median(own) < 0.1 < np.median(other[:, :6].max(1))


def test_recording_is_repeatable(folder: Path) -> None:
    again = demonstrations.record(2, seed=1)
    with np.load(folder / "demonstrations_1.npz") as file:
        assert np.array_equal(file["actions"], again.actions)
        assert np.array_equal(file["states"], again.states)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no demonstrations"):
        Demonstrations.load(tmp_path)


def test_batches_are_normalised_and_hold_the_last_target_after_the_end(folder: Path) -> None:
    data = Demonstrations.load(folder)
    drawn = batches.Batches(data, seed=0)
    last = int(np.argmax(data.steps))
    batch = drawn.take(np.array([last, 0]))
    assert tuple(batch["image"].shape) == (2, 3, *POLICY_IMAGE)
    assert 0.0 <= float(batch["image"].min()) < float(batch["image"].max()) <= 1.0
    assert tuple(batch["actions"].shape) == (2, batches.HORIZON, 14)
    stats = drawn.stats["action"]
    actions = batch["actions"].numpy() * stats["std"] + stats["mean"]
    assert actions[0, -1] == pytest.approx(data.actions[data.episodes[last], -1], abs=1e-5)
    assert actions[1, 0] == pytest.approx(data.actions[0, data.steps[0]], abs=1e-5)
    assert (stats["std"] >= 0.05).all(), "a joint that stands still must not explode"


def test_a_short_training_writes_a_checkpoint_that_makes_chunks(
    folder: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    arguments = ["--vision-steps", "3", "--steps", "4", "--batch", "8"]
    assert train.main([str(folder), str(checkpoint), *arguments]) == 0
    for name in ("config.json", "policy_preprocessor.json"):
        assert str(tmp_path) not in (checkpoint / name).read_text(), "a path of this machine"
    policy = SmolVLAAdapter.load(checkpoint)
    assert (policy.spec.horizon, policy.spec.action_dim) == (50, 14)
    assert dict(policy.spec.image_features) == {"observation.images.top": POLICY_IMAGE}
    image = np.full((*POLICY_IMAGE, 3), 90, np.uint8)
    observation = Observation(np.zeros(14), {"observation.images.top": image}, TASK)
    chunk = policy.infer(observation, None, seed=0).actions
    assert chunk.shape == (50, 14) and np.isfinite(chunk).all()
    assert np.array_equal(chunk, policy.infer(observation, None, seed=0).actions)


def test_training_learns(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = train.Settings(vision_steps=0, steps=31, batch=16, learning_rate=2e-3)
    data = Demonstrations.load(folder)
    train.train(data, tmp_path / "checkpoint", settings)
    losses = [
        float(line.split("loss")[1].split()[0])
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("policy")
    ]
    assert losses[-1] < 0.95 * losses[0], "an average over the steps, so it falls slowly"
