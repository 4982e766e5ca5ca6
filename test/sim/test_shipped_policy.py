"""The checkpoint that ships with the package, in closed loop with the physics, without ROS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.sim.cameras import Cameras
from rtc_ros.sim.demonstrations import POLICY_IMAGE
from rtc_ros.sim.robot import AlohaCube
from rtc_ros.sim.rollout import Episode, run_episode, score

EPISODES = 4


@pytest.fixture(scope="module")
def checkpoint(repo: Path) -> Path:
    return repo / "rtc_ros" / "checkpoints" / "aloha_cube"


@pytest.fixture(scope="module")
def episodes(checkpoint: Path) -> list[Episode]:
    torch.set_num_threads(1)
    policy = FlowAdapter.load(checkpoint)
    robot = AlohaCube(seed=123)
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        return [run_episode(policy, robot, cameras, seed=1000 * n) for n in range(EPISODES)]


def test_it_is_small_and_whole(checkpoint: Path) -> None:
    names = {path.name for path in checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "policy_preprocessor.json",
            "policy_postprocessor.json", "backbone", "README.md"} <= names  # fmt: skip
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    assert size < 8e6


def test_both_arms_move_through_the_motion(episodes: list[Episode]) -> None:
    # The expert's arms travel 6.5 and 9.0 rad in an episode.
    for episode in episodes:
        left, right = episode.travel_rad
        assert left > 3.0 and right > 4.5, episode


def test_the_right_hand_goes_down_to_the_table_and_the_hands_meet(
    episodes: list[Episode],
) -> None:
    # The expert's right hand goes down to 0.02 m, and the hands come to 0.014 m of each other.
    assert all(episode.lowest_m < 0.08 for episode in episodes), episodes
    assert sum(episode.closest_m < 0.10 for episode in episodes) >= EPISODES - 1, episodes


def test_it_passes_sliding_cubes_and_puts_them_back_when_the_sentence_says_so(
    checkpoint: Path,
) -> None:
    policy = FlowAdapter.load(checkpoint)
    done = score(policy, EPISODES, seed=124, execute=10, cube_speed=0.06, put_back=True)
    passed = sum(episode.passed for episode in done)
    assert passed >= EPISODES // 2, done
    assert sum(episode.put_back for episode in done) >= passed // 2 > 0, done


def test_displaced_pictures_cost_it_the_cubes(checkpoint: Path) -> None:
    """What it is worth that `auto` bridges: 6 of the first 6 cubes as in training, none otherwise.

    With 5 rows executed of each chunk 19 and 1 of 20.
    """
    passed = {}
    for positions in ("auto", "right"):
        policy = FlowAdapter.load(checkpoint, image_positions=positions)
        done = score(policy, EPISODES, seed=9000, execute=10, until_done=True)
        passed[positions] = sum(episode.passed for episode in done)
    assert passed["auto"] >= EPISODES - 1 and passed["right"] <= 1, passed


def test_it_passes_the_cube(episodes: list[Episode]) -> None:
    # 39 in 40 when it was scored; half of them leaves room for another renderer's pixels.
    assert sum(episode.passed for episode in episodes) >= EPISODES // 2, episodes
