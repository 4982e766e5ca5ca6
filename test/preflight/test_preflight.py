"""rtc_ros preflight against a running robot: each misconfiguration that is planted is found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from preflight_robot import JOINTS, SIDES
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from safetensors.numpy import load_file, save_file
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.preflight.findings import Finding, Level, exit_code
from rtc_ros.tools import preflight

# Alone: what it finds of a robot in its few seconds, it may not find of one that others hold up.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]

INFERENCE, CONTROLLER = "/**/rtc_inference", "/**/rtc_controller"
TRIES = 5
"""For what only a robot without pauses has: its drivers are a thread of this process."""


def found(findings: list[Finding], level: Level, subject: str, sentence: str) -> Finding:
    """Return the finding of that level whose subject and sentence match; it has a fix."""
    fitting = [
        f
        for f in findings
        if f.level is level and re.search(subject, f.subject) and re.search(sentence, f.sentence)
    ]
    assert fitting, "\n".join(f"{f.level.name} {f.subject}: {f.sentence}" for f in findings)
    assert level is Level.GOOD or fitting[0].fix
    return fitting[0]


def bad(findings, subject, sentence):
    assert exit_code(findings) == 2
    return found(findings, Level.BAD, subject, sentence)


def doubt(findings, subject, sentence):
    return found(findings, Level.DOUBT, subject, sentence)


def trajectory_controllers(robot, desired=True, partial=False, joints=None):
    robot.listener_type = JointTrajectory
    for side, names in SIDES.items():
        robot.change(CONTROLLER, **{f"group.{side}.type": "joint_trajectory"})
        robot.listener_parameters[side] = {
            "joints": joints or names,
            "interpolate_from_desired_state": desired,
            "allow_partial_joints_goal": partial,
        }


# ------------------------------------------------------------------------------ all is well


def test_a_robot_without_faults_has_none_and_the_command_says_so(robot, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for side, names in SIDES.items():
        robot.listener_parameters[side] = {"joints": names, "interface_name": "position"}
    robot.up()
    command = [robot.parameter_file(), "--seconds", "1", "--patience", "5", "--measure"]
    for _ in range(TRIES):
        code = preflight.main(command)
        text = capsys.readouterr().out
        if not re.search("[!✗] ", text.split("real-time")[0]):
            break
    assert "0 ✗" in text and "✗" not in text.replace("0 ✗", ""), text
    assert code == 0, text
    assert "! " not in text.split("real-time")[0], text
    assert "takes 7 joints in our order" in " ".join(text.replace("│", " ").split())
    assert re.search(r"\d+ ms a guided chunk is d", " ".join(text.split()))


def test_trajectory_controllers_that_are_set_up_rightly_are_good(robot):
    trajectory_controllers(robot)
    robot.up()
    for _ in range(TRIES):
        findings = robot.findings()
        odd = [f for f in findings if f.level is not Level.GOOD and "rights" not in f.subject]
        if not odd:
            break
    assert not odd
    found(findings, Level.GOOD, "listener", "a joint_trajectory_controller with interpolate")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no.yaml"], "is not a file"),
        (["{file}", "s_min=3"], "not of the form"),
        (["{file}", "speed:=3"], "unknown argument speed"),
    ],
)
def test_arguments_that_cant_be_used_end_it_with_2(robot, capsys, words, sentence):
    file = robot.parameter_file()
    assert preflight.main([word.format(file=file) for word in words]) == 2
    assert sentence in capsys.readouterr().err


def test_parameters_that_are_wrong_are_named_for_both_nodes(robot, capsys):
    robot.change(INFERENCE, cameras=[""])
    robot.change(CONTROLLER, group__left__type="magic")
    assert preflight.main([robot.parameter_file()]) == 2
    said = capsys.readouterr().err
    assert "camera.top.topic: cameras names none" in said and "group.left.type is 'magic'" in said


# ------------------------------------------------------------------------------- checkpoint


def test_a_checkpoint_for_other_cameras_and_joints(robot):
    robot.change(INFERENCE, camera__top__feature="observation.images.wrist")
    robot.change("/**", joints=JOINTS[:13])
    robot.change(CONTROLLER, position_lower=[-3.2], position_upper=[3.2], max_velocity=[1.0])
    robot.change(CONTROLLER, resume_tolerance=[0.3], following_tolerance=[0.5])
    robot.change(CONTROLLER, **{"group.right.joints": JOINTS[7:13]})
    robot.up()
    findings = robot.findings()
    bad(findings, "checkpoint", "commands 14 joints, but `joints` names 13")
    bad(findings, "checkpoint", r"needs observation\.images\.top, which no camera gives")
    bad(findings, "checkpoint", r"no image feature of the policy is called .*wrist")


def test_a_checkpoint_that_is_not_there_or_has_no_backbone(robot, tmp_path):
    robot.change(INFERENCE, policy_path=str(tmp_path / "nothing"))
    robot.up()
    findings = robot.findings()
    bad(findings, "checkpoint", "nothing is not a folder")
    assert not [f for f in findings if "pose against" in f.subject], "what follows from it"
    (tmp_path / "empty").mkdir()
    robot.change(INFERENCE, policy_path="package:aloha_cube")
    robot.change(INFERENCE, backbone_path=str(tmp_path / "empty"))
    bad(robot.findings(), "backbone", "has no config.json")


def changed_policy(folder, **stats):
    """A copy of the shipped policy with other numbers at one place of its statistics."""
    copy = shutil.copytree(checkpoint_path("package:aloha_cube"), folder)
    for file in copy.glob("policy_*normalizer*.safetensors"):
        values = {name: value.copy() for name, value in load_file(file).items()}
        for name, (index, value) in stats.items():
            values[name.replace("__", ".")][index] = value
        save_file(values, file)
    return copy


def test_a_state_joint_that_never_moved_in_the_training_data(robot, tmp_path):
    policy = changed_policy(tmp_path / "still", observation__state__std=(5, 0.0))
    robot.change(INFERENCE, policy_path=str(policy))
    robot.up()
    findings = robot.findings()
    doubt(findings, "checkpoint", r"joint 5 \(standard deviation 0 at")
    odd = bad(findings, "pose against the training data", f"{JOINTS[5]} never moved")
    assert "state_scale 1e-9" in odd.fix
    robot.pose[5] = float(load_file(next(policy.glob("policy_pre*.safetensors")))
                          ["observation.state.mean"][5])  # fmt: skip
    found(robot.findings(), Level.GOOD, "pose against", "every joint within")


def test_a_sentence_that_the_policy_reads_in_part(robot):
    robot.change(INFERENCE, task="pass the cube to the left hand and then put it back there")
    robot.up()
    bad(robot.findings(), "task", "58 tokens and the policy reads 48")


def test_a_policy_that_does_not_tell_how_it_saw_its_pictures(robot, tmp_path):
    policy = shutil.copytree(checkpoint_path("package:aloha_cube"), tmp_path / "untold")
    (policy / "trained_with.json").unlink()
    config = json.loads((policy / "backbone" / "config.json").read_text())
    del config["transformers_version"]
    (policy / "backbone" / "config.json").write_text(json.dumps(config))
    robot.change(INFERENCE, policy_path=str(policy))
    robot.up()
    told = doubt(robot.findings(), "positions of image patches", r"4\.55 to 4\.57")
    assert "image_positions to shifted" in told.fix and "try both" in told.fix
    robot.change(INFERENCE, image_positions="shifted")
    found(robot.findings(), Level.GOOD, "positions of image patches", "shifted")
    robot.change(INFERENCE, policy_path="package:aloha_cube", image_positions="right")
    doubt(robot.findings(), "positions of image patches", "right, but .* needs shifted")


# ----------------------------------------------------------------------------- joint states


def test_joint_states_that_lack_a_joint_name_it_and_what_is_there(robot):
    robot.names[3] = "left_forearm"
    robot.up()
    findings = robot.findings()
    bad(findings, "joint names", "no state of left_forearm_roll; there are also left_forearm")


def test_nobody_publishes_joint_states_or_something_else_does(robot):
    robot.state_hz = 0.0
    robot.change("/**", joint_state_topics=["nowhere", "other", "joint_states"])
    robot.second(Float64MultiArray, "other", "stranger", Float64MultiArray())
    robot.up()
    findings = robot.findings(patience_s=2.5)
    bad(findings, "/nowhere", "nobody publishes it")
    bad(findings, "/other", "/stranger publishes std_msgs/msg/Float64MultiArray there")
    bad(findings, "/joint_states", "/driver is there but sent nothing for")
    assert not [f for f in findings if f.subject == "joint names"], "what follows from it"


def test_joint_states_that_are_slow_unstamped_and_beside_the_limits(robot):
    robot.state_hz, robot.stamped = 20.0, False
    robot.pose[0] = 3.5
    robot.change("/**", joint_state_timeout=5.0)  # a pause of the machine is not the fault
    robot.up()
    findings = robot.findings()
    doubt(findings, "joint states on", r"\d+ messages a second, fewer than")
    doubt(findings, "stamps on /joint_states", "the header stamps are 0")
    doubt(findings, "limits", r"left_waist is at 3\.5, the limits are -3\.14 to 3\.14")


def test_limits_that_only_some_joints_have_are_compared_where_they_are(robot):
    lower = [-3.2] * len(JOINTS)
    lower[3] = float("nan")  # from a file, or the robot description
    file = robot.folder / "joint_limits.yaml"
    file.write_text(f"joint_limits: {{{JOINTS[3]}: {{min_position: -1.0}}}}")
    robot.change(
        CONTROLLER, position_lower=lower, position_upper=[3.2], joint_limits_file=str(file)
    )
    robot.pose[0] = -3.5
    robot.pose[3] = -1.2
    robot.up()
    said = doubt(robot.findings(), "position limits", "").sentence
    assert said == (
        f"{JOINTS[0]} is at -3.5, the limits are -3.2 to 3.2; "
        f"{JOINTS[3]} is at -1.2, the limits are -1 to 3.2"
    )


def test_limits_that_the_controller_would_refuse_are_found_before_it_does(robot):
    robot.change(CONTROLLER, max_velocity=[float("nan")] * len(JOINTS))
    robot.up()
    findings = robot.findings(patience_s=0.5)
    bad(findings, "^limits$", f"joint {JOINTS[0]} has no velocity limit: parameter max_velocity")
    bad(findings, "^limits$", "nothing came on robot_description within 0.5 s")


def test_limits_from_a_robot_description_and_what_they_cost(robot):
    joints = "".join(
        f'<joint name="{j}" type="revolute"><limit lower="-3" upper="3" velocity="2"/></joint>'
        for j in JOINTS
    )
    described = String(data=f'<robot name="r">{joints}</robot>')
    robot.change(
        CONTROLLER,
        position_lower=[float("nan")],
        max_velocity=[float("nan")],
        max_acceleration=[10.0],
        max_jerk=[50.0],
    )
    robot.latched("robot_description", described)
    robot.up()
    findings = robot.findings()
    found(findings, Level.GOOD, "^limits$", "velocity limits from robot_description")
    doubt(findings, "^jerk limits$", "they make every command 190 ms late")


def test_what_a_limits_file_says_and_does_not_mean_is_doubted(robot):
    file = robot.folder / "joint_limits.yaml"
    file.write_text(
        "default_velocity_scaling_factor: 0.1\n"
        f"joint_limits: {{{JOINTS[0]}: {{has_velocity_limits: true, max_velocity: 3.0}}}}"
    )
    speeds = [1.0] * len(JOINTS)
    speeds[0] = float("inf")
    robot.change(CONTROLLER, max_velocity=speeds, joint_limits_file=str(file))
    robot.up()
    findings = robot.findings()
    doubt(findings, "^limits stated$", rf"factor 0\.1 of .*{JOINTS[0]} 0\.3\.")
    doubt(findings, "^limits stated$", rf"max_velocity of {JOINTS[0]} is inf, .* 0\.3 from {file}")
    found(findings, Level.GOOD, "^limits$", rf"velocity limits from {file} × 0\.1 \({JOINTS[0]}\)")


@pytest.mark.parametrize("speaks_degrees", [False, True])
def test_limits_in_degrees_are_a_cross_unless_the_arm_speaks_them(robot, speaks_degrees):
    robot.change(CONTROLLER, position_lower=[-109.0], position_upper=[109.0], max_velocity=[28.6])
    if speaks_degrees:
        robot.pose[1] = 50.0
    robot.up()
    findings = robot.findings()
    said = [f for f in findings if f.subject == "units of the limits"]
    if speaks_degrees:
        assert not said
        return
    told = bad(findings, "^units of the limits$", f"{JOINTS[0]} -109 to 109 .*degrees").sentence
    assert "28.6" in told and "and 9 more" in told, "12 joints and two grippers"


def test_a_robot_without_acceleration_limits_stops_with_a_jolt(robot):
    robot.change(CONTROLLER, max_acceleration=[float("inf")])
    robot.up()
    doubt(robot.findings(), "acceleration limits", "the arm stops within one step")


def test_joint_states_with_gaps_longer_than_the_timeout(robot):
    robot.state_hz = 1.5
    robot.up()
    bad(robot.findings(1.5), "joint states on", r"nothing for \d\.\d+ s, and joint_state_timeout")


def test_two_sources_of_joint_states(robot):
    other = JointState(name=JOINTS[:2], position=[0.1, 0.2])
    robot.second(JointState, "joint_states", "simulation", other)
    robot.up()
    findings = robot.findings()
    bad(findings, "joint state sources", "left_waist, left_shoulder come from 2 publishers")
    doubt(findings, "stamps", "they go back in time")


def test_two_sources_with_equal_stamps(robot):
    """As two simulations on one /clock; the stamps alone can't tell."""
    node = robot.node("simulation")
    second = node.create_publisher(JointState, "joint_states", 10)
    publish = robot._stamp

    def both(message):
        stamped = publish(message)
        if isinstance(stamped, JointState):
            second.publish(JointState(header=stamped.header, name=JOINTS, position=[0.0] * 14))
        return stamped

    robot._stamp = both
    robot.up()
    bad(robot.findings(), "joint state sources", "left_waist, .* come from 2 publishers")


def test_a_joint_that_comes_seldom_beside_others_that_come_often(robot):
    robot.slow = {JOINTS[-1]: 1.0}
    robot.up()
    sentence = rf"^{JOINTS[-1]} comes \d\.\d times a second, up to \d\.\d+ s apart, beside others"
    finding = bad(robot.findings(3.0), "joint state rates", sentence)
    assert "joint_state_timeout is 0.5 s" in finding.sentence
    robot.change("/**", joint_state_timeout=5.0)
    said = doubt(robot.findings(3.0), "joint state rates", "fewer than once a control period")
    assert said.sentence.startswith(f"{JOINTS[-1]} comes ")


def test_states_that_repeat_one_stamp_are_no_news(robot):
    robot._stamp = lambda message: (setattr(message.header.stamp, "sec", 5), message)[1]
    robot.up()
    findings = robot.findings(1.0)
    bad(findings, "joint states on", r"nothing for \d\.\d+ s, .*that repeat a stamp are no news")
    bad(findings, "camera top", r"no image for \d\.\d+ s, .*that repeat a stamp are no news")


def test_positions_that_are_not_finite(robot):
    robot.pose[4] = np.nan
    robot.up()
    bad(robot.findings(), "joint positions", "those of left_wrist_angle can't .* is nan")


@pytest.mark.parametrize(
    ("factor", "said"), [(57.2957795, "like degrees"), (1 / 57.2957795, "like radians")]
)
def test_states_in_other_units_than_the_policy_s(robot, factor, said):
    robot.pose = robot.pose * factor
    robot.change(CONTROLLER, position_lower=[-400.0], position_upper=[400.0])
    robot.up()
    finding = bad(robot.findings(), "pose against", said)
    assert f"joint_scale: {1 / factor:.7g}" in finding.fix


def test_states_beside_the_training_data_and_arms_exchanged(robot):
    robot.pose[1] += 6.0
    robot.up()
    doubt(robot.findings(), "pose against", "left_shoulder is at .* standard deviations")
    robot.pose[1] -= 6.0
    robot.pose = np.roll(robot.pose, 7)
    bad(robot.findings(), "pose against", "first and the second arm exchanged")
    robot.pose = np.roll(robot.pose, 7)
    robot.pose[[1, 3]] = robot.pose[[3, 1]]
    said = bad(robot.findings(), "pose against", "with these two exchanged every joint").sentence
    assert "left_shoulder" in said and "left_forearm_roll" in said


@pytest.mark.parametrize(
    ("offset_s", "said"), [(-3600.0, "behind this clock"), (5.0, "ahead of this clock")]
)
def test_stamps_of_another_clock(robot, offset_s, said):
    robot.stamp_offset_s = offset_s
    robot.up()
    findings = robot.findings()
    bad(findings, "stamps on /joint_states", said)
    bad(findings, "stamps of camera top", said)


# ----------------------------------------------------------------------------------- cameras


def test_a_camera_that_is_silent_or_of_another_type(robot):
    robot.camera_hz = 0.0
    robot.up()
    bad(robot.findings(patience_s=5.0), "camera top", "/driver is there but sent nothing")
    robot.change(INFERENCE, camera__top__transport="compressed")
    findings = robot.findings(patience_s=5.0)
    bad(findings, "camera top", "publishes sensor_msgs/msg/Image there, not .*Compressed")


def test_a_camera_that_is_slow_and_of_another_shape(robot):
    robot.camera_hz, robot.sizes = 5.0, [(48, 96)]
    robot.change(INFERENCE, camera_timeout=5.0)  # a pause of the machine is not the fault
    robot.up()
    findings = robot.findings(1.0)
    doubt(findings, "camera top", r"\d\.\d images a second")
    # The policy pads it; the square in its configuration tells nothing of the demonstrations.
    found(findings, Level.GOOD, "images of camera top", "96 × 48 rgb8; the policy pads it")


def test_a_camera_with_gaps_and_few_pixels(robot):
    robot.camera_hz, robot.sizes = 1.5, [(32, 32)]
    robot.up()
    findings = robot.findings(1.5)
    bad(findings, "camera top", "and camera_timeout is 0.5 s")
    doubt(findings, "images of camera top", "32 × 32, and the policy.s configuration says 96 × 96")


def test_a_camera_of_depth_images(robot):
    robot.encoding = "32FC1"
    robot.up()
    bad(robot.findings(), "images of camera top", "rgb8: 96 × 96 32FC1: those are")


def encoded(extension, pixels):
    return cv2.imencode(extension, pixels)[1].tobytes()


FINE = np.full((96, 96, 3), 90, np.uint8)
COMPRESSED = {
    "empty": (("jpeg", b""), "'jpeg': it has no bytes"),
    "truncated": (("jpeg", encoded(".jpg", FINE)[:300]), "300 bytes are no whole JPEG"),
    "video": (("h264", b"\0\0\0\1\x67\x42" + bytes(60)), "'h264': a video stream"),
    "depth": (("16UC1; compressedDepth png", bytes(90)), "Depth png': a compressed depth"),
    "depth as png": (
        ("16UC1; png compressed ", encoded(".png", FINE[..., 0].astype(np.uint16))),
        "a compressed depth image",
    ),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_a_camera_whose_messages_hold_no_picture(robot, case):
    robot.compressed, sentence = COMPRESSED[case]
    robot.change(INFERENCE, camera__top__transport="compressed")
    robot.up()
    finding = bad(robot.findings(), "images of camera top", f"can't be converted.*{sentence}")
    assert re.search("colour image|JPEG|look at", finding.fix)


def test_a_camera_without_pixels(robot):
    robot.sizes = [(0, 0)]
    robot.up()
    bad(robot.findings(), "images of camera top", "0 × 0 rgb8: it has no pixels")


def test_a_compressed_camera_is_seen_through(robot):
    robot.compressed = ("rgb8; jpeg compressed bgr8", encoded(".jpg", FINE))
    robot.change(INFERENCE, camera__top__transport="compressed")
    robot.up()
    found(robot.findings(), Level.GOOD, "images of camera top", "96 × 96 rgb8; jpeg compressed")


def test_two_cameras_on_one_topic(robot):
    second = Image(height=96, width=96, encoding="rgb8", step=288, data=bytes(96 * 288))
    robot.second(Image, "camera/top/image_raw", "back_camera", second)
    robot.up()
    finding = bad(robot.findings(1.0), "sources of camera top", "2 publishers send images on")
    assert "/back_camera, /driver" in finding.sentence and "stop one" in finding.fix


def test_a_second_camera_that_is_silent_yet(robot):
    robot.node("back_camera").create_publisher(Image, "camera/top/image_raw", 2)
    robot.up()
    doubt(robot.findings(), "sources of camera top", r"2 publishers are on .*\(/back_camera, /dri")


def test_a_camera_whose_size_changes(robot):
    robot.sizes = [(96, 96), (48, 48)]
    robot.up()
    bad(robot.findings(), "images of camera top", "they change: ")


# ---------------------------------------------------------------------------- command topics


def test_nobody_listens_on_one_side(robot):
    robot.deaf = {"right"}
    robot.up()
    findings = robot.findings()
    bad(findings, "/right_arm/commands", "nobody listens")
    found(findings, Level.GOOD, "listener on /left_arm/commands", "listens")


def test_messages_whose_package_was_not_sourced(robot, monkeypatch):
    # Other tests have stand-ins of it in this process.
    for name in ("interbotix_xs_msgs", "interbotix_xs_msgs.msg"):
        monkeypatch.setitem(sys.modules, name, None)
    robot.change(CONTROLLER, group__left__type="joint_group_command")
    robot.up()
    sentence = "package of interbotix_xs_msgs/msg/JointGroupCommand isn't there"
    assert "source" in bad(robot.findings(), "messages for /left_arm", sentence).fix


def test_a_listener_of_another_type(robot):
    robot.listener_type = JointTrajectory
    robot.up()
    bad(robot.findings(), "/left_arm", r"takes trajectory_msgs\S+, and float64_multi_array sends")


@pytest.mark.parametrize(
    "qos",
    [
        QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        QoSProfile(depth=10, deadline=Duration(seconds=1)),
    ],
    ids=["durability", "deadline"],
)
def test_a_listener_whose_qos_never_connects(robot, qos):
    robot.listener_qos = qos
    robot.up()
    bad(robot.findings(), "commands on /left_arm", "/left_controller will never hear us")


def test_somebody_else_commands_the_arm(robot):
    robot.second(Float64MultiArray, "left_arm/commands", "teleop", Float64MultiArray())
    robot.up()
    bad(robot.findings(), "other commanders of /left_arm", "/teleop publishes there too")


def test_our_own_controller_is_no_stranger_but_two_are(robot):
    first = robot.node("rtc_controller")
    first.create_publisher(Float64MultiArray, "left_arm/commands", 10)
    robot.up()
    findings = robot.findings()
    found(findings, Level.GOOD, "other commanders of /left_arm", "none")
    found(findings, Level.GOOD, "own nodes", "/rtc_controller runs already")
    robot.node("rtc_controller").create_publisher(Float64MultiArray, "left_arm/commands", 10)
    findings = robot.findings()
    bad(findings, "other commanders of /left_arm", "2 nodes called /rtc_controller command it")
    bad(findings, "own nodes", "2 nodes are called /rtc_controller")


def test_a_forward_controller_with_another_order(robot):
    robot.listener_parameters["left"] = {"joints": SIDES["left"][::-1]}
    robot.up()
    bad(robot.findings(), "/left_arm", "takes its numbers in the order left_gripper, left_wrist")


@pytest.mark.parametrize("interface", ["velocity", "effort"])
def test_a_forward_controller_of_something_else_than_positions(robot, interface):
    robot.listener_parameters["left"] = {"joints": SIDES["left"], "interface_name": interface}
    robot.listener_parameters["right"] = {
        "joints": SIDES["right"],
        "interface_names": ["position", interface],
    }
    robot.up()
    findings = robot.findings()
    finding = bad(findings, "/left_arm", f"takes {interface} .*and group left sends positions")
    assert "interface_name is position" in finding.fix
    bad(findings, "/right_arm", f"takes position and {interface}")


def test_a_trajectory_controller_that_commands_velocities(robot):
    trajectory_controllers(robot)
    for parameters in robot.listener_parameters.values():
        parameters["command_interfaces"] = ["velocity"]
    robot.up()
    doubt(robot.findings(), "listener on /left_arm", "commands velocity .*the arm lags")


def test_a_listener_whose_parameters_are_of_other_types(robot):
    robot.listener_parameters["left"] = {"joints": 3, "interface_name": 2.5}
    robot.up()
    found(robot.findings(), Level.GOOD, "listener on /left_arm", "isn't a ros2_control controller")


def test_a_trajectory_controller_that_starts_from_the_measured_state(robot):
    trajectory_controllers(robot, desired=False)
    robot.up()
    findings = robot.findings()
    finding = bad(findings, "listener on /left_arm", "interpolate_from_desired_state false")
    assert "interpolate_from_desired_state: true" in finding.fix


def test_a_trajectory_controller_with_other_joints(robot):
    trajectory_controllers(robot, joints=[*SIDES["left"][1:], "left_lift"])
    robot.up()
    findings = robot.findings()
    bad(findings, "listener on /left_arm", "group left lacks left_lift")
    bad(findings, "listener on /left_arm", "has no joint left_waist and refuses")


# ------------------------------------------------------------------------------------- clock


def test_use_sim_time_without_a_clock_and_with_drivers_on_another(robot):
    robot.change("/**", use_sim_time=True)
    robot.up()
    bad(robot.findings(), "clock", "nobody publishes /clock")
    robot.clock(moves=False)
    bad(robot.findings(), "clock", "/clock stands still")


def test_nodes_on_other_clocks(robot):
    robot.driver_parameters = {"use_sim_time": True}
    robot.up()
    findings = robot.findings(patience_s=5.0)  # without a /clock its timers stand still
    doubt(findings, "clock", "use_sim_time is false here, and not at /driver")
    robot.change(CONTROLLER, use_sim_time=True)
    findings = robot.findings(patience_s=0.5)
    bad(findings, "clock", "rtc_inference: false, rtc_controller: true")


def test_a_clock_that_runs_is_good(robot):
    robot.change("/**", use_sim_time=True)
    robot.driver_parameters = {"use_sim_time": True}
    for side in SIDES:
        robot.listener_parameters[side] = {"use_sim_time": True}
    robot.clock(moves=True)
    robot.up()
    findings = robot.findings()
    found(findings, Level.GOOD, "clock", "use_sim_time is true at every node")
    assert not [f for f in findings if f.subject == "clock" and f.level is Level.BAD]
    robot.change(CONTROLLER, command_rate=250.0)
    bad(robot.findings(), "clock", "goes on by .* ms at a time, and a set point is due every 4 ms")


# ------------------------------------------------------------------------ latency and machine


def test_a_latency_that_h_does_not_cover(robot):
    robot.change(INFERENCE, inject_latency_ms=600.0, torch_threads=0)
    robot.up()
    findings = robot.findings(measure=True)
    bad(findings, "latency", r"no s_min works: d must be at most H / 2 = 25.*cover d ≤ H/2 = 25")
    finding = bad(findings, "latency", r"\d+ ms a guided chunk is d = \d+: ")
    assert "torch_threads: 1" in finding.fix
    robot.change(INFERENCE, inject_latency_ms=0.0, s_min=60)
    bad(robot.findings(), "latency", "s_min is 60, but a chunk has only H = 50 rows")


def test_shared_memory_that_cant_be_had(robot, tmp_path, monkeypatch):
    robot.up()
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path / "nothing"))
    bad(robot.findings(), "shared memory", "doesn't exist; make it or set RTC_ROS_SHM_DIR")


def test_no_real_time_asked_for(robot):
    robot.change(CONTROLLER, realtime_priority=0)
    robot.up()
    doubt(robot.findings(), "real-time", "realtime_priority is 0")


def test_a_right_to_real_time_that_is_refused():
    code = (
        "import os, resource, types\n"
        "from rtc_ros.preflight.machine import check_realtime\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"  # root needs no limit
        "setup = types.SimpleNamespace(controller={'realtime_priority': 50})\n"
        "(finding,) = check_realtime(setup)\n"
        "print(finding.level.name, finding.sentence, finding.fix)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("DOUBT SCHED_FIFO 50 refused (Operation not permitted)"), done
    assert "rtprio" in done.stdout


def test_another_writer_and_what_an_earlier_run_left(robot):
    robot.up()
    spec = HandoffSpec(tuple(JOINTS), 0.02)
    with StepCursor.create("rtc_ros_sim.cursor", spec):
        findings = robot.findings()
        doubt(findings, r"segment rtc_ros_sim\.cursor", f"process {os.getpid()} writes")
    found(robot.findings(), Level.GOOD, r"segment rtc_ros_sim\.cursor", "left by process")
    with StepCursor.create("rtc_ros_sim.cursor", HandoffSpec(tuple(JOINTS[:3]), 0.02)):
        pass
    said = found(robot.findings(), Level.GOOD, r"segment rtc_ros_sim\.cursor", "left by an earl")
    assert len(said.sentence) < 80, "there is nothing to do"
