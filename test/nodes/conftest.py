"""A ROS context for the tests' own nodes, and the robot's side of the controller."""

import sys
from pathlib import Path

import pytest
import rclpy

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def robot(ros, tmp_path, monkeypatch):
    from robot_double import RobotDouble

    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    double = RobotDouble(tmp_path)
    yield double
    double.close()
