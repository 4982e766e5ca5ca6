"""The real controller with a jerk limit: what reaches the driver, however it ends."""

import os
import signal

import numpy as np
import pytest
from robot_double import JOINTS, PERIOD_S, STALE_S
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.cursor import Mode

# Alone: judges by what went out tick by tick.
pytestmark = [pytest.mark.ros, pytest.mark.alone]

ACCELERATION, JERK, N = 10.0, 125.0, 8
LIMITED = {
    "command_groups": ["arm"],
    "group.arm.topic": "arm/commands",
    "group.arm.type": "float64_multi_array",
    "group.arm.joints": JOINTS,
    "max_acceleration": [ACCELERATION],
    "max_jerk": [JERK],
}
GOAL = np.tile([0.9, -0.5, 0.3], (60, 1))


def moving(robot, steps=8, **changes):
    """Start towards a goal that is one great step away; return what the driver hears."""
    heard = robot.listen(Float64MultiArray, "arm/commands")
    robot.start(**{**LIMITED, **changes})
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(GOAL)
    robot.until(lambda: robot.cursor.read().step >= steps, "motion")
    return heard


def worst(way):
    """Return the largest acceleration and jerk of commands a period apart, relative to limits."""
    sizes = ((ACCELERATION, 2), (JERK, 3))
    return max(np.abs(np.diff(way, n, axis=0)).max() / (size * PERIOD_S**n) for size, n in sizes)


def assert_within_limits(robot, heard):
    """Check every command that the driver heard, in time, from rest to rest.

    Where it heard none for 1.5 periods it stood, and what follows has to begin from rest. Stamps
    are a little later than the decisions, so about that long it may be either.
    """
    stamps = robot.stamps_s["arm/commands"]
    assert len(stamps) == len(heard)
    gaps = np.diff(stamps, prepend=-np.inf) / PERIOD_S
    way, fastest = np.zeros((3, 3)), 0.0
    for gap, message in zip(gaps, heard, strict=True):
        row = np.array(message.data)
        on, anew = (np.concatenate([w, row[None]]) for w in (way, np.tile(way[-1], (3, 1))))
        ways = [w for w, may in ((on, gap < 1.8), (anew, gap > 1.2)) if may]
        way = min(ways, key=worst)[-4:]
        assert worst(way) <= 1 + 1e-6, (gap, way)
        fastest = max(fastest, np.abs(np.diff(way, axis=0)).max())
    assert worst(np.concatenate([way, np.tile(way[-1], (3, 1))])) <= 1 + 1e-6, "it ends at rest"
    assert fastest > 0.01, "it did move"


def test_the_driver_gets_the_mean_of_the_executed_rows(robot):
    heard = moving(robot, steps=58)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the chunk's end")
    robot.until(lambda: list(heard[-1].data) == list(GOAL[0]), "rest")
    assert_within_limits(robot, heard)
    np.testing.assert_array_equal(heard[-1].data, GOAL[0])
    rows = np.array([m.position[:3] for m in robot.executed if m.position[0] == m.position[0]])
    gaps = np.diff(robot.stamps_s["arm/commands"], prepend=0.0) / PERIOD_S
    last, sent = [np.zeros(3)] * N, np.zeros(3)
    for gap, message, row in zip(gaps, heard, rows, strict=False):
        last = [*last[1:], row]
        if gap > 1.2 and not np.allclose(message.data, np.mean(last, axis=0), atol=1e-12):
            last = [sent] * (N - 1) + [row]  # after a stall it begins from rest
        sent = np.array(message.data)
        np.testing.assert_allclose(sent, np.mean(last, axis=0), atol=1e-12)
    assert "each command is the mean of the last 8 rows, 70 ms late" in robot.logs()
    values = {v.key: v.value for v in robot.diagnostics["rtc_controller: motion"].values}
    assert values["rows in each command (jerk limit)"] == "8"


@pytest.mark.parametrize("mode", ["joint", "path"])
def test_a_stop_stays_within_the_limit_and_ends_at_rest(robot, mode):
    heard = moving(robot, limit_mode=mode)
    assert "braking to rest" in robot.call("stop").message
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.until_at_rest(heard)
    assert_within_limits(robot, heard)
    count = len(heard)
    robot.spin(0.2)
    assert len(heard) == count
    robot.begin()


def test_a_fault_and_the_end_of_the_process_stay_within_it(robot):
    heard = moving(robot, joint_state_timeout=STALE_S)
    robot.publish_states = False
    robot.until(lambda: robot.cursor.read().mode is Mode.FAULT, "the fault")
    robot.publish_states = True
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion after the fault")
    os.kill(robot.processes.pid("rtc_controller"), signal.SIGINT)
    assert robot.processes.stop("rtc_controller") == {"rtc_controller": 0}
    robot.spin(0.3)
    assert_within_limits(robot, heard)


def test_a_driver_that_takes_chunks_gets_the_whole_way(robot):
    heard = robot.listen(JointTrajectory, "arm/trajectory")
    kind = {"group.arm.type": "joint_trajectory_chunk", "group.arm.topic": "arm/trajectory"}
    moving(robot, **kind)
    robot.until(lambda: heard, "the chunk")
    sent = heard[0].points
    positions = np.array([p.positions for p in sent])
    assert np.abs(np.diff(positions, 3, axis=0)).max() <= JERK * PERIOD_S**3 + 1e-9
    np.testing.assert_allclose(positions[-1], GOAL[0], atol=1e-12)
    assert not any(sent[-1].velocities) and not any(sent[-2].velocities)
