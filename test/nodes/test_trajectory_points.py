"""One point a tick, as a joint_trajectory_controller interpolates it: the arm goes evenly."""

import numpy as np
import pytest
import rclpy
from driver_doubles import Body, TrajectoryController
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.controller.command_types import row_maker

# Alone: judges by what went out tick by tick.
pytestmark = [pytest.mark.ros, pytest.mark.alone]

PERIOD_S, UPDATE_S, SPEED = 0.02, 0.001, 1.0


@pytest.fixture
def context():
    """Return a context of its own."""
    made = rclpy.Context()
    rclpy.init(context=made)
    yield made
    made.try_shutdown()


def test_a_row_each_tick_at_an_even_speed_moves_the_arm_at_that_speed(context, monkeypatch):
    driver = TrajectoryController(context, "arm_controller", Body({"a": 0.0}), ["a"])
    now = 0.0
    monkeypatch.setattr(driver, "_now_s", lambda: now)
    make = row_maker("joint_trajectory", JointTrajectory, ["a"], "", 1.5 * PERIOD_S)
    places = []
    for tick in range(40):
        now = tick * PERIOD_S
        driver._take(make(np.array([SPEED * now]), None))
        for update in range(round(PERIOD_S / UPDATE_S)):
            now = tick * PERIOD_S + update * UPDATE_S
            places.append(driver._sample(now)[0][0])
    driver.node.destroy_node()
    assert not driver.refused
    speeds = np.diff(places)[len(places) // 2 :] / UPDATE_S
    np.testing.assert_allclose(speeds, SPEED, rtol=0.02)
