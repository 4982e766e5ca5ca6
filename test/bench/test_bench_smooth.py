"""Set points on the simulated arms: the bench's figures, on rows that need no policy."""

import numpy as np
import pytest

from rtc_ros.bench import smooth

pytest.importorskip("gym_aloha")


@pytest.fixture(scope="module")
def rows():
    """Two and a half seconds at 50 Hz: each joint goes 0.2 rad to and fro at 0.8 Hz."""
    from rtc_ros.sim.robot import GRIPPERS, START_POSE

    at_s = np.arange(125)[:, None] * smooth.ROW_S
    way = 0.1 - 0.1 * np.cos(2 * np.pi * 0.8 * at_s)
    made = START_POSE + way * np.ones(14)
    made[:, GRIPPERS] = START_POSE[list(GRIPPERS)]
    return made


def test_set_points_leave_a_fraction_of_the_jerk_and_follow_the_path_as_closely(rows, tmp_path):
    motions = {
        (stride, hz): smooth.played(rows, stride, hz, np.inf, 0)
        for stride, hz in ((2, 0), (2, 250), (2, 500))
    }
    # What was told every 2 ms: steps of 40 ms, of 4 ms, of 2 ms.
    moves = {key: (np.diff(m.told[600:, 0]) != 0).sum() for key, m in motions.items()}
    assert moves[2, 0] <= 35 < 290 < moves[2, 250] <= 330 < 580 < moves[2, 500]
    today, at_250, at_500 = smooth.figures(rows, motions)
    assert today.jerk_ratio == 1.0
    assert at_500.jerk_ratio < 0.2 < at_250.jerk_ratio < 0.5
    assert at_500.torque_rate < at_250.torque_rate < 0.5 * today.torque_rate
    assert at_250.path_error < 1.1 * today.path_error
    assert 0.0 < at_250.lag_s - today.lag_s < 0.03, "half a period, and a set point"
    assert "| 25 | 25, the rows | " in smooth.table([today, at_250])
    smooth.picture(rows, motions, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
