from __future__ import annotations

import numpy as np
import pytest

from rtc_ros.sim.expert import EPISODE_STEPS, Expert
from rtc_ros.sim.kinematics import GRASP_POINT_M, HandPose, Kinematics
from rtc_ros.sim.robot import START_POSE, AlohaCube


def perform(seed: int, speed: float = 0.0) -> tuple[AlohaCube, list[str], np.ndarray]:
    robot = AlohaCube(seed=seed, cube_speed=speed)
    expert = Expert(robot.model, rng=np.random.default_rng(seed))
    holders, rows = ["none"], []
    for _ in range(EPISODE_STEPS):
        velocity = robot.data.joint("red_box_joint").qvel[:3] if speed else None
        rows.append(expert.act(robot.cube(), velocity))
        robot.command(rows[-1])
        robot.step()
        holder = robot.task_state().holder
        if holder != holders[-1]:
            holders.append(holder)
    return robot, holders, np.array(rows)


@pytest.mark.parametrize("seed", range(6))
def test_the_expert_passes_the_cube_from_right_to_left_and_goes_home(seed: int) -> None:
    robot, holders, rows = perform(seed)
    assert robot.task_state().done
    order = [h for h in ("right", "both", "left") if h in holders]
    assert order == ["right", "both", "left"]
    assert holders.index("right") < holders.index("both") < holders.index("left")
    home = np.delete(np.arange(14), [6])
    assert rows[-1][home] == pytest.approx(START_POSE[home], abs=0.02)
    assert rows[-1] == pytest.approx(rows[-10], abs=1e-6), "it rests at home"


@pytest.mark.parametrize("speed", [0.03, 0.06])
def test_the_expert_catches_a_sliding_cube(speed: float) -> None:
    passed = sum(perform(seed, speed)[0].task_state().done for seed in range(20, 24))
    assert passed >= 3


def test_the_experts_targets_are_smooth() -> None:
    rows = perform(11)[2]
    arms = np.delete(rows, [6, 13], axis=1)
    assert np.abs(np.diff(arms, axis=0)).max() < 0.08
    assert np.abs(np.diff(arms, 2, axis=0)).max() < 0.02


def test_the_experts_first_target_is_where_the_arms_are() -> None:
    start = START_POSE + np.random.default_rng(0).normal(0.0, 0.1, 14)
    robot = AlohaCube(seed=0)
    robot.reset(pose=start)
    first = Expert(robot.model, start).act(robot.cube())
    placed = [0, 1, 2, 4, 5, 7, 8, 9, 11, 12]  # the forearms go straight to 0
    assert first[placed] == pytest.approx(start[placed], abs=0.12)


@pytest.mark.parametrize("arm", ["left", "right"])
def test_inverse_kinematics_is_the_inverse_of_the_models_own(arm: str) -> None:
    robot = AlohaCube()
    kinematics = Kinematics(robot.model)
    side = -1.0 if arm == "left" else 1.0
    target = HandPose(np.array([side * 0.1, 0.53, 0.15]), 0.7, 0.4)
    start = START_POSE[:6]
    joints = kinematics.solve(arm, target, start, iterations=60)
    reached = kinematics.pose(arm, joints)
    assert reached.point == pytest.approx(target.point, abs=2e-3)
    assert (reached.pitch, reached.roll) == pytest.approx((0.7, 0.4), abs=0.01)

    row = START_POSE.copy()
    row[(0 if arm == "left" else 7) :][:6] = joints
    robot.reset(pose=row)
    body = robot.data.body(f"vx300s_{arm}/gripper_link")
    axis = body.xmat.reshape(3, 3)[:, 0]
    assert body.xpos + GRASP_POINT_M * axis == pytest.approx(reached.point, abs=1e-6)
    assert -axis[2] == pytest.approx(np.sin(0.7), abs=0.01), "pitch is below the horizon"


def test_a_target_out_of_reach_gives_finite_joints_within_the_limits() -> None:
    robot = AlohaCube()
    far = HandPose(np.array([2.0, 0.5, 1.0]), 0.0, 0.0)
    joints = Kinematics(robot.model).solve("left", far, START_POSE[:6], iterations=30)
    low, high = robot.model.actuator_ctrlrange[:6].T
    assert np.isfinite(joints).all()
    assert (joints >= low - 1e-9).all() and (joints <= high + 1e-9).all()
