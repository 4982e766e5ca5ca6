"""A controller that sends five set points in each period, and what its drivers hear of it."""

import itertools
import os
import signal
import time

import numpy as np
import pytest
from robot_double import JOINTS, PARAMETERS, PERIOD_S, executed_fields

from rtc_ros.bringup import NodeToRun
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits

pytestmark = pytest.mark.ros

M, SPEED, ACCELERATION = 5, 1.0, 10.0
H = PERIOD_S / M
ROWS = {
    "command_rate": 250.0,
    "command_groups": ["arm"],
    "group.arm.topic": "arm/commands",
    "group.arm.type": "float64_multi_array",
    "group.arm.joints": JOINTS,
    "position_lower": [-5.0],
    "position_upper": [5.0],
    "max_velocity": [SPEED],
    "max_acceleration": [ACCELERATION],
}
RAMP = np.arange(1, 201)[:, None] * 0.6 * PERIOD_S * np.array([1.0, 0.9, -1.0])
FINE = JointLimits.from_velocity(
    [-5.0] * 3, [5.0] * 3, [SPEED] * 3, PERIOD_S, [ACCELERATION] * 3
).per_point(M)


def judged(robot):
    """Return what was sent, and its largest step and bend relative to the limits, in time."""
    rows = np.array([[0.0] * 3, *(m.data for m in robot.heard["arm/commands"])])
    times = np.array(robot.stamps_s["arm/commands"])
    waited = np.concatenate([[np.inf], np.diff(times)]) / H
    steps, last, worst = np.diff(rows, axis=0), np.zeros(3), 0.0
    for step, wait in zip(steps, waited, strict=True):
        bends = [np.abs(step - last).max()]
        if wait > 1.4:  # it may have stood: a stamp is some 0.1 ms after its sending
            bends.append(np.abs(step).max())
        worst = max(worst, min(bends) if wait < 1.6 else bends[-1])
        last = step
    return rows[1:], np.abs(steps).max() / FINE.max_step[0], worst / FINE.max_bend[0]


def moving(robot, steps=20, **changes):
    robot.start(**{**ROWS, **changes})
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= steps, "motion")


def test_the_driver_hears_each_row_as_the_last_of_its_set_points(robot):
    moving(robot, 60)
    robot.call("stop")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.spin(0.4)
    rows, step, bend = judged(robot)
    assert step <= 1 + 1e-9 and bend <= 1 + 1e-6
    told = [(m, executed_fields(m)) for m in robot.executed]
    sends = [(np.array(m.position[:3]), int(f["rtc/points"])) for m, f in told]
    sends = [(row, count) for row, count in sends if count]
    # All that was sent, period by period: of as many messages as the report says.
    assert sum(count for _, count in sends) == len(rows)
    ends = np.cumsum([count for _, count in sends]) - 1
    np.testing.assert_array_equal(rows[ends], [row for row, _ in sends])
    executed = [m.position[:3] for m, f in told if m.header.frame_id == "execute"]
    assert len(executed) >= 60
    assert np.abs(np.diff(executed[30:50], axis=0)).max() == pytest.approx(0.6 * PERIOD_S, 1e-6)
    sent = len(rows)
    robot.spin(0.3)
    assert len(robot.heard["arm/commands"]) == sent, "nothing is sent at rest"
    report = {v.key: v.value for v in robot.diagnostics["rtc_controller: tick"].values}
    assert int(report["set points"]) > 100 and "set points not sent in time" in report


@pytest.mark.parametrize("source", ["deadline", "timer"])
def test_one_that_is_ended_brakes_the_arm_to_rest_set_point_by_set_point(robot, source):
    moving(robot, 40, tick_source=source)
    assert robot.processes.stop("rtc_controller") == {"rtc_controller": 0}
    robot.spin(0.3)
    rows, step, bend = judged(robot)
    last = np.abs(np.diff(rows, axis=0))
    assert last.max() > 5 * FINE.max_bend[0]  # it had a way to brake
    assert (last[-1] <= FINE.max_bend + 1e-9).all(), f"stopped at once, from {last[-3:] / H} rad/s"
    if source == "deadline":  # a timer's set points come when the executor has time
        assert step <= 1 + 1e-9 and bend <= 1 + 1e-6


def test_a_process_that_stood_still_within_a_period_goes_on_from_rest_where_it_was(robot):
    moving(robot)
    pid = robot.processes.pid("rtc_controller")
    for phase, stall_s in itertools.product((0.5, 0.0), (0.005, 0.013, 0.06, 0.3)):
        # What was waited for is heard just after a tick.
        time.sleep(phase * PERIOD_S)
        os.kill(pid, signal.SIGSTOP)
        robot.spin(stall_s)  # its arm and its joint states go on
        os.kill(pid, signal.SIGCONT)
        before = robot.cursor.read().step
        robot.until(lambda before=before: robot.cursor.read().step > before + 8, "motion")
    robot.call("stop")
    robot.spin(0.5)
    _, step, bend = judged(robot)
    assert step <= 1 + 1e-9 and bend <= 1 + 1e-6
    cut = [f for f in map(executed_fields, robot.executed) if 0 < f["rtc/points"] < M]
    assert cut, "some period wasn't sent whole"


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {"command_rate": 120.0},
            ("no multiple of the 50 Hz of the rows", "100 or 150 Hz would be"),
        ),
        (
            {"command_rate": 250.0, "group.arm.type": "joint_trajectory_chunk"},
            ("command_rate is 250 Hz", "arm gets whole chunks while others get rows"),
        ),
    ],
)
def test_what_can_not_be_is_refused_by_the_numbers(robot, changes, sentences):
    node = NodeToRun("rtc_controller", parameters={**PARAMETERS, **changes})
    robot.processes.start([node])
    deadline = time.monotonic() + 60
    while not robot.processes.ended():
        assert time.monotonic() < deadline, robot.logs()
        robot.spin(0.05)
    assert robot.processes.ended() == {"rtc_controller": 2}
    assert all(s in robot.logs() for s in sentences) and "Traceback" not in robot.logs()


def test_drivers_of_chunks_alone_are_told_that_it_changes_nothing(robot):
    robot.start(**{**ROWS, "group.arm.type": "joint_trajectory_chunk"})
    robot.until(lambda: "250 Hz changes nothing: each driver plays chunks" in robot.logs(), "it")
    assert robot.cursor.read().points == 1
