"""Joint states and cameras that stop, freeze, jump, change or come twice."""

from __future__ import annotations

import time

import numpy as np
import pytest
from fault_system import (
    HORIZON,
    JOINTS,
    MARGIN_TICKS,
    SECOND,
    STALE_TICKS,
    STALL_TICKS,
    warned,
)
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

# Alone: a fault that another test makes isn't the one that is asked for.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


@pytest.mark.parametrize(
    ("joints", "named"), [(JOINTS, "the joint state of"), (["b"], "the joint state of b is")]
)
def test_joint_states_that_stop_hold_the_arm(system, figure, joints, named):
    begun = time.time_ns()
    system.states.silent_joints = set(joints)
    steps = system.until_holding(named, begun)
    assert steps <= STALE_TICKS + MARGIN_TICKS
    system.until_said("rtc_controller: motion", named, begun)
    system.states.silent_joints = set()
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after they are back")


def test_joint_states_that_repeat_one_stamp_are_as_good_as_none(system, figure):
    begun = time.time_ns()
    system.states.frozen_stamp = system.stamp()
    steps = system.until_holding("its messages repeat one stamp", begun)
    assert steps <= STALE_TICKS + MARGIN_TICKS
    system.until_said("rtc_controller: motion", "the driver hangs", begun)
    system.states.frozen_stamp = None
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the end")


@pytest.mark.parametrize("comes_back", [False, True])
def test_an_arm_that_was_moved_while_it_was_held_waits_for_a_new_start(
    system, figure, comes_back
):
    begun, arm, by = time.time_ns(), system.arm, 0.45
    with system.disturbance("emergency stop without joint states"):
        system.states.silent_joints = set(JOINTS)
        arm.torque_off()
        system.until_holding("the joint state of", begun)
        stood = arm.advance(time.time())[1]
        # Away from what it was told last: towards that it may be no farther than it may stand.
        away = stood + by if stood > arm.wanted(np.array([arm.now_s]))[0, 1] else stood - by
        arm.lead(np.array([np.nan, away, np.nan]), speed=3.0)
        system.until(lambda: abs(arm.advance(time.time())[1] - away) < 1e-6, "the hand")
        back = time.time_ns()
        system.states.silent_joints = set()
        assert system.until_holding("the arm was moved", back) == 0
        system.until_said("rtc_controller: motion", "b is ", back)
        if comes_back:
            arm.lead(np.array([np.nan, stood, np.nan]), speed=3.0)
            system.until(lambda: abs(arm.advance(time.time())[1] - stood) < 1e-6, "the hand")
        for driver in arm.drivers.values():
            driver.latches = False
        arm.release()
    time.sleep(0.5)
    assert not any(tick.executes for tick in system.watcher.since(back))
    system.until(lambda: system.call("start").success, "a new run")
    held = system.until_moving()
    assert held <= SECOND
    figure(f"0 steps executed; moves {held} ticks after ~/start, from the measured pose")


def test_joint_states_that_jump_are_not_shown_to_the_policy(system, figure):
    begun = time.time_ns()
    with system.disturbance("a joint jumps"):
        system.states.offset[0] = 3.0  # for less than the arm may not follow
        time.sleep(0.05)
        system.states.offset[0] = 0.0
        system.until_said("rtc_inference: inference", "the joint state of a jumped by", begun)
    assert warned(system.diagnostics["rtc_inference: inference"])
    held = system.until_moving()
    assert held <= SECOND
    figure(f"{sum(n for _, n in system.holds(begun))} ticks held; no inference starts for 0.5 s")


def test_joint_states_of_two_publishers_hold_the_arm(system, figure):
    begun = time.time_ns()

    def other():
        return JointState(name=["a", "b"], position=[0.1, 0.1])

    stranger = system.second(JointState, "joint_states", other, 50)
    try:
        steps = system.until_holding("comes from two publishers at once", begun)
        system.until_said("rtc_controller: motion", "two publishers at once", begun)
    finally:
        system.remove(stranger)
    held = system.until_moving()
    assert held <= SECOND + STALL_TICKS
    figure(f"holds {steps} steps after it came, moves {held} ticks after it left")


def test_a_second_publisher_with_the_same_stamps_holds_the_arm(system, figure, monkeypatch):
    """As every two under /clock: it was passed over as a repeat, or the driver was."""
    begun, told, state = time.time_ns(), [system.stamp()], system.states.state

    def noted():
        message = state()
        told[0] = message.header.stamp
        return message

    def zero():
        message = JointState(name=["a", "b"], position=[0.0, 0.0])
        message.header.stamp = told[0]
        return message

    monkeypatch.setattr(system.states, "state", noted)
    stranger = system.second(JointState, "joint_states", zero, 50)
    try:
        steps = system.until_holding("comes from two publishers at once", begun)
        system.until_said("rtc_controller: motion", "two publishers at once", begun)
    finally:
        system.remove(stranger)
    held = system.until_moving()
    assert held <= SECOND + STALL_TICKS
    figure(f"holds {steps} steps after it came, moves {held} ticks after it left")


def test_a_driver_that_restarts_is_gone_on_with(system, figure):
    begun = time.time_ns()
    system.restart_driver(away_s=1.6)
    system.until_said("rtc_controller: motion", "the joint state of", begun)
    # The driver missed the last commands: an arm that stands too far from them waits for a start.
    back = time.time_ns()
    system.until(
        lambda: system.executed_since(back) or system.call("start").success, "motion, or a start"
    )
    held = system.until_moving()
    assert held <= SECOND
    assert not any("two publishers" in reason for reason, _ in system.holds(begun))
    figure(f"moves {held} ticks after it is back")


def test_a_camera_that_stops_is_named_and_starves_the_arm(system, figure):
    begun = time.time_ns()
    system.camera_period_s = system._image_due = float("inf")
    steps = system.until_holding("starved", begun)
    assert steps <= STALE_TICKS + HORIZON + MARGIN_TICKS + STALL_TICKS
    system.until_said("rtc_inference: inference", "the last image of camera top", begun)
    system.camera_period_s, system._image_due = 0.05, 0.0
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after it is back")


def test_a_camera_that_repeats_one_stamp_is_as_good_as_silent(system, figure):
    begun = time.time_ns()
    system.frozen_image_stamp = system.stamp()
    steps = system.until_holding("starved", begun)
    assert steps <= STALE_TICKS + HORIZON + MARGIN_TICKS + STALL_TICKS
    system.until_said("rtc_inference: inference", "its messages repeat one stamp", begun)
    system.frozen_image_stamp = None
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the stamps go on")


def test_a_camera_that_slows_down_is_named_when_it_matters(system, figure):
    begun = time.time_ns()
    system.camera_period_s = 0.7
    system.until_said("rtc_inference: inference", "(camera_timeout is 0.3 s)", begun)
    system.camera_period_s, system._image_due = 0.05, 0.0
    held = system.until_moving()
    assert held <= SECOND
    figure(f"{sum(n for _, n in system.holds(begun))} ticks held at 1.4 images a second")


@pytest.mark.parametrize(
    ("size", "encoding", "said"),
    [
        ((24, 32), "rgb8", " to 32 × 24 rgb8"),
        ((48, 64), "bgr8", " to 64 × 48 bgr8"),
    ],
)
def test_a_camera_that_changes_its_images_is_named_and_used(system, figure, size, encoding, said):
    begun = time.time_ns()
    system.camera_size, system.camera_encoding = size, encoding
    system.until_said("rtc_inference: inference", said, begun)
    chunks = len(system.watcher.chunks)
    system.until(lambda: len(system.watcher.chunks) > chunks + 2, "chunks made of such images")
    system.camera_size, system.camera_encoding = (48, 64), "rgb8"
    assert not system.disturbed(begun)
    figure("not held: the image is converted and resized")


def test_two_cameras_on_one_topic_are_named_and_starve_the_arm(system, figure):
    begun = time.time_ns()
    stranger = system.second(Image, "camera/top", system.image, 20)
    try:
        system.until_said("rtc_inference: inference", "camera top come from two publishers", begun)
        system.until_holding("starved", begun)
    finally:
        system.remove(stranger)
    held = system.until_moving()
    assert held <= SECOND + STALL_TICKS
    figure(f"no chunk of mixed pictures; moves {held} ticks after the other left")


def test_rows_of_an_image_may_be_longer_than_the_picture(system, figure):
    """What the policy is shown is tested with the decoder; here, that nothing is held."""
    begun, image = time.time_ns(), system.image

    def padded():
        message = image()
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, -1)
        message.data = np.pad(rows, [(0, 0), (0, 64)]).tobytes()
        message.step += 64
        message.is_bigendian = 1
        return message

    system.image = padded
    chunks = len(system.watcher.chunks)
    system.until(lambda: len(system.watcher.chunks) > chunks + 3, "chunks made of such images")
    del system.image
    assert not system.disturbed(begun)
    figure("not held")


def test_images_that_cant_be_converted_are_named_and_starve_the_arm(system, figure):
    begun = time.time_ns()
    system.camera_encoding = "nonsense"
    steps = system.until_holding("starved", begun)
    system.until_said("rtc_inference: inference", "can't be converted to rgb8", begun)
    system.camera_encoding = "rgb8"
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the end")


def test_images_with_too_few_bytes_are_named_and_starve_the_arm(system, figure):
    begun = time.time_ns()

    def short():
        image = system.image()
        image.data = image.data[:10]
        return image

    system.camera_period_s = system._image_due = float("inf")
    stranger = system.second(Image, "camera/top", short, 20)
    try:
        system.until_holding("starved", begun)
        system.until_said("rtc_inference: inference", "can't be converted to rgb8", begun)
    finally:
        system.remove(stranger)
        system.camera_period_s, system._image_due = 0.05, 0.0
    held = system.until_moving()
    assert held <= SECOND
    figure(f"moves {held} ticks after the end")


def test_parameters_set_in_bursts_leave_the_motion_alone(system, figure):
    begun = time.time_ns()
    answers = []
    for i in range(15):
        burst = []
        for j in range(8):  # as many requests as a service's queue holds
            wrong = j == 3
            values = {"s_min": 1000 if wrong else 4 + (i + j) % 12, "beta": 1.0 + j, "task": "t"}
            burst.append((wrong, system.set_parameters("rtc_inference", values)))
        system.until(lambda burst=burst: all(f.done() for _, f in burst), "all answers")
        answers += burst
    for wrong, future in answers:
        result = future.result().result
        assert result.successful is not wrong, result.reason
    system.until_moving()
    assert not system.disturbed(begun)
    last = system.set_parameters("rtc_inference", {"s_min": 8, "beta": 5.0, "task": ""})
    system.until(last.done, "an answer")
    figure("120 changes in bursts of 8, 15 of them refused: no tick held")


def test_a_second_commander_is_named(system, figure):
    begun, console = time.time_ns(), system.folder / "rtc_controller.log"
    before = len(console.read_text())
    stranger = system.second(
        Float64MultiArray, "arm/commands", lambda: Float64MultiArray(data=[0.0, 0.0]), 20
    )
    try:
        system.until_said("rtc_controller: commands", "/stranger publishes on /arm/comm", begun)
        named_at = time.monotonic()
        system.until(lambda: time.monotonic() > named_at + 2.5, "two more reports", 10.0)
        lines = console.read_text()[before:].splitlines()
        told = [line for line in lines if "jumps between two wills" in line]
        assert len(told) == 1 and "/stranger publishes on /arm/commands too" in told[0]
    finally:
        system.remove(stranger)
    figure("named while it is there; the watcher saw ours stay within limits")
