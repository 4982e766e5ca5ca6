from __future__ import annotations

import numpy as np
import pytest

from rtc_ros.sim.expert import REST_STEPS, Expert
from rtc_ros.sim.kinematics import GRASP_POINT_M, HandPose, Kinematics
from rtc_ros.sim.robot import START_POSE, AlohaCube
from rtc_ros.sim.tasks import PUT_BACK


def perform(
    seed: int, speed: float = 0.0, looks: int = 1, moved_at: int = -1
) -> tuple[AlohaCube, list[str], np.ndarray, Expert]:
    """Let the expert, who sees the cube each ``looks`` steps, pass a cube."""
    robot = AlohaCube(seed=seed, cube_speed=speed)
    expert = Expert(robot.model, rng=np.random.default_rng(seed))
    holders, rows = ["none"], []
    rest, cube = 0, robot.cube()
    while rest < REST_STEPS and len(rows) < 600:
        if len(rows) == moved_at:
            robot.move_cube((-0.05, 0.05) if robot.cube()[0] > 0.1 else (0.05, -0.05))
        cube = robot.cube() if len(rows) % looks == 0 else cube
        rows.append(expert.act(cube))
        robot.command(rows[-1])
        robot.step()
        rest += expert.finished
        holder = robot.task_state().holder
        if holder != holders[-1]:
            holders.append(holder)
    return robot, holders, np.array(rows), expert


@pytest.mark.parametrize("seed", range(6))
def test_the_expert_passes_the_cube_from_right_to_left_and_goes_home(seed: int) -> None:
    robot, holders, rows, expert = perform(seed)
    assert robot.task_state().done and expert.retries == 0
    order = [h for h in ("right", "both", "left") if h in holders]
    assert order == ["right", "both", "left"]
    assert holders.index("right") < holders.index("both") < holders.index("left")
    home = np.delete(np.arange(14), [6])
    assert rows[-1][home] == pytest.approx(START_POSE[home], abs=0.02)
    assert rows[-1] == pytest.approx(rows[-10], abs=1e-6), "it rests at home"


@pytest.mark.parametrize("looks", [1, 10])
@pytest.mark.parametrize("speed", [0.03, 0.06])
def test_the_expert_catches_a_sliding_cube_whose_velocity_it_does_not_know(
    speed: float, looks: int
) -> None:
    passed = sum(perform(seed, speed, looks)[0].task_state().done for seed in range(20, 25))
    assert passed >= 4


@pytest.mark.parametrize("moved_at", [40, 70, 98])
def test_the_expert_corrects_when_the_cube_is_moved(moved_at: int) -> None:
    tries = [perform(seed, moved_at=moved_at) for seed in range(30, 34)]
    assert sum(robot.task_state().done for robot, *_ in tries) >= 3
    assert all(expert.retries == 0 for *_, expert in tries) == (moved_at == 40)


@pytest.mark.parametrize("seed", range(3))
def test_the_expert_puts_the_cube_back_on_the_right(seed: int) -> None:
    robot, _, rows, _ = perform(seed)
    assert robot.task_state().done and not robot.task_state().lies
    expert = Expert(robot.model, rows[-1], np.random.default_rng(seed), PUT_BACK)
    holders = []
    while not expert.finished:
        robot.command(expert.act(robot.cube()))
        robot.step()
        holders.append(robot.task_state().holder)
    assert holders[0] == "left" and {"both", "right"} <= set(holders)
    assert robot.task_state().lies and holders[-1] == "none"


def test_with_nothing_to_put_back_the_arms_go_home() -> None:
    robot = AlohaCube(seed=2)
    reaching = Expert(robot.model)
    rows = [reaching.act(robot.cube()) for _ in range(60)]
    expert = Expert(robot.model, rows[-1], None, PUT_BACK)
    while not expert.finished:
        rows.append(expert.act(robot.cube()))
    assert rows[-1] == pytest.approx(START_POSE, abs=0.02)
    assert np.abs(np.diff(rows[60:], axis=0)).max() < 0.08


def test_a_plan_is_what_follows_if_the_cube_stays_and_asking_for_it_changes_nothing() -> None:
    robot = AlohaCube(seed=4)
    asked, silent = (Expert(robot.model, rng=np.random.default_rng(1)) for _ in range(2))
    cube = robot.cube()
    for step in range(45):
        cube[:2] += 0.001  # it slides
        plan = asked.plan(cube, 50)
        assert plan.shape == (50, 14)
        assert np.array_equal(asked.act(cube), plan[0]), step
        assert np.array_equal(silent.act(cube), plan[0]), step
    follows = np.array([silent.act(cube) for _ in range(49)])
    assert np.array_equal(follows, plan[1:])


def test_both_ways_to_approach_are_taken() -> None:
    robot = AlohaCube(seed=5)
    hand = []
    for seed in range(12):
        expert = Expert(robot.model, rng=np.random.default_rng(seed))
        row = expert.plan(robot.cube(), 54)[-1]
        point = Kinematics(robot.model).pose("right", row[7:]).point
        hand.append((point - robot.cube())[0])
    assert min(hand) < 0.015 and max(hand) > 0.03


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
