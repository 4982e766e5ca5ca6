"""A ROS context for the tests' own nodes, and the robot's side of the controller."""

import os
import sys
from pathlib import Path

import pytest
import rclpy

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def udp():
    """For tests that kill: Fast DDS's shared memory can lose a process that is started afterwards
    (docs/reliability.md)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
        yield


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


@pytest.fixture
def stand_in(monkeypatch):
    """Let a module of this folder run in a node's place: ``stand_in(executable, module)``."""
    from rtc_ros import bringup

    def replace(executable: str, module: str) -> None:
        here = str(Path(__file__).parent)
        monkeypatch.setenv("PYTHONPATH", here, prepend=os.pathsep)
        monkeypatch.setitem(bringup.MODULES, executable, module)

    return replace
