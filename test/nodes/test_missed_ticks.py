"""Ticks that a process missed or that failed: what drivers of chunks and of rows then do."""

import os
import signal
import time

import numpy as np
import pytest
from arm_double import Course, Trajectory
from robot_double import JOINTS, PERIOD_S, executed_fields
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.cursor import Mode

# Alone: judges by the ticks that were missed on purpose, and no others.
pytestmark = [pytest.mark.ros, pytest.mark.alone]

SPEED, MAX_SPEED, ACCELERATION = 0.6, 1.0, 10.0
RAMP = np.arange(1, 91)[:, None] * SPEED * PERIOD_S * np.array([1.0, 0.9, -1.0])
CHUNKS = {
    "command_groups": ["arm"],
    "group.arm.topic": "arm/trajectory",
    "group.arm.type": "joint_trajectory_chunk",
    "group.arm.joints": JOINTS,
    "position_lower": [-5.0],
    "position_upper": [5.0],
    "max_velocity": [MAX_SPEED],
    "max_acceleration": [ACCELERATION],
}
ROWS = {**CHUNKS, "group.arm.topic": "arm/commands", "group.arm.type": "float64_multi_array"}


class Played:
    """Where a driver is that interpolates what it was sent, begun when that was published."""

    def __init__(self, robot):
        self._messages = []
        robot.node.create_subscription(JointTrajectory, "arm/trajectory", self._take, 10)

    def _take(self, message, info):
        # Not when this process came to look at it: that is no doing of the controller's.
        self._messages.append((info["source_timestamp"] * 1e-9, message))

    def __len__(self):
        return len(self._messages)

    def last(self):
        return self._messages[-1][1]

    def phases(self):
        """Return when the points of each trajectory are due, in periods modulo 1."""
        first = [(at, message.points[0].time_from_start) for at, message in self._messages]
        return [(at + due.sec + due.nanosec * 1e-9) / PERIOD_S % 1.0 for at, due in first]

    def speeds_to_first_points(self):
        """Return how fast each new trajectory makes the driver go to its first point."""
        course, speeds = Course.rest(0.0, np.zeros(len(JOINTS))), []
        for at, message in self._messages:
            trajectory = Trajectory.of(message, JOINTS)
            place = course.at(np.array([at]))[0][0]
            way = np.abs(trajectory.positions[0] - place).max()
            speeds.append(way / trajectory.times[0])
            course = Course.after(course, at, trajectory)
        return speeds


def moving(robot, **changes):
    """Start, hear all that the driver is sent, and wait until the arm moves."""
    played = Played(robot)
    under_way(robot, {**CHUNKS, **changes})
    return played


def moving_by_rows(robot):
    """Do so with a driver of single rows; return what it hears."""
    heard = robot.listen(Float64MultiArray, "arm/commands")
    under_way(robot, ROWS)
    return heard


def under_way(robot, parameters):
    robot.start(**parameters)
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 20, "motion")


def executed_steps(robot):
    """Return the steps that were told to be executed."""
    executed = [executed_fields(m) for m in robot.executed if m.header.frame_id == "execute"]
    return [int(fields["rtc/step"]) for fields in executed]


@pytest.mark.parametrize("stall_s", [0.2, 0.7])
def test_a_stall_is_invisible_to_a_driver_that_has_the_chunk(robot, stall_s):
    # Time in which this process stood still is none in which joint states stayed away.
    played = moving(robot, joint_state_timeout=0.5)
    pid, before = robot.processes.pid("rtc_controller"), robot.cursor.read().step
    os.kill(pid, signal.SIGSTOP)
    time.sleep(stall_s)
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda: robot.cursor.read().step > before + 4, "motion after the stall")
    state = robot.cursor.read()
    assert state.step >= before + 0.9 * stall_s / PERIOD_S, "k went on with the driver"
    robot.write(state.command + RAMP, origin=state.step)
    swaps = len(robot.swaps)
    robot.until(lambda: len(robot.swaps) > swaps, "the next chunk")
    robot.call("stop")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.spin(0.3)
    speeds = played.speeds_to_first_points()
    assert len(speeds) >= 3
    assert max(speeds) <= 1.1 * MAX_SPEED, speeds
    steps = executed_steps(robot)
    assert steps == list(range(len(steps))), "each row that the driver played is told"
    assert not [m for m in robot.executed if "joint state" in m.header.frame_id]


def test_a_stall_beyond_the_chunk_leaves_the_driver_at_rest_where_it_is(robot):
    played = Played(robot)
    robot.start(**CHUNKS)
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(RAMP, rows=30)
    robot.until(lambda: robot.cursor.read().step >= 10, "motion")
    pid = robot.processes.pid("rtc_controller")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    state = robot.cursor.read()
    assert state.step == 30 and not state.last_step.any()
    robot.spin(0.2)
    assert max(played.speeds_to_first_points()) <= 1.1 * MAX_SPEED


@pytest.mark.parametrize(
    ("stop", "acceleration"), [("stop", float("inf")), ("latch_stop", 10.0), ("reset", 10.0)]
)
def test_a_stop_within_a_stall_reaches_the_driver_where_it_then_is(robot, stop, acceleration):
    played = moving(robot, max_acceleration=[acceleration])
    pid, epoch = robot.processes.pid("rtc_controller"), robot.cursor.read().epoch
    os.kill(pid, signal.SIGSTOP)
    future = robot.client(stop).call_async(Trigger.Request())
    robot.spin(0.2)
    os.kill(pid, signal.SIGCONT)
    robot.until(future.done, "the answer")
    robot.spin(0.6)
    assert future.result().success
    state = robot.cursor.read()
    assert max(played.speeds_to_first_points()) <= 1.1 * MAX_SPEED
    assert len(played) == 2, "the chunk, and the way to rest"
    last = np.array(played.last().points[-1].positions)
    assert np.abs(last).max() < 0.9 * np.abs(RAMP[-1]).max(), "not the chunk's end"
    if stop == "reset":
        assert state.epoch > epoch and state.mode is Mode.WAITING
    else:
        np.testing.assert_allclose(last, state.command, atol=1e-12)


@pytest.fixture
def stall(monkeypatch, stand_in, tmp_path):
    """Return the file that makes the controller stand still within a tick."""
    file = tmp_path / "stall"
    monkeypatch.setenv("STALL_FILE", str(file))
    stand_in("rtc_controller", "stalling_controller")
    return file


@pytest.mark.parametrize("what", ["stop", "swap"])
def test_a_stall_within_a_tick_is_found_before_the_driver_is_sent_what_is_outdated(
    robot, stall, what
):
    played = moving(robot)
    stall.write_text("decided 0.3")
    if what == "stop":
        robot.call("stop")
        robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    else:
        state = robot.cursor.read()
        robot.write(state.command + RAMP, origin=state.step)
        robot.until(lambda: robot.cursor.read().swaps > 1, "the swap")
    robot.spin(0.3)
    assert not stall.exists(), "it stalled"
    state, steps = robot.cursor.read(), executed_steps(robot)
    assert len(played) == 2
    assert max(played.speeds_to_first_points()) <= 1.1 * MAX_SPEED
    assert steps == list(range(len(steps))), "what was decided again is told once"
    assert state.step >= 20 + 0.9 * 0.3 / PERIOD_S


def test_a_stall_while_the_driver_brakes_plays_no_row_that_it_was_not_sent(robot, stall):
    played = Played(robot)
    robot.start(**{**CHUNKS, "max_acceleration": [1.0]})  # braking takes 0.6 s
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(RAMP, rows=40)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the chunk's end")
    state = robot.cursor.read()
    assert state.last_step.any(), "it brakes"
    stall.write_text("decided 0.5")
    robot.write(state.command + RAMP, origin=state.step)
    robot.until(lambda: robot.cursor.read().swaps > 1, "the swap")
    robot.until(lambda: robot.cursor.read().step > state.step + 5, "motion")
    robot.call("stop")
    robot.spin(0.3)
    assert not stall.exists(), "it stalled"
    assert len(played) == 4, "the chunk, its end, the next chunk, the stop"
    assert max(played.speeds_to_first_points()) <= 1.1 * MAX_SPEED
    steps = executed_steps(robot)
    assert steps == list(range(len(steps)))


def test_a_swap_within_a_late_tick_shifts_no_row_in_time(robot, stall):
    played = moving(robot)
    for _ in range(8):
        stall.write_text("deciding 0.008")
        state, swaps = robot.cursor.read(), robot.cursor.read().swaps
        robot.write(state.command + RAMP, origin=state.step)
        robot.until(lambda: robot.cursor.read().swaps > swaps, "the swap")  # noqa: B023
        robot.spin(0.1)
    assert not stall.exists(), "it stalled"
    robot.until(lambda: len(played) >= 9, "the trajectories")
    # Points stay on one grid in time. What is left is the time from the look at the clock to the
    # message's stamp, which a busy machine makes longer.
    turns = np.exp(2j * np.pi * np.array(played.phases()))
    apart = np.abs(np.angle(turns / turns.mean())) / (2 * np.pi)
    assert np.median(apart) < 0.1 and 0.008 / PERIOD_S > 0.3, apart
    assert max(played.speeds_to_first_points()) <= 1.1 * MAX_SPEED


def test_a_tick_that_fails_is_named_and_the_arm_braked_to_rest_until_a_new_start(robot, stall):
    heard = moving_by_rows(robot)
    stall.write_text("failing 1")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.spin(0.5)
    # A driver that was told nothing in that tick stands when the next one comes, and stays.
    rows, state = np.array([m.data for m in heard]), robot.cursor.read()
    assert np.abs(np.diff(rows, axis=0)).max() <= MAX_SPEED * PERIOD_S + 1e-9
    np.testing.assert_allclose(rows[-1], state.command)
    assert not state.last_step.any()
    assert "ArithmeticError: seven is not eight" in robot.logs()
    said = "a tick failed (ArithmeticError: seven is not eight)"
    robot.until(lambda: said in robot.diagnostics["rtc_controller: motion"].message, "the reason")
    count = len(heard)
    robot.spin(0.3)
    assert len(heard) == count, "silent at rest"
    robot.begin()
    robot.write(robot.pose + RAMP)
    robot.until(lambda: len(heard) > count + 10, "motion")


def test_a_tick_that_can_t_even_brake_ends_the_process_with_1(robot, stall):
    moving_by_rows(robot)
    stall.write_text("failing 1000")
    robot.until(robot.processes.ended, "the end of the process")
    assert robot.processes.ended() == {"rtc_controller": 1}
    assert robot.logs().count("a tick failed") == 1


def test_a_driver_of_single_rows_stands_still_meanwhile_and_no_step_is_left_out(robot):
    heard = moving_by_rows(robot)
    pid = robot.processes.pid("rtc_controller")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda: robot.cursor.read().step >= 40, "motion after the stall")
    robot.call("stop")
    robot.spin(0.2)
    steps = np.diff([m.data for m in heard], axis=0)
    assert np.abs(steps).max() <= MAX_SPEED * PERIOD_S + 1e-9


def test_a_driver_of_rows_beside_one_of_chunks_catches_up_within_its_limits(robot):
    """As a gripper under a forward controller beside an arm under a trajectory controller."""
    heard = robot.listen(Float64MultiArray, "hand/commands")
    under_way(robot, {
        **CHUNKS,
        "command_groups": ["arm", "hand"],
        "group.arm.joints": JOINTS[:2],
        "group.hand.joints": JOINTS[2:],
        "group.hand.topic": "hand/commands",
        "group.hand.type": "float64_multi_array",
    })  # fmt: skip
    pid, before = robot.processes.pid("rtc_controller"), len(heard)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.25)
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda: robot.cursor.read().step >= 60, "motion after the stall")
    rows = np.array([m.data[0] for m in heard])
    steps = np.diff(rows)
    assert np.abs(steps).max() <= MAX_SPEED * PERIOD_S + 1e-9
    assert np.abs(steps[before + 1 :]).max() > 1.2 * SPEED * PERIOD_S, "it did catch up"
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the chunk's end")
    robot.until(lambda: heard[-1].data[0] == robot.cursor.read().command[2], "the same place")
