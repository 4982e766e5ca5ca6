"""The checkpoints that ship with the package, in closed loop with the physics, without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtc_ros.core.continuity.run_logger import RunLogger
from rtc_ros.core.settings import RtcSettings
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.protocol import Guidance, Observation, PolicyResult
from rtc_ros.sim.cameras import Cameras
from rtc_ros.sim.demonstrations import POLICY_IMAGE
from rtc_ros.sim.evaluate import begin_episode, main, play
from rtc_ros.sim.evaluation import GRIPPER
from rtc_ros.sim.robot import JOINT_NAMES, AlohaCube
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


@pytest.mark.parametrize("name", ["aloha_cube", "aloha_cube_prefix"])
def test_it_is_small_and_whole(checkpoint: Path, name: str) -> None:
    checkpoint = checkpoint.parent / name
    names = {path.name for path in checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "policy_preprocessor.json",
            "policy_postprocessor.json", "backbone", "README.md"} <= names  # fmt: skip
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    assert size < 8e6
    trained = {"aloha_cube": 0, "aloha_cube_prefix": 20}
    assert read_checkpoint(checkpoint).spec.trained_delay == trained[name]


class Noted:
    """The policy, which keeps each chunk that it went on to, and the one without given rows."""

    def __init__(self, policy: FlowAdapter) -> None:
        self.spec = policy.spec
        self.chunks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._policy = policy

    def infer(
        self, observation: Observation, guidance: Guidance | None, **options: Any
    ) -> PolicyResult:
        made = self._policy.infer(observation, guidance, **options)
        if guidance is not None:
            free = self._policy.infer(observation, None, **options)
            given = guidance.prev[: guidance.frozen]
            self.chunks.append((given, made.actions, free.actions))
        return made


@pytest.mark.parametrize("delay", [5, 12, 18])
def test_given_rows_are_executed_to_the_bit_and_gone_on_from(
    checkpoint: Path, delay: int
) -> None:
    noted = Noted(FlowAdapter.load(checkpoint.parent / "aloha_cube_prefix", torch_threads=1))
    settings, logger = RtcSettings(s_min=15, strategy="rtc_trained"), RunLogger(JOINT_NAMES)
    robot = AlohaCube(seed=125)
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        robot.reset()
        run = begin_episode(noted, settings, delay, robot, cameras, 0, logger, 1)
        play(run, robot, 130, until_done=True)
    run_log = logger.log()
    origin, command = run_log.commands.provenance, run_log.commands.command
    executed = {int(origin.step[i]): command[i] for i in np.flatnonzero(origin.row >= 0)}
    # The last chunk may still be on its way.
    continuing = [c for c in run_log.chunks if c.guided and c.origin_step + delay in executed]
    assert len(continuing) >= 4 and {c.delay for c in continuing} == {delay}
    for chunk in continuing:
        for row in range(delay):
            assert np.array_equal(chunk.actions[row], executed[chunk.origin_step + row])
    # What the policy itself makes of them, before they are put back to the bit; and the step from
    # the last of them: it goes on as they went, and would not without having been given them.
    # Grippers apart, which the limits cut.
    arms = [i for i, name in enumerate(JOINT_NAMES) if not name.endswith(GRIPPER)]
    bends = []
    for given, made, free in noted.chunks:
        np.testing.assert_allclose(made[:delay], given, atol=1e-5)
        straight = 2 * given[-1] - given[-2]
        bends.append([np.abs(rows[delay] - straight)[arms].max() for rows in (made, free)])
    trained, unguided = np.mean(bends, axis=0)
    assert trained < 0.7 * unguided, (trained, unguided)


def test_a_policy_without_that_training_is_refused_by_name(capsys: Any) -> None:
    assert main(["package:aloha_cube", "--strategy", "rtc_trained"]) == 2
    assert "this policy says nothing of it (rtc_training_max_delay" in capsys.readouterr().err
    assert main(["package:aloha_cube_prefix", "--strategy", "rtc_trained", "--delay", "21"]) == 2
    said = "first d = 21 rows, but this policy was trained for rtc_training_max_delay = 20"
    assert said in capsys.readouterr().err


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
