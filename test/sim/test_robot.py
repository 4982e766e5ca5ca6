from __future__ import annotations

import numpy as np
import pytest

from rtc_ros.sim.robot import CUBE_REGION_M, JOINT_NAMES, START_POSE, AlohaCube

LEFT = ["left_waist", "left_shoulder", "left_elbow", "left_forearm_roll", "left_wrist_angle",
        "left_wrist_rotate", "left_gripper"]  # fmt: skip


def trajectory(seed: int) -> np.ndarray:
    robot = AlohaCube(seed=seed)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(40):
        robot.command(START_POSE + rng.uniform(-0.3, 0.3, 14))
        robot.step()
        rows.append(np.concatenate([robot.positions(), robot.velocities(), robot.cube()]))
    return np.array(rows)


def test_joints_are_named_left_then_right_in_the_order_of_commands() -> None:
    assert list(JOINT_NAMES) == LEFT + [n.replace("left", "right") for n in LEFT]


@pytest.mark.parametrize("name", JOINT_NAMES)
def test_a_command_moves_the_joint_of_its_name(name: str) -> None:
    index = JOINT_NAMES.index(name)
    robot = AlohaCube()
    target = START_POSE.copy()
    target[index] += 0.2
    robot.command(target)
    robot.step(1500)
    moved = robot.positions() - START_POSE
    assert moved[index] == pytest.approx(0.2, abs=0.03)
    assert np.abs(np.delete(moved, index)).max() < 0.05
    arm, joint = name.split("_", 1)
    model_joint = f"vx300s_{arm}/{joint.replace('gripper', 'left_finger')}"
    assert robot.data.joint(model_joint).qpos[0] != robot.model.key_qpos[0, index]


def test_the_same_seed_gives_the_same_motion_to_the_last_bit() -> None:
    assert np.array_equal(trajectory(4), trajectory(4))


def test_another_seed_lays_the_cube_elsewhere() -> None:
    assert np.abs(trajectory(4)[0, 28:] - trajectory(5)[0, 28:]).max() > 1e-3


def test_reset_goes_on_to_the_next_episode_and_with_a_seed_back_to_its_first() -> None:
    robot = AlohaCube(seed=7)
    first = robot.cube()
    robot.reset()
    assert not np.array_equal(robot.cube(), first)
    robot.reset(seed=7)
    assert np.array_equal(robot.cube(), first)
    assert robot.positions() == pytest.approx(START_POSE, abs=1e-9)


def test_cubes_lie_all_over_their_region() -> None:
    robot = AlohaCube(seed=0)
    places = []
    for _ in range(60):
        robot.new_cube()
        places.append(robot.cube()[:2])
    low, high = np.array(CUBE_REGION_M).T
    assert (np.array(places) >= low).all() and (np.array(places) <= high).all()
    assert (np.ptp(places, axis=0) > 0.8 * (high - low)).all()


def test_a_new_cube_leaves_the_arms_where_they_are() -> None:
    robot = AlohaCube(seed=1)
    robot.command(START_POSE + 0.2)
    robot.step(50)
    before = robot.positions()
    robot.new_cube()
    assert np.array_equal(robot.positions(), before)


def test_the_last_command_holds() -> None:
    robot = AlohaCube()
    target = START_POSE + 0.1
    robot.command(target)
    robot.step(1500)
    there = robot.positions()
    robot.step(500)
    assert robot.positions() == pytest.approx(there, abs=2e-3)
    assert np.array_equal(robot.targets(), target)


def test_wild_commands_stay_finite() -> None:
    robot = AlohaCube()
    rng = np.random.default_rng(3)
    for _ in range(200):
        robot.command(rng.uniform(-3.0, 3.0, 14))
        robot.step()
    assert np.isfinite(robot.positions()).all() and np.isfinite(robot.velocities()).all()
    assert robot.unstable_steps == 0


def test_wrong_commands_are_refused_with_a_sentence_and_change_nothing() -> None:
    robot = AlohaCube()
    with pytest.raises(ValueError, match=r"14 values, got shape \(7,\)"):
        robot.command(np.zeros(7))
    bad = START_POSE.copy()
    bad[9] = np.nan
    with pytest.raises(ValueError, match="right_elbow is not finite"):
        robot.command(bad)
    assert np.array_equal(robot.targets(), START_POSE)


def test_a_sliding_cube_slides_at_its_speed_and_stays_in_its_region() -> None:
    robot = AlohaCube(seed=2, cube_speed=0.06)
    places = [robot.cube()]
    for _ in range(400):
        robot.step()
        places.append(robot.cube())
    speeds = np.linalg.norm(np.diff(places, axis=0)[:, :2], axis=1) / 0.02
    assert np.median(speeds) == pytest.approx(0.06, rel=0.01)
    low, high = np.array(CUBE_REGION_M).T
    assert (np.array(places)[:, :2] > low - 0.01).all()
    assert (np.array(places)[:, :2] < high + 0.01).all()


def test_a_cube_speed_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="cube_speed is 2.0 m/s; it must be from 0 to 0.5"):
        AlohaCube(cube_speed=2.0)


def test_nobody_holds_a_cube_on_the_table() -> None:
    state = AlohaCube().task_state()
    assert (state.holder, state.done) == ("none", False)
    assert state.cube_m[2] == pytest.approx(0.02, abs=2e-3)


def test_a_cube_that_lies_on_the_table_can_be_moved_within_its_region() -> None:
    robot = AlohaCube(seed=6)
    robot.step()
    before = robot.cube()
    robot.move_cube((0.01, -0.01))
    assert robot.cube() - before == pytest.approx([0.01, -0.01, 0.0], abs=1e-9)
    robot.move_cube((1.0, 1.0))
    assert robot.cube()[:2] == pytest.approx([0.18, 0.58])
    robot.step()
    assert robot.task_state().lies, "it lies on the right, and nothing touches it"
    robot.data.qpos[-7:-4] = [-0.1, 0.5, 0.02]
    robot.step()
    assert not robot.task_state().lies, "on the left"
    robot.data.qpos[-7:-4] = [0.1, 0.5, 0.3]
    robot.step()
    assert not robot.task_state().lies, "in the air"
    in_the_air = robot.cube()
    robot.move_cube((0.01, 0.01))
    assert np.array_equal(robot.cube(), in_the_air)
