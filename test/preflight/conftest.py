"""A robot for preflight to look at, with shared memory of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from preflight_robot import PreflightRobot


@pytest.fixture
def robot(tmp_path, monkeypatch):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    made = PreflightRobot(tmp_path)
    yield made
    made.down()
