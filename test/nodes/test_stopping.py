"""However the motion of the real process ends: braked within limits; latched stop; dry run."""

import os
import re
import signal

import numpy as np
import pytest
from robot_double import JOINTS, PARAMETERS, PERIOD_S, STALE_S, executed_fields
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bringup import NodeToRun
from rtc_ros.core.cursor import Mode

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("udp")]

ACCELERATION = 10.0
BEND = ACCELERATION * PERIOD_S**2
"""The change of a step's size that this allows: 0.004, a fifth of the ramp's step."""

RAMP = np.arange(1, 61)[:, None] * np.array([0.012, 0.014, -0.014])
BRAKED = {
    "group.hand.topic": "arm/commands",  # one topic for all: steps of one tick stay together
    "command_groups": ["hand"],
    "group.hand.type": "float64_multi_array",
    "group.hand.joints": JOINTS,
    "max_acceleration": [ACCELERATION],
}


def moving(robot, rows=60, steps=8, **changes):
    """Start, and wait until the arm moves at the ramp's speed."""
    heard = robot.listen(Float64MultiArray, "arm/commands")
    robot.start(**{**BRAKED, **changes})
    robot.begin()
    robot.write(RAMP, rows=rows)
    robot.until(lambda: robot.cursor.read().step >= steps, "motion")
    return heard


def assert_braked(robot, heard):
    """Check that no command broke the limit of acceleration in time, and that the last ones rest.

    A driver that heard nothing for 1.5 periods stood; about that long it may be either.
    """
    gaps = np.diff(robot.stamps_s["arm/commands"], prepend=-np.inf) / PERIOD_S
    assert len(gaps) == len(heard)
    last, step, fastest = np.zeros(3), np.zeros(3), 0.0
    for gap, message in zip(gaps, heard, strict=True):
        before = [s for s, may in ((step, gap < 1.8), (np.zeros(3), gap > 1.2)) if may]
        step, last = np.array(message.data) - last, np.array(message.data)
        assert min(np.abs(step - b).max() for b in before) <= BEND + 1e-9, gap
        fastest = max(fastest, np.abs(step).max())
    assert fastest > 2 * BEND, "it did move"
    assert np.abs(step).max() <= BEND + 1e-9


@pytest.mark.parametrize("mode", ["joint", "path"])
def test_stop_brakes_says_so_and_then_sends_nothing(robot, mode):
    heard = moving(robot, limit_mode=mode)
    response = robot.call("stop")
    assert response.success and "braking to rest" in response.message
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.until_at_rest(heard)
    robot.spin(0.2)  # until what was executed is heard, too
    assert_braked(robot, heard)
    count, k = len(heard), robot.cursor.read().step
    stopping = [m for m in robot.executed if m.header.frame_id == "hold: stopped"]
    fields = [executed_fields(m) for m in stopping]
    assert 2 <= len(fields) <= 6
    assert {(f["rtc/step"], f["rtc/row"], f["rtc/mode"]) for f in fields} == {(k, -1.0, 0.0)}
    robot.spin(0.2)
    assert len(heard) == count
    robot.begin()  # from rest it may start again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_brakes_before_the_process_ends_with_0(robot, number):
    heard = moving(robot)
    os.kill(robot.processes.pid("rtc_controller"), number)
    assert robot.processes.stop("rtc_controller") == {"rtc_controller": 0}
    robot.spin(0.3)
    assert_braked(robot, heard)
    assert robot.cursor.read().mode is Mode.STOPPED
    assert [m.header.frame_id for m in robot.executed].count("hold: stopped") >= 2


def test_starvation_and_stale_joint_states_brake_and_motion_goes_on_from_there(robot):
    heard = moving(robot, 12, joint_state_timeout=STALE_S)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    robot.until(lambda: not robot.cursor.read().last_step.any(), "rest")
    robot.until_at_rest(heard)
    assert_braked(robot, heard)
    state = robot.cursor.read()
    assert state.step == 12
    np.testing.assert_allclose(state.command, heard[-1].data)
    robot.write(state.command + RAMP)
    robot.until(lambda: robot.cursor.read().step >= 20, "motion again")
    robot.publish_states = False
    robot.until(lambda: robot.cursor.read().mode is Mode.FAULT, "the fault")
    robot.until_at_rest(heard)
    assert_braked(robot, heard)
    robot.until(lambda: "s old (joint_state_timeout is" in robot.logs(), "it on the console")
    robot.publish_states = True
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the end of that chunk")
    before = robot.logs().count("the motion goes on at step")
    step = robot.cursor.read().step
    robot.write(np.repeat([robot.cursor.read().command], 200, 0))
    robot.until(lambda: robot.logs().count("the motion goes on at step") > before, "the word")
    said = re.findall(r"the motion goes on at step (\d+)", robot.logs())
    assert step < int(said[-1]) <= robot.cursor.read().step


def test_reset_while_moving_brakes_then_starts_from_the_measured_pose(robot):
    heard = moving(robot)
    before = robot.cursor.read().epoch
    response = robot.call("reset")
    assert response.success and "braked to rest, then started again" in response.message
    robot.until(lambda: robot.cursor.read().mode is Mode.WAITING, "the new run")
    robot.until(
        lambda: np.abs(np.subtract(heard[-1].data, heard[-2].data)).max() <= BEND + 1e-9,
        "the last command before it",
    )
    assert_braked(robot, heard)
    assert robot.cursor.read().epoch > before


def test_a_driver_that_takes_chunks_gets_the_way_to_rest_with_velocities(robot):
    heard = robot.listen(JointTrajectory, "arm/joint_trajectory")
    kind = {
        "group.hand.type": "joint_trajectory_chunk",
        "group.hand.topic": "arm/joint_trajectory",
    }
    moving(robot, **kind)
    robot.until(lambda: heard, "the chunk")
    first = np.array([p.positions for p in heard[0].points])
    speeds = np.array([p.velocities for p in heard[0].points])
    assert len(first) > len(RAMP)  # the chunk, and the way to rest
    np.testing.assert_allclose(speeds[10], [0.6, 0.7, -0.7], atol=1e-6)
    assert not speeds[-1].any() and np.abs(np.diff(first[-2:], axis=0)).max() <= BEND + 1e-9
    robot.call("stop")
    robot.until(lambda: len(heard) > 1, "the way to rest")
    robot.spin(0.3)
    (brake,) = heard[1:]
    positions = np.array([p.positions for p in brake.points])
    speeds = np.array([p.velocities for p in brake.points])
    assert len(positions) >= 3 and not speeds[-1].any()
    assert (np.diff(np.abs(speeds[:, 0])) <= 0).all()
    robot.until(
        lambda: np.allclose(positions[-1], robot.cursor.read().command, rtol=0, atol=1e-12),
        "the arm where it was sent",
    )


def test_a_latched_stop_outlives_the_process_and_only_clear_lifts_it(robot):
    moving(robot)
    assert robot.call("latch_stop").success
    robot.until(lambda: robot.cursor.read().mode is Mode.LATCHED, "the latched stop")
    for service in ("start", "reset"):
        response = robot.call(service)
        assert not response.success and "call ~/clear" in response.message
    assert robot.call("stop").message.endswith("the stop stays latched")
    assert robot.call("clear").message.startswith("cleared")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "a closed gate")
    assert "nothing was latched" in robot.call("clear").message
    robot.begin()
    assert robot.call("latch_stop").success
    robot.until(lambda: robot.cursor.read().mode is Mode.LATCHED, "the latched stop")
    os.kill(robot.processes.pid("rtc_controller"), signal.SIGKILL)
    robot.processes.stop("rtc_controller")
    robot.diagnostics.clear()
    # No service call from here on: DDS may still hand one to the dead process.
    robot.start(**BRAKED, start_when_ready=True)

    def told():
        status = robot.diagnostics.get("rtc_controller: motion")
        return status is not None and status.message.startswith("stopped and latched: call")

    robot.until(told, "the diagnostics")
    robot.spin(1.2)
    assert robot.cursor.read().mode is Mode.LATCHED
    said = "the stop that was latched before still is: call ~/clear, then ~/start"
    assert robot.logs().count(said) == 1, "start_when_ready is answered on the console"
    # One with other joints or another Δt can't read the cursor of the one before.
    os.kill(robot.processes.pid("rtc_controller"), signal.SIGKILL)
    robot.processes.stop("rtc_controller")
    robot.diagnostics.clear()
    robot.processes.start([NodeToRun("rtc_controller", parameters={
        **PARAMETERS, **BRAKED, "control_period": 0.05, "start_when_ready": True,
    })])  # fmt: skip
    robot.until(told, "the diagnostics")
    robot.spin(0.6)
    assert told()
    # Who clears it says that it is safe, and not that the arm shall move.
    client = robot.client("clear")

    def cleared():
        future = client.call_async(Trigger.Request())
        # DDS may have handed it to one of the dead processes, or lost the first answer.
        robot.spin(1.0)
        return future.done() and future.result().success

    before = robot.logs().count("cleared; the gate is closed: call ~/start")
    robot.until(cleared, "the answer to clear")
    assert robot.logs().count("cleared; the gate is closed: call ~/start") == before + 1
    robot.diagnostics.clear()
    robot.until(lambda: robot.diagnostics.get("rtc_controller: motion"), "the diagnostics")
    assert robot.diagnostics["rtc_controller: motion"].message.startswith("stopped: call")


def test_a_dry_run_does_all_but_command(robot):
    heard = moving(robot, dry_run=True)
    robot.until(lambda: "rtc_controller: motion" in robot.diagnostics, "diagnostics")
    assert robot.diagnostics["rtc_controller: motion"].message.startswith("dry run, nothing is")
    moved = [m.position[0] for m in robot.executed if m.header.frame_id == "execute"]
    assert len(moved) >= 5 and moved[-1] > moved[0]
    assert not heard and robot.node.count_publishers("arm/commands") == 0
    assert "dry run, nothing is sent to any driver" in robot.logs()
