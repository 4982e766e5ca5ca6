"""Names that both arms share: prefixes of joint states, names in commands, and what is refused."""

import time

import pytest
import rclpy
from rclpy.node import Node
from robot_double import PARAMETERS
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from rtc_ros.controller.command_types import message_class, row_maker
from rtc_ros.controller.group_parameters import bare_names
from rtc_ros.ros.joint_input import JointInput, prefixed
from rtc_ros.ros.parameters import ConfigurationError

pytestmark = pytest.mark.ros


def test_joints_of_the_same_name_are_told_apart_by_their_topics_prefix(ros):
    node, drivers = Node("listener"), Node("drivers")
    joints = JointInput(
        node, ["l/states", "r/states"], ["r_a", "l_a", "l_b"], prefixes=["l_", "r_"]
    )
    out = {side: drivers.create_publisher(JointState, f"{side}/states", 10) for side in "lr"}
    for _ in range(500):
        out["l"].publish(JointState(name=["a", "b", "r_a"], position=[1.0, 2.0, 9.0]))
        out["r"].publish(JointState(name=["b", "a"], position=[3.0, 4.0]))
        rclpy.spin_once(node, timeout_sec=0.02)
        positions, problem = joints.read(10.0)
        if not problem:
            break
    assert positions.tolist() == [4.0, 1.0, 2.0] and not problem
    for each in (node, drivers):
        each.destroy_node()


def test_a_prefix_for_each_topic_or_none():
    assert prefixed(["a", "b"], []) == [("a", ""), ("b", "")]
    with pytest.raises(ConfigurationError, match="has 1 values for 2 joint_state_topics"):
        prefixed(["a", "b"], ["left_"])


def test_names_that_lack_the_prefix_are_named():
    assert bare_names(["left_a", "left_b"], "left_", "p") == ["a", "b"]
    with pytest.raises(ConfigurationError, match="'left_', and right_a doesn't begin with it"):
        bare_names(["left_b", "right_a"], "left_", "p")


def test_names_in_messages_are_the_drivers():
    import numpy as np
    from builtin_interfaces.msg import Time

    for kind in ("joint_state", "joint_trajectory"):
        make = row_maker(kind, message_class(kind, "p"), ["a", "b"], "arm", 0.03)
        made = make(np.array([1.0, 2.0]), Time())
        assert list(getattr(made, "name", None) or made.joint_names) == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"group.hand.type": "joint_group_command"},
            "needs the ROS package interbotix_xs_msgs (No module named 'interbotix_xs_msgs')",
        ),
        (
            {"group.arm.type": "joint_single_command"},
            "is for one joint, and group.arm.joints has 2",
        ),
        ({"group.arm.joint_prefix": "left_"}, "'left_', and b, a doesn't begin with it"),
        ({"joint_state_prefixes": ["l_", "r_"]}, "has 2 values for 1 joint_state_topics"),
    ],
)
def test_a_controller_that_can_not_begin_says_why(robot, changes, sentence):
    from rtc_ros.bringup import NodeToRun

    node = NodeToRun("rtc_controller", parameters={**PARAMETERS, **changes})
    robot.processes.start([node])
    deadline = time.monotonic() + 60
    while not robot.processes.ended():
        assert time.monotonic() < deadline, robot.logs()
        robot.spin(0.05)
    assert robot.processes.ended() == {"rtc_controller": 2}
    assert sentence in robot.logs() and "Traceback" not in robot.logs()
    robot.processes.stop()


def test_groups_that_share_a_topic_are_no_second_commander(robot):
    """As the arm's and the gripper's single joints of an Interbotix arm do."""
    robot.start(**{"group.hand.topic": "arm/commands", "group.hand.type": "float64_multi_array"})
    robot.listen(Float64MultiArray, "arm/commands")
    robot.until_it_has_listeners()
    other = robot.node.create_publisher(Float64MultiArray, "arm/commands", 10)

    def said():
        return robot.diagnostics["rtc_controller: commands"].message

    robot.until(lambda: said().startswith("/robot_double publishes on /arm/commands too"), "it")
    robot.node.destroy_publisher(other)
    robot.until_it_has_listeners()
