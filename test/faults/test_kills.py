"""A short campaign of kills; the long one is run by hand (docs/reliability.md)."""

from __future__ import annotations

import pytest
from fault_system import TRANSPORT
from kills import campaign

# Alone: commands are judged by when they were sent, right after each process was killed.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


def test_kills_of_both_sides_at_random_moments(tmp_path, monkeypatch, figure):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    monkeypatch.setenv(*TRANSPORT)
    made = campaign(10, "writer", 7, tmp_path, "kills")
    watcher = made.system.watcher
    assert not made.problems, made.problems[:5]
    assert watcher.compared >= len(made.held), "each time it moved again, rows were compared"
    figure(made.summary())
