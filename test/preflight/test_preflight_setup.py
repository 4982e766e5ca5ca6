"""What preflight says where the nodes couldn't start, never meet, or hear the wrong ones."""

from __future__ import annotations

import pytest
from preflight_robot import JOINTS, SIDES
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.preflight.findings import Level
from rtc_ros.tools import preflight

pytestmark = pytest.mark.ros

INFERENCE, CONTROLLER = "/**/rtc_inference", "/**/rtc_controller"
LAST = JOINTS[-1]


def of(robot, level, subject):
    """Return the sentences of that level on that subject."""
    robot.up()
    return [f.sentence for f in robot.findings() if f.level is level and subject in f.subject]


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        (CONTROLLER, {"group.right.joints": SIDES["right"][:-1]}, f"no command group has {LAST}"),
        (
            CONTROLLER,
            {"group.right.joints": [*SIDES["right"], JOINTS[0]]},
            f"more than one command group has {JOINTS[0]}",
        ),
        (CONTROLLER, {"group.left.joints": ["elbow"]}, "group.left.joints names elbow, not among"),
        (CONTROLLER, {"group.left.type": "joint_single_command"}, "which is for one joint"),
        (CONTROLLER, {"group.left.joint_prefix": "l_"}, "doesn't begin with it"),
        (CONTROLLER, {"resume_tolerance": [0.1, 0.2]}, "has 2 values for 14 joints"),
        (CONTROLLER, {"command_groups": ["left", "left", "right"]}, "names left more than once"),
        (CONTROLLER, {"handoff_name": "mine"}, r"they would never meet; set it under /**"),
        (INFERENCE, {"control_period": 0.04}, "control_period is 0.04 for rtc_inference and 0.0"),
        (INFERENCE, {"joints": JOINTS[::-1]}, "they would never meet"),
    ],
)
def test_parameters_that_dont_fit_each_other(robot, capsys, section, values, sentence):
    robot.change(section, **values)
    assert preflight.main([robot.parameter_file()]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_recorder_is_no_driver(robot):
    robot.deaf = {"right"}
    robot.node("rtc_recorder").create_subscription(
        Float64MultiArray, "right_arm/commands", lambda _: None, 10
    )
    (said,) = of(robot, Level.BAD, "/right_arm/commands")
    assert "nobody listens" in said


def test_a_listener_that_does_not_tell_its_parameters_is_doubted(robot):
    robot.deaf = {"right"}
    silent = robot.node("right_controller", services=False)
    silent.create_subscription(Float64MultiArray, "right_arm/commands", lambda _: None, 10)
    (said,) = of(robot, Level.DOUBT, "listener on /right_arm/commands")
    assert "/right_controller doesn't tell its parameters" in said


def test_a_trajectory_controller_of_which_that_is_not_known(robot):
    robot.listener_type = JointTrajectory
    for side, names in SIDES.items():
        robot.change(CONTROLLER, **{f"group.{side}.type": "joint_trajectory_chunk"})
        robot.listener_parameters[side] = {"joints": names}
    assert len(said := of(robot, Level.DOUBT, "listener on")) == 2
    assert all("has joints and no interpolate_from_desired_state" in s for s in said)


def test_an_input_that_is_made_reliable_beside_a_best_effort_driver(robot):
    name = "qos_overrides./camera/top/image_raw.subscription.reliability"
    robot.change(INFERENCE, **{name: "reliable"})
    robot.camera_qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
    assert of(robot, Level.BAD, "QoS of /camera/top/image_raw")


def test_an_arm_that_brakes_more_slowly_than_a_process_may_end(robot):
    robot.change(CONTROLLER, max_velocity=[2.0], max_acceleration=[0.5])
    (said,) = of(robot, Level.DOUBT, "braking")
    assert "braked within 4.0 s" in said and "gives up after 3 s" in said


def test_commands_that_are_made_best_effort_beside_a_reliable_driver(robot):
    name = "qos_overrides./left_arm/commands.publisher.reliability"
    robot.change(CONTROLLER, **{name: "best_effort"})
    (said,) = of(robot, Level.BAD, "commands on /left_arm")
    assert "will never hear us" in said
