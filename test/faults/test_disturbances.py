"""A short campaign of disturbances; the long one is run by hand (docs/reliability.md)."""

from __future__ import annotations

import pytest
from disturbances import disturb
from fault_system import TRANSPORT

# Alone: two robots and their judges are this machine's whole load, each with its own timing.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


def test_robots_that_are_disturbed_at_random(tmp_path, monkeypatch, figure):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    monkeypatch.setenv(*TRANSPORT)
    made = disturb(24, 5, tmp_path, robots=2)
    assert not made.problems and not made.stuck, made.problems[:5] + made.stuck
    assert made.done >= 24 and made.counts["messages"] > 1000
    figure(str(made))
