"""Arms that would have been thrown: each of these was seen on a real controller before."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from disturbances import Life
from farm import Farm, Order
from fault_system import CONTROLLER, JOINTS, TRANSPORT
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

# Alone: arms move at their limits and are judged by when each point was sent.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]

ROWS = ("float64_multi_array", "joint_trajectory", "joint_state", "joint_group_command")
ACCELERATION = 8.0
ONE_GROUP = {
    **CONTROLLER,
    "max_velocity": [1.0],
    "max_acceleration": [ACCELERATION],
    "command_groups": ["arm"],
    "group.arm.topic": "arm/commands",
    "group.arm.joints": JOINTS,
}


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("farm")
    patch.setenv("RTC_ROS_SHM_DIR", str(folder))
    patch.setenv(*TRANSPORT)
    made = Farm(folder)
    yield made
    made.close()
    patch.undo()


@pytest.fixture
def live(farm, tmp_path, request):
    """Return what starts an arm with one driver of a kind, and a writer that moves it."""
    lives = []

    def start(kind, *, moving=True, amplitude=0.6, period=200.0, **changes):
        name = f"n{abs(hash(request.node.name)) % 10**8}"
        parameters = {**ONE_GROUP, "group.arm.type": kind, **changes}
        order = Order(name, parameters, "", amplitude, period)
        made = Life(order, farm, tmp_path / name, random.Random(0), lag_s=0.02)
        lives.append(made)
        if moving:
            made.begin()
            time.sleep(1.5)
        else:
            farm.start("rtc_controller", order)
            farm.start("writer", order)
            made.until(lambda: made.call("clear") is not None, "the controller's services")
        return made

    yield start
    for made in lives:
        made.end()


def checked(life):
    """Let the watcher look at everything; return what it found."""
    life.system.settle()
    return life.invariants.problems + life.system.watcher.problems


@pytest.mark.parametrize("unseen", [True, False], ids=["joint states stop", "joint states go on"])
@pytest.mark.parametrize("kind", ROWS)
def test_an_arm_that_was_let_go_and_moved_by_hand_stays_there_when_it_is_released(
    live, kind, unseen
):
    life = live(kind)
    arm = life.arm
    arm.drivers["arm"].latches = False
    with life.system.disturbance("emergency stop, a hand, release"):
        if unseen:
            life.states.silent_joints = set(JOINTS)
        arm.torque_off()
        time.sleep(0.6)
        stood = arm.pose
        arm.lead(np.where(stood > 0, stood - 0.9, stood + 0.9), speed=3.0)
        time.sleep(0.6)
        life.states.silent_joints = set()
        time.sleep(0.3)
        left, before = arm.pose, life.system.watcher.commands
        arm.release()
    time.sleep(0.7)
    problems = checked(life)
    thrown = np.abs(arm.pose - left).max()
    assert thrown < 0.02, f"thrown by {thrown:.2f}"
    assert not problems, problems[:3]
    assert life.system.watcher.commands == before, "messages after the guard"
    life.until(lambda: life.call("start").success, "a new run")
    life.until_moving()
    time.sleep(0.5)
    assert not checked(life), "softly, from the measured pose"


@pytest.mark.parametrize("latches", [True, False])
def test_an_arm_that_is_let_go_for_long_is_not_thrown_by_commands_that_ran_away(live, latches):
    """The commonest emergency stop: torque off, joint states go on, the policy too."""
    life = live("float64_multi_array")
    life.arm.drivers["arm"].latches = latches
    with life.system.disturbance("emergency stop, joint states go on"):
        life.arm.torque_off()
        time.sleep(3.0)
        left = life.arm.pose
        told = life.arm.drivers["arm"].target
        life.arm.release()
    time.sleep(0.5)
    problems = checked(life)
    assert not problems, problems[:3]
    reach = np.abs(told - left).max() if latches else 0.0
    brakes = 1.0 / (2 * ACCELERATION) + 0.06
    assert np.abs(life.arm.pose - left).max() <= max(reach, 1e-3) + 1e-3
    assert reach < 0.3 + brakes, "not farther than the tolerance and the way to rest"


@pytest.mark.parametrize("kind", ROWS)
def test_after_a_stall_of_the_process_motion_begins_from_rest(live, kind):
    life = live(kind, joint_state_timeout=5.0)
    with life.system.disturbance("the controller stands still"):
        life.stall("rtc_controller", 0.5)
    life.until_moving()
    time.sleep(0.5)
    problems = checked(life)
    assert not problems, problems[:3]
    assert life.invariants.worst["b: acceleration"][0] <= 1.0


@pytest.mark.parametrize("jerk", [[float("inf")], [200.0]], ids=["no jerk limit", "jerk limit"])
@pytest.mark.parametrize("wave", [(0.3, 100.0), (0.8, 120.0)], ids=["within", "beyond the limits"])
def test_what_a_trajectory_controller_makes_of_a_chunk_keeps_the_limits(live, figure, wave, jerk):
    life = live("joint_trajectory_chunk", amplitude=wave[0], period=wave[1], max_jerk=jerk)
    time.sleep(3.0)
    problems = checked(life)
    worst = {name: value for name, (value, _) in life.invariants.worst.items()}
    assert not problems, problems[:3]
    assert worst["b: acceleration between a chunk's points"] <= 1.0
    assert worst["b: speed between a chunk's points"] <= 1.0
    figure(", ".join(f"{name} {value:.3f}" for name, value in worst.items() if "chunk" in name))


def test_start_is_refused_while_another_node_commands_the_arm(live):
    life = live("float64_multi_array", moving=False, start_when_ready=False)
    system = life.system
    stranger = system.second(
        Float64MultiArray, "arm/commands", lambda: Float64MultiArray(data=[0.0] * 3), 20
    )
    try:
        named = f"/{life.order.namespace}/stranger"
        life.until(lambda: named in life.call("start").message, "the refusal that names it", 10.0)
        answer = life.call("start")
        assert not answer.success
        assert named in answer.message and "arm/commands" in answer.message
    finally:
        system.remove(stranger)
    life.until(lambda: life.call("start").success, "the start once it is gone", 10.0)
    assert not checked(life)


def test_joint_states_of_two_publishers_with_equal_stamps_start_nothing(live):
    """As under /clock, where whatever is published within one step has the same stamp."""
    life = live("float64_multi_array", moving=False, start_when_ready=False)
    states = life.states
    life.arm.pose = life.arm.rest = np.array([0.8, 0.8, 0.8])
    stranger = life.system.second(String, "unused", String, 1)
    other = stranger.create_publisher(JointState, "joint_states", 10)

    def forerun(ours):
        other.publish(JointState(header=ours.header, name=JOINTS, position=[0.0] * 3))

    states.forerunner = forerun
    try:
        time.sleep(1.0)
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            answer = life.call("start")
            assert not answer.success, "started from one of two poses"
            assert "two publishers" in answer.message
            time.sleep(0.02)
    finally:
        states.forerunner = None
        life.system.remove(stranger)
    assert life.arm.drivers["arm"].target is None, "nothing was sent"
    assert np.abs(life.arm.pose - 0.8).max() < 1e-6
