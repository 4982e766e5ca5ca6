"""What becomes of the arm itself, where a driver obeys what it is sent."""

import numpy as np
import pytest
from obeying_robot import ACC, DT, ObeyingRobot, V

from rtc_ros.core.cursor import Mode


def moving(kind, **options):
    """Return a robot that was moved by a chunk, and starved."""
    robot = ObeyingRobot(kind, **options)
    robot.start()
    robot.give(np.arange(40) * 0.006)
    robot.run(110)
    assert robot.state.mode is Mode.STARVED
    return robot


def begun_elsewhere(place, rows):
    """Return one whose limp arm was led to ``place`` between two runs, with a chunk to go on."""
    robot = moving("joint_trajectory_chunk")
    robot.controller.stop()
    robot.arm.torque_off()
    robot.arm.lead(np.full(2, place), 3.0)
    robot.run(80)
    robot.start()
    robot.give(np.full(rows, place))
    return robot


@pytest.mark.parametrize("kind", ["joint_trajectory_chunk", "float64_multi_array"])
def test_an_arm_that_sags_at_rest_is_not_followed_down(kind):
    """On its way down its lag and its sag cancel: what it lags by is less than what it sags by."""
    robot = ObeyingRobot(kind, lag_s=0.05)
    robot.arm.push(np.full(2, -0.03))
    robot.run(20)
    robot.start()
    robot.give(robot.arm.pose[0] - np.arange(1, 81) * 0.6 * DT)
    robot.run(110)
    rest, step = robot.arm.pose.copy(), robot.state.player.step
    assert robot.state.mode is Mode.STARVED
    robot.give(np.full(60, robot.state.target[0]))  # it is to stay
    robot.run(250)
    assert robot.state.player.step > step + 40, "it goes on"
    np.testing.assert_allclose(robot.arm.pose, rest, atol=0.04)


@pytest.mark.parametrize("kind", ["joint_trajectory_chunk", "float64_multi_array"])
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_motion_does_not_begin_by_a_joint_state_that_is_old(kind, speed):
    """Nobody hears of the arm for less than the timeout, in which a hand moves it."""
    robot = moving(kind, latches=False, lag_s=0.02)
    robot.silent = True
    robot.arm.torque_off()
    robot.arm.lead(robot.arm.pose - 2.0, speed)
    robot.run(18)
    robot.arm.release()
    sent = len(robot.sent)
    robot.give(np.full(50, robot.state.target[0]))
    robot.run(5)
    assert len(robot.sent) == sent
    robot.silent = False
    robot.run(60)
    if speed * 0.36 > 0.35:
        assert robot.state.mode is Mode.STOPPED and len(robot.sent) == sent
        return
    _, message, arm = robot.sent[sent]
    row = message.positions[0] if kind == "joint_trajectory_chunk" else message
    assert np.abs(row - arm).max() < 0.03, "it begins where the arm then is"


def test_a_stop_stops_a_driver_that_comes_to_where_motion_begins():
    """After ~/start its arm was elsewhere than where it rested: it goes there first."""
    robot = begun_elsewhere(1.7, rows=60)
    robot.run(20)
    assert robot.group.comes
    robot.controller.stop()
    robot.run(1)
    stopped = robot.driver.told(robot.now_ns * 1e-9)[0]
    assert 0.3 < stopped < 1.5, "it is on its way"
    places = []
    for _ in range(100):
        robot.run(1)
        places.append(robot.driver.told(robot.now_ns * 1e-9)[0])
    steps = np.diff([stopped, *places])
    assert abs(places[-1] - stopped) <= V**2 / ACC + V * DT and not steps[20:].any()
    assert np.abs(np.diff(steps)).max() <= 1.02 * ACC * DT**2
    assert not robot.group.comes


def test_a_driver_that_came_is_at_rest_for_the_gate():
    robot = begun_elsewhere(0.9, rows=20)
    robot.run(200)
    assert robot.state.mode is Mode.STARVED and not robot.group.comes
