"""What must be so before the arm moves: a pose that can be believed, a driver that listens."""

import time

import numpy as np
import pytest
from rclpy.node import Node
from robot_double import JOINTS, PERIOD_S
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from rtc_ros.core.cursor import Mode

pytestmark = pytest.mark.ros


def told(robot):
    """Return the last fault in /diagnostics."""
    values = robot.diagnostics["rtc_controller: motion"].values
    return next((v.value for v in values if v.key == "last fault"), "")


@pytest.fixture
def another_node():
    """Return what makes further nodes; they are gone after the test."""
    made = []

    def make(name):
        made.append(Node(name))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


def test_a_joint_state_that_jumped_is_not_where_the_first_command_begins(robot):
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.start(max_velocity=[1.0], soft_start=0.0, joint_state_timeout=2.0)
    robot.until_it_has_listeners()
    robot.begin()
    robot.pose[:] = [3.0, -2.0, 1.0]  # a bad message of an encoder, and all that follow, but
    robot.until(lambda: robot.cursor.read().mode is Mode.FAULT, "the fault")
    robot.pose[:] = 0.0  # it was none
    robot.until(lambda: "jumped by" in told(robot), "why")
    robot.write(np.full((50, len(JOINTS)), 0.5))
    robot.until(lambda: robot.cursor.read().step > 10, "motion")
    robot.until(lambda: len(arm) > 5, "commands")
    assert np.abs(arm[0].data).max() <= 1.0 * PERIOD_S + 1e-9, "one step from the real pose"
    assert np.abs(np.diff([m.data for m in arm], axis=0)).max() <= 1.0 * PERIOD_S + 1e-9


def test_one_bad_message_right_before_the_first_chunk_moves_nothing(robot):
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.start(max_velocity=[1.0], soft_start=0.0, joint_state_timeout=2.0)
    robot.until_it_has_listeners()
    robot.begin()
    bad = robot.node.create_publisher(JointState, "joint_states", 10)
    robot.until(lambda: bad.get_subscription_count() > 0, "its listener")
    robot.spin(0.2)
    robot.publish_states = False
    bad.publish(JointState(name=["c", "b", "a"], position=[1.0, -2.0, 3.0]))
    robot.write(np.full((50, len(JOINTS)), 0.5))
    robot.spin(0.3)
    robot.publish_states = True
    robot.until(lambda: robot.cursor.read().step > 10, "motion")
    robot.until(lambda: len(arm) > 5, "commands")
    assert np.abs(arm[0].data).max() <= 1.0 * PERIOD_S + 1e-9, "one step from the real pose"


def test_the_gate_stays_closed_while_no_driver_listens(robot, another_node):
    robot.deaf.add("arm/commands")
    robot.start()
    another_node("rtc_recorder").create_subscription(
        Float64MultiArray, "arm/commands", lambda _: None, 10
    )

    def refusal():
        response = robot.call("start")
        robot.call("stop")  # where the listeners of the test before weren't forgotten yet
        return "" if response.success else response.message

    robot.until(lambda: "nobody listens on /arm/commands" in refusal(), "the refusal")
    robot.spin(0.3)
    said = refusal()
    assert "nobody listens on /arm/commands: start and activate" in said, "a recorder is no driver"
    another_node("driver").create_subscription(
        Float64MultiArray, "arm/commands", lambda _: None, 10
    )
    robot.begin()


def test_a_dry_run_needs_no_driver(robot):
    robot.deaf.add("arm/commands")
    robot.start(dry_run=True)
    answers = []

    def started():
        answers.append(robot.call("start"))
        return answers[-1].success

    robot.until(started, "a start")
    said = [answer.message for answer in (*answers, robot.call("stop"))]
    assert all(s.startswith("dry run: nothing is sent to any driver; ") for s in said), said
    assert "dry run, nothing is sent to any driver" in robot.logs(), "on the console as well"


def test_joints_that_are_named_twice_are_refused(robot):
    with pytest.raises(AssertionError, match="joints names a more than once"):
        robot.start(joints=["a", "b", "a"])


def test_commands_dont_run_away_from_an_arm_that_does_not_follow(robot):
    """As one whose trajectory controller was deactivated while its joint states go on."""
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.follows = False
    robot.start(
        following_tolerance=[0.2, 0.2, float("inf")], max_velocity=[1.0], max_acceleration=[10.0],
        position_lower=[-5.0], position_upper=[5.0],
    )  # fmt: skip
    robot.until_it_has_listeners()
    robot.begin()
    ramp = np.arange(1, 201)[:, None] * 0.01 * np.ones(len(JOINTS))
    robot.write(ramp)
    robot.until(lambda: "doesn't follow" in told(robot), "the sentence")
    held, count = robot.cursor.read(), len(arm)
    assert held.mode is Mode.STOPPED and not held.last_step.any(), "the gate is closed"
    # Held at once: what it still goes on is the way to rest.
    assert 0.2 < held.command[0] < 0.2 + 0.5**2 / (2 * 10.0) + 0.05
    robot.pose = np.array(held.command)  # it is there now; whoever freed it calls ~/start
    robot.spin(0.5)
    assert (robot.cursor.read().step, len(arm)) == (held.step, count), "nothing is sent"
    robot.follows = True
    robot.begin()
    robot.write(robot.pose + ramp)
    robot.until(lambda: robot.cursor.read().step > 3, "motion")
    assert np.abs(np.diff([m.data for m in arm], axis=0)).max() <= 1.0 * PERIOD_S + 1e-9


def test_start_is_refused_while_somebody_else_commands(robot, another_node):
    robot.start()
    robot.until_it_has_listeners()
    other = another_node("teleop")
    other.create_publisher(Float64MultiArray, "arm/commands", 10)

    def refusal():
        response = robot.call("start")
        robot.call("stop")
        return "" if response.success else response.message

    robot.until(lambda: "/teleop publishes on /arm/commands too: stop it first" in refusal(), "it")
    robot.spin(0.3)
    assert robot.cursor.read().mode is Mode.STOPPED


def test_start_is_refused_while_the_arm_still_moves(robot):
    """As after a controller was killed while its driver plays what it was sent."""
    robot.follows = False
    robot.start(max_velocity=[1.0], soft_start=0.0)
    robot.until_it_has_listeners()
    begun = time.monotonic()
    sway = robot.node.create_timer(
        0.005,
        lambda: robot.pose.__setitem__(0, 0.3 * np.sin(3.0 * (time.monotonic() - begun))),
    )
    robot.spin(0.3)
    answers = [robot.call("start") for _ in range(3)]
    assert not any(a.success for a in answers)
    assert any("a still moves: " in a.message for a in answers)
    robot.node.destroy_timer(sway)
    robot.begin()
