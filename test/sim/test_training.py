"""From nothing to a data set that LeRobot opens, and to a checkpoint that loads, in seconds."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.policy.protocol import Observation
from rtc_ros.sim import demonstrations
from rtc_ros.sim.batches import Batches, Frames
from rtc_ros.sim.demonstrations import HORIZON, POLICY_IMAGE
from rtc_ros.sim.robot import JOINT_NAMES
from rtc_ros.sim.tasks import PASS, PUT_BACK, TASKS
from rtc_ros.sim.train import Run, Settings
from rtc_ros.tools.cli import main

pytestmark = pytest.mark.rendering


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of `sim record --quick`: four trials."""
    folder = tmp_path_factory.mktemp("recorded") / "data"
    assert main(["sim", "record", str(folder), "--quick", "--seed", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def frames(folder: Path) -> Frames:
    """The same, read."""
    return Frames.load([folder])


def test_lerobot_opens_the_data_set(folder: Path, frames: Frames) -> None:
    from lerobot.configs.types import FeatureType
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    try:
        from lerobot.utils.feature_utils import dataset_to_policy_features
    except ImportError:  # before LeRobot 0.6
        from lerobot.datasets.utils import dataset_to_policy_features

    ahead = {"action": [k / 10 for k in range(5)]}
    data = LeRobotDataset("local/data", root=folder, delta_timestamps=ahead)
    assert data.num_frames == len(frames.states) > 100
    assert data.num_episodes == frames.episode_count >= 4
    assert data.fps == 10 and data.meta.robot_type == "gym-aloha bimanual ViperX"
    assert tuple(data.features["action"]["names"]) == JOINT_NAMES
    assert set(data.meta.tasks.index) == {PASS, PUT_BACK}
    kinds = {name: f.type for name, f in dataset_to_policy_features(data.features).items()}
    assert kinds == {
        "observation.images.top": FeatureType.VISUAL,
        "observation.state": FeatureType.STATE,
        "action": FeatureType.ACTION,
    }, "what LeRobot's own training would give a policy: no plan, no true cube"
    item = data[7]
    assert item["task"] == TASKS[frames.tasks[7]]
    picture = (item["observation.images.top"].permute(1, 2, 0) * 255).round().to(torch.uint8)
    assert np.array_equal(picture.numpy(), frames.images[7]), "to the bit"
    assert np.array_equal(item["observation.state"].numpy(), frames.states[7])
    same = frames.episodes[7:12] == frames.episodes[7]
    assert np.array_equal(item["action"].numpy()[same], frames.actions[7:12][same])
    assert not item["action_is_pad"][: same.sum()].any()


def test_a_plan_is_what_the_expert_does_next_once_it_has_the_cube(frames: Frames) -> None:
    assert frames.plans.shape == (len(frames.states), HORIZON, 14)
    held = np.flatnonzero((frames.cubes[:, 2] > 0.1) & (frames.tasks == TASKS.index(PASS)))
    later = held + 1  # a tenth of a second: 5 rows
    inside = later < len(frames.states)
    held, later = held[inside], later[inside]
    same = frames.episodes[held] == frames.episodes[later]
    assert same.sum() > 50
    assert np.array_equal(frames.plans[held[same], 5], frames.actions[later[same]])
    assert np.array_equal(frames.plans[held, 0], frames.actions[held])


def test_recording_is_repeatable_and_seeds_differ(folder: Path, tmp_path: Path) -> None:
    first = Frames.load([folder])
    demonstrations.record(tmp_path / "again", 1, seed=3)
    again = Frames.load([tmp_path / "again"])
    count = len(again.states)
    for name in ("images", "states", "plans", "cubes"):
        assert np.array_equal(getattr(again, name), getattr(first, name)[:count]), name
    demonstrations.record(tmp_path / "other", 1, seed=4)
    other = Frames.load([tmp_path / "other"])
    assert not np.array_equal(other.cubes[:20], first.cubes[:20])
    both = Frames.load([tmp_path / "again", tmp_path / "other"])
    assert both.episode_count == again.episode_count + other.episode_count
    some = both.first(again.episode_count)
    assert np.array_equal(some.images, again.images) and some.episode_count < both.episode_count


def test_a_folder_that_is_there_already_and_one_that_is_not_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", "record", str(folder), "--quick"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["sim", "train", str(tmp_path / "none"), str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert "holds no data set" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "command", [["record", "{new}", "--quick"], ["train", "{data}", "{new}", "--quick"]]
)
def test_a_lerobot_without_data_sets_names_what_is_to_be_installed(
    folder: Path, tmp_path: Path, command: list[str]
) -> None:
    """As LeRobot 0.6 with [smolvla] alone, whose policies need no package datasets."""
    words = [word.format(data=folder, new=tmp_path / "new") for word in command]
    done = subprocess.run(
        [sys.executable, "-c", "import sys, rtc_ros.policy.lerobot_compat; "
         "sys.modules['datasets'] = None; from rtc_ros.tools.cli import main; "
         "sys.exit(main(['sim', *sys.argv[1:]]))", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "install lerobot[dataset]" in done.stderr and "Traceback" not in done.stderr


def test_batches_are_normalised(frames: Frames) -> None:
    drawn = Batches(frames, seed=0)
    batch = drawn.take(np.array([9, 0]))
    assert tuple(batch["image"].shape) == (2, 3, *POLICY_IMAGE)
    assert 0.0 <= float(batch["image"].min()) < float(batch["image"].max()) <= 1.0
    stats = drawn.stats["action"]
    actions = batch["actions"].numpy() * stats["std"] + stats["mean"]
    assert actions[0] == pytest.approx(frames.plans[9], abs=1e-5)
    assert (stats["std"] >= 0.05).all(), "a joint that stands still must not explode"


def test_frames_of_the_approach_are_drawn_twice_as_often(frames: Frames) -> None:
    drawn = Batches(frames, seed=0)
    tasks = torch.cat([drawn.draw(256)["task"] for _ in range(20)]).numpy()
    reaching = (frames.cubes[:, 2] < 0.03) & (frames.tasks == TASKS.index(PASS))
    trained = frames.episodes < int(0.97 * frames.episode_count)
    weight = np.where(reaching, 2.0, 1.0) * trained
    expected = weight[frames.tasks == 1].sum() / weight.sum()
    assert tasks.mean() == pytest.approx(expected, abs=0.03)


def test_a_quick_training_writes_a_checkpoint_that_makes_chunks_by_the_sentence(
    folder: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    words = ["sim", "train", str(folder), str(checkpoint), "--quick", "--max-delay", "20"]
    assert main(words) == 0
    assert read_checkpoint(checkpoint).spec.trained_delay == 20
    for name in ("config.json", "policy_preprocessor.json", "training.json"):
        assert str(tmp_path) not in (checkpoint / name).read_text(), "a path of this machine"
    record = json.loads((checkpoint / "training.json").read_text())
    assert [p["stage"] for p in record["history"]] == ["vision", "policy"]
    assert (checkpoint / "training.png").read_bytes().startswith(b"\x89PNG")
    policy = FlowAdapter.load(checkpoint)
    assert (policy.spec.horizon, policy.spec.action_dim) == (50, 14)
    assert dict(policy.spec.image_features) == {"observation.images.top": POLICY_IMAGE}
    image = {"observation.images.top": np.full((*POLICY_IMAGE, 3), 90, np.uint8)}
    chunks = [
        policy.infer(Observation(np.zeros(14), image, task), None, seed=0).actions
        for task in (PASS, PASS, PUT_BACK)
    ]
    assert chunks[0].shape == (50, 14) and np.isfinite(chunks[0]).all()
    assert np.array_equal(chunks[0], chunks[1])
    assert not np.array_equal(chunks[0], chunks[2]), "the sentence matters"


def test_training_learns(frames: Frames, tmp_path: Path) -> None:
    settings = Settings(vision_steps=0, steps=31, batch=16, learning_rate=2e-3)
    run = Run(frames, tmp_path / "c", settings, report_every=1, check_episodes=0)
    run.go()
    losses = [point["loss"] for point in run.history]
    assert losses[-1] < 0.95 * losses[0], "an average over the steps, so it falls slowly"


@pytest.mark.parametrize("stopped_at", [2, 3, 5])
def test_a_resumed_training_ends_as_one_that_was_not_stopped(
    frames: Frames, tmp_path: Path, stopped_at: int
) -> None:
    settings = Settings(vision_steps=3, steps=5, batch=8)
    options = {"report_every": 4, "check_episodes": 0}
    whole = Run(frames, tmp_path / "whole", settings, **options)
    whole.go()
    Run(frames, tmp_path / "parts", settings, **options).go(until=stopped_at)
    rest = Run(frames, tmp_path / "parts", settings, **options, resume=True)
    assert rest.trainer.step == stopped_at
    rest.go()
    for name, value in whole.trainer.averaged().items():
        assert torch.equal(value, rest.trainer.averaged()[name]), name
    left, right = ([{**p, "minutes": 0} for p in r.history] for r in (whole, rest))
    assert left == right


def test_weights_that_are_trained_on_begin_with_a_readout_that_fits(
    frames: Frames, tmp_path: Path
) -> None:
    """A random one would be metres off, and pull at the tokens first of all."""
    start = str(checkpoint_path("package:aloha_cube"))
    settings = Settings(vision_steps=0, steps=1, batch=8, start_from=start, max_delay=20)
    run = Run(frames, tmp_path / "c", settings, check_episodes=0)
    assert run.trainer.cube_error_mm() < 10.0
    begun, bias = run.trainer.policy.state_dict(), "model.action_out_proj.bias"
    assert torch.equal(begun[bias], load_file(Path(start) / "model.safetensors")[bias])


def test_a_training_with_other_settings_is_not_resumed(frames: Frames, tmp_path: Path) -> None:
    Run(frames, tmp_path / "c", Settings(vision_steps=1, steps=2, batch=4), check_episodes=0).go()
    with pytest.raises(ValueError, match="other settings: steps 2 there, 3 here"):
        Run(frames, tmp_path / "c", Settings(vision_steps=1, steps=3, batch=4), resume=True)


@pytest.mark.slow
def test_closed_loop_checks_change_nothing_in_the_training(frames: Frames, tmp_path: Path) -> None:
    settings = Settings(vision_steps=1, steps=4, batch=8)
    plain = Run(frames, tmp_path / "plain", settings, check_episodes=0)
    plain.go()
    checked = Run(frames, tmp_path / "checked", settings, check_every=2, check_episodes=1)
    checked.go()
    assert [c["step"] for c in checked.checks] == [2, 4]
    assert all(0 <= c[k] <= 1 for c in checked.checks for k in ("still", "sliding"))
    for name, value in plain.trainer.averaged().items():
        assert torch.equal(value, checked.trainer.averaged()[name]), name


def test_lerobot_s_hundred_lines_on_a_missing_ffmpeg_are_one_and_all_else_is_said(caplog):
    importlib.import_module("rtc_ros.policy.lerobot_data")
    log = logging.getLogger("lerobot.utils.import_utils")
    log.warning("Could not load libtorchcodec. Likely causes:\n  1. FFmpeg …\nTraceback …")
    log.warning("'torchcodec' is not available in your platform, falling back to %s", "pyav")
    first, second = (record.getMessage() for record in caplog.records)
    assert "no FFmpeg" in first and "\n" not in first
    assert second == "'torchcodec' is not available in your platform, falling back to pyav"
