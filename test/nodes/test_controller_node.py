"""rtc_controller as a real process: gate, execution, provenance, limits, faults, clean exits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from robot_double import HORIZON, JOINTS, PARAMETERS, PERIOD_S, STALE_S, executed_fields
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bringup import NodeToRun
from rtc_ros.core.cursor import Mode
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("udp")]

RAMP = np.arange(1, HORIZON + 1)[:, None] * np.array([0.01, 0.02, -0.01])
LONG = np.arange(1, 101)[:, None] * np.array([0.002, 0.004, -0.002])
"""For what must be written before the chunk ends: this process may have to wait for the CPU."""


def test_nothing_moves_until_start_then_each_row_goes_to_its_driver(robot):
    arm = robot.listen(Float64MultiArray, "arm/commands")
    hand = robot.listen(JointState, "hand/commands")
    robot.start()
    robot.until_it_has_listeners()
    robot.spin(0.3)
    assert not arm and not robot.executed
    assert robot.cursor.read().mode is Mode.STOPPED

    robot.begin()
    robot.until(lambda: robot.executed, "a waiting tick")
    assert robot.executed[-1].header.frame_id == "hold: waiting for the first chunk"
    assert not arm  # the pose is the driver's until there is a chunk
    robot.write(RAMP, delay=2, stride=1)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the chunk's end")
    robot.spin(0.3)
    assert len(arm) == len(hand) == HORIZON  # starved and at rest: nothing is sent

    rows = [list(m.data) for m in arm[:HORIZON]]
    np.testing.assert_allclose(rows, RAMP[:, [1, 0]])  # in the driver's order
    assert hand[0].name == ["c"]
    np.testing.assert_allclose([m.position[0] for m in hand[:HORIZON]], RAMP[:, 2])


def test_provenance_says_which_row_of_which_chunk_and_why(robot):
    robot.start()
    robot.begin()
    first = robot.write(LONG)
    robot.until(lambda: robot.cursor.read().step >= 5, "five steps")
    second = robot.write(LONG + 0.05, delay=3, stride=4, origin=4, guided=True)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    robot.until(lambda: robot.executed[-1].header.frame_id == "hold: starved", "the hold")

    moved = [m for m in robot.executed if m.header.frame_id == "execute"]
    steps = [executed_fields(m) for m in moved]
    assert [s["rtc/step"] for s in steps] == list(range(4 + len(LONG)))
    for message, step in zip(moved, steps, strict=True):
        assert step["rtc/row"] == step["rtc/step"] - step["rtc/origin_step"]
        chunk = first if step["rtc/chunk_seq"] == first.seq else second
        row = chunk.actions[int(step["rtc/row"])]
        np.testing.assert_allclose(message.velocity[:3], row)
        np.testing.assert_allclose(message.position[:3], row)
        assert step["rtc/chunk_epoch"] == chunk.epoch
    held = [m for m in robot.executed if m.header.frame_id == "hold: starved"]
    assert executed_fields(held[0])["rtc/row"] == -1

    seam = robot.swaps[-1]
    assert (seam["chunk_seq"], seam["previous_seq"]) == (second.seq, first.seq)
    assert seam["origin_step"] == 4 and seam["row"] == seam["step"] - 4 == seam["delay_observed"]
    assert seam["previous_row"] == seam["step"]
    assert (seam["delay_forecast"], seam["stride"], seam["guided"]) == (3, 4, 1)


def test_limits_hold_on_the_way_out_and_are_counted(robot):
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.pose[:] = [0.5, -0.5, 0.0]
    robot.start(soft_start=0.1)
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(np.tile([9.0, -9.0, 0.0], (HORIZON, 1)))
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "the chunk's end")
    robot.until(lambda: arm and np.allclose(arm[-1].data, [-1.0, 1.0]), "the last command")
    commands = np.array([[-0.5, 0.5], *(m.data for m in arm)])
    steps = np.abs(np.diff(commands, axis=0))
    assert steps.max() <= 5.0 * PERIOD_S + 1e-9
    assert steps[0].max() < 0.5 * 5.0 * PERIOD_S  # the first motion is soft
    limited = [executed_fields(m) for m in robot.executed if m.header.frame_id == "execute"]
    assert {(f["rtc/mode"], f["rtc/limited"]) for f in limited} == {(Mode.RUNNING, 2)}

    def counted():
        values = robot.diagnostics["rtc_controller: motion"].values
        return any(v.key == "steps limited" and v.value == str(HORIZON) for v in values)

    robot.until(counted, "the count of limited steps")


def test_stale_joint_states_hold_and_are_named_then_motion_goes_on(robot):
    robot.start(joint_state_timeout=STALE_S)
    robot.begin()
    robot.write(np.tile(RAMP, (3, 1))[:, :] * 0.1)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion")
    robot.publish_states = False
    robot.spin(STALE_S)  # until none is on its way that could lift the fault
    robot.until(lambda: robot.cursor.read().mode is Mode.FAULT, "the fault")
    step = robot.cursor.read().step
    robot.spin(0.2)
    assert robot.cursor.read().step == step
    assert "joint_state_timeout is 0.3 s" in robot.executed[-1].header.frame_id
    robot.publish_states = True
    robot.until(lambda: robot.cursor.read().step > step + 3, "motion again")
    # However short it was, the log names it, and so does /diagnostics from then on.
    robot.until(lambda: "joint_state_timeout is 0.3 s" in robot.logs(), "a line in the log")

    def last_fault():
        status = robot.diagnostics.get("rtc_controller: motion")
        return {v.key: v.value for v in status.values}.get("last fault", "") if status else ""

    robot.until(lambda: "joint_state_timeout" in last_fault(), "the last fault in /diagnostics")


def test_start_is_refused_without_joint_states_and_says_which_are_missing(robot):
    robot.publish_states = False
    robot.start()
    response = robot.call("start")
    assert not response.success
    assert "no joint state yet for a, b, c on joint_states" in response.message


def test_stop_holds_and_chunks_from_before_a_restart_are_refused(robot):
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.start()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion")
    before = robot.cursor.read()
    assert robot.call("stop").success
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the stop")
    robot.spin(0.2)
    count, state = len(arm), robot.cursor.read()
    robot.spin(0.3)
    assert len(arm) == count  # nothing is sent while stopped

    robot.write(RAMP + 0.5, state.step, step_epoch=before.epoch)  # was being made at the stop
    assert robot.call("start").success
    robot.until(lambda: robot.cursor.read().epoch > before.epoch, "a new run")
    robot.spin(0.3)
    state = robot.cursor.read()
    assert (state.step, state.mode) == (0, Mode.WAITING)
    assert len(arm) == count
    assert not robot.call("start").success  # already started
    assert robot.call("reset").success
    robot.until(lambda: robot.cursor.read().epoch > state.epoch, "a new run")


@pytest.mark.parametrize("chunked", [False, True])
def test_joint_trajectory_by_point_and_by_chunk(robot, chunked):
    kind = "joint_trajectory_chunk" if chunked else "joint_trajectory"
    heard = robot.listen(JointTrajectory, "arm/joint_trajectory")
    robot.start(
        **{
            "command_groups": ["arm"],
            "group.arm.topic": "arm/joint_trajectory",
            "group.arm.type": kind,
            "group.arm.joints": JOINTS,
            "group.arm.time_from_start": 0.03,
        }
    )
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(LONG)
    robot.until(lambda: robot.cursor.read().step >= 4, "motion")
    robot.write(LONG + 0.02, origin=2)
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    robot.spin(0.3)
    first = heard[0]
    assert first.joint_names == JOINTS
    assert (first.header.stamp.sec, first.header.stamp.nanosec) == (0, 0)
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in first.points]
    if chunked:
        assert 0.02 - 1e-9 <= times[0] <= 0.03 + 1e-9  # sooner by as much as the tick was late
        assert list(first.points[-1].velocities) == [0.0] * 3
        np.testing.assert_allclose([p.positions for p in first.points], LONG)
        np.testing.assert_allclose(np.diff(times), PERIOD_S)
        assert len(heard) == 3  # one at each swap, one where it ran out
        np.testing.assert_allclose(heard[2].points[0].positions, LONG[-1] + 0.02)
    else:
        assert times == [pytest.approx(0.03)] and not first.points[0].velocities
        assert {len(m.points) for m in heard} == {1}
        np.testing.assert_allclose([m.points[0].positions for m in heard[:3]], LONG[:3])


@pytest.mark.parametrize("how", ["stop", "SIGTERM"])
def test_a_driver_that_has_the_rest_of_a_chunk_is_told_to_hold(robot, how):
    heard = robot.listen(JointTrajectory, "arm/joint_trajectory")
    robot.start(
        **{
            "command_groups": ["arm"],
            "group.arm.topic": "arm/joint_trajectory",
            "group.arm.type": "joint_trajectory_chunk",
            "group.arm.joints": JOINTS,
        }
    )
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(np.repeat(RAMP, 5, axis=0))
    robot.until(lambda: robot.cursor.read().step >= 10, "motion")
    robot.until(lambda: heard, "the chunk")
    assert len(heard) == 1 and len(heard[0].points) == 5 * len(RAMP)
    if how == "stop":
        robot.call("stop")
    else:
        os.kill(robot.processes.pid("rtc_controller"), signal.SIGTERM)
        assert robot.processes.stop("rtc_controller") == {"rtc_controller": 0}

    # On a busy machine late joint states may have held it before, and a chunk gone on after that.
    def told_to_hold():
        return robot.cursor.read().mode is Mode.STOPPED and len(heard[-1].points) == 1

    robot.until(told_to_hold, "the hold")
    robot.spin(0.2)
    np.testing.assert_allclose(heard[-1].points[0].positions, robot.cursor.read().command)
    assert list(heard[-1].points[0].velocities) == [0.0] * 3
    count = len(heard)
    robot.spin(0.2)
    assert len(heard) == count


def test_the_process_has_neither_torch_nor_lerobot(robot):
    robot.start()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion")
    maps = Path(f"/proc/{robot.processes.pid('rtc_controller')}/maps").read_text()
    assert "_rclpy" in maps  # the files of a loaded extension do show here
    for library in ("torch", "lerobot", "transformers", "cv2"):
        assert f"/{library}/" not in maps


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (HandoffSpec(("a", "c", "b"), PERIOD_S, 5), "the same joints come in another order"),
        (HandoffSpec(tuple(JOINTS), 0.05, 5), "the control period Δt is 0.05 s there"),
        (HandoffSpec(("a", "b"), PERIOD_S, 5), "A is 2 there and 3 here"),
    ],
)
def test_a_ring_that_does_not_fit_is_refused_by_name(robot, spec, sentence):
    robot.start(makes_chunks=False)
    with ChunkRing.create("test.ring", spec):
        robot.until(lambda: sentence in robot.call("start").message, "the refusal")

        def told():
            status = robot.diagnostics.get("rtc_controller: handoff")
            return status is not None and sentence in status.message

        robot.until(told, sentence)
    assert robot.cursor.read().mode is Mode.STOPPED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0(robot, number):
    robot.start()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion")
    pid = robot.processes.pid("rtc_controller")
    os.kill(pid, number)
    code = robot.processes.stop("rtc_controller")["rtc_controller"]
    assert code == 0, robot.logs()
    assert robot.cursor.read().mode is Mode.STOPPED  # said so to the inference node
    assert "Traceback" not in robot.logs()


def test_a_killed_controller_comes_back_with_a_new_run(robot):
    robot.start()
    robot.begin()
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion")
    epoch = robot.cursor.read().epoch
    os.kill(robot.processes.pid("rtc_controller"), signal.SIGKILL)
    robot.processes.stop("rtc_controller")
    # By parameter: DDS may still hand a service call to the dead process.
    robot.start(start_when_ready=True)
    robot.until(lambda: robot.cursor.read().mode is Mode.WAITING, "a started controller")
    robot.spin(0.3)
    state = robot.cursor.read()
    assert state.epoch > epoch and state.mode is Mode.WAITING  # the old chunk is not executed
    robot.write(RAMP)
    robot.until(lambda: robot.cursor.read().step >= 3, "motion of the new run")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"joints": [""]}, "joints must be set"),
        (
            {"max_velocity": [float("nan")], "robot_description_timeout": 0.1},
            "joint a has no velocity limit: parameter max_velocity must be set, or "
            "joint_limits_file or the robot description must have it (nothing came on "
            "robot_description within 0.1 s)",
        ),
        ({"max_velocity": [1.0, 2.0]}, "max_velocity has 2 values for 3 joints"),
        ({"position_lower": [2.0]}, "the lower limit of a, 2, is not below its upper limit 1"),
        ({"group.arm.joints": ["a"]}, "no command group has b"),
        ({"group.hand.joints": ["c", "a"]}, "more than one command group has a"),
        ({"group.hand.joints": ["z"]}, "names z, not among"),
        ({"group.arm.type": "magic"}, "group.arm.type is 'magic'"),
        ({"control_period": -1.0}, "control_period"),
        ({"control_period": "fast"}, "control_period"),
    ],
)
def test_a_wrong_configuration_is_refused_with_a_sentence(
    tmp_path, monkeypatch, changes, sentence
):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    node = NodeToRun("rtc_controller", parameters={**PARAMETERS, **changes})
    ended = subprocess.run(
        [sys.executable, "-m", node.module, *node.ros_arguments()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_controller_is_refused(robot):
    robot.start()
    node = NodeToRun("rtc_controller", parameters=PARAMETERS)
    ended = subprocess.run(
        [sys.executable, "-m", node.module, *node.ros_arguments()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert str(robot.processes.pid("rtc_controller")) in ended.stderr


def test_an_arm_that_is_moved_after_start_begins_where_it_then_stands(robot):
    heard = robot.listen(JointState, "hand/commands")
    robot.listen(Float64MultiArray, "arm/commands")
    robot.start()
    robot.until_it_has_listeners()
    robot.begin()
    robot.pose = np.array([0.2, -0.1, 0.6])  # by hand, while the policy still loads
    robot.until(lambda: robot.cursor.read().command[2] == 0.6, "the new pose")
    robot.write(np.full((HORIZON, 3), -1.0))
    robot.until(lambda: len(heard) > 2, "commands")
    assert heard[0].position[0] == pytest.approx(0.6 - 5.0 * PERIOD_S)
