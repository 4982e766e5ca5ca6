"""Limits by parameter, joint_limits.yaml and URDF: who wins, what is refused, what is logged."""

import math

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from rtc_ros.controller.joint_limits_file import yaml_limits
from rtc_ros.controller.limit_sources import joint_limits
from rtc_ros.controller.parameters import CONTROLLER
from rtc_ros.core.urdf import urdf_limits
from rtc_ros.ros.parameters import ConfigurationError

NAN = math.nan
PERIOD = 0.02
URDF = """<?xml version="1.0" encoding="utf-8"?>
<robot name="r">
  <link name="base"/>
  <joint name="a" type="revolute"><limit lower="-1.5" upper="1.5" velocity="2"/></joint>
  <joint name="b" type="continuous"><limit velocity="3.0" effort="9"/></joint>
  <joint name="c" type="prismatic"><limit upper="0.05" velocity="0.1" effort="9"/></joint>
  <joint name="zero" type="revolute"><limit velocity="0" effort="0"/></joint>
  <joint name="bare" type="revolute"/>
  <joint name="mount" type="fixed"/>
  <ros2_control name="x"><joint name="a"><limit velocity="99"/></joint></ros2_control>
</robot>
"""
YAML = """
default_velocity_scaling_factor: 0.1
joint_limits:
  a: {has_velocity_limits: true, max_velocity: 1.0, has_acceleration_limits: true,
      max_acceleration: 4, has_jerk_limits: false, angle_wraparound: false}
  b: {has_acceleration_limits: false, max_acceleration: 0.0}
  of_another_robot: {max_velocity: 7.0}
"""


def parameters(**changes):
    values = {p.name: p.default for p in CONTROLLER} | {"wrap_joints": []}
    return values | changes


def asked_for_nothing():
    raise AssertionError("the robot description was asked for without need")


def made(tmp_path, joints=("a", "b", "c"), yaml=YAML, **changes):
    file = tmp_path / "joint_limits.yaml"
    file.write_text(yaml)
    p = parameters(joint_limits_file=str(file), robot_description=URDF, **changes)
    return joint_limits(p, list(joints), PERIOD, asked_for_nothing)


def test_parameters_win_over_the_file_and_the_file_over_the_description(tmp_path):
    limits, said = made(
        tmp_path, position_lower=[-1.0, NAN, NAN], position_margin=[0.1, 0.1, 0.01]
    )
    np.testing.assert_allclose(limits.lower, [-0.9, -np.inf, 0.01])
    np.testing.assert_allclose(limits.upper, [1.4, np.inf, 0.04])
    np.testing.assert_allclose(limits.max_step, np.array([1.0, 3.0, 0.1]) * PERIOD)
    np.testing.assert_allclose(limits.max_bend, np.array([4.0, np.inf, np.inf]) * PERIOD**2)
    assert not limits.coherent
    file = tmp_path / "joint_limits.yaml"
    assert said == [
        "lower position limits from parameter position_lower (a); robot_description (b, c)",
        "upper position limits from robot_description",
        f"velocity limits from {file} (a); robot_description (b, c)",
        f"acceleration limits from {file} (a, b); none for c",
    ]


def test_where_parameters_say_all_nothing_else_is_asked():
    p = parameters(
        position_lower=[-1.0], position_upper=[1.0], max_velocity=[2.0], max_acceleration=[5.0],
        limit_mode="path",
    )  # fmt: skip
    limits, said = joint_limits(p, ["a", "b"], PERIOD, asked_for_nothing)
    assert limits.coherent and (limits.max_bend == 5.0 * PERIOD**2).all()
    assert said[3] == "acceleration limits from parameter max_acceleration"


def test_that_nothing_limits_the_acceleration_is_said_plainly():
    p = parameters(position_lower=[-1.0], position_upper=[1.0], max_velocity=[2.0])
    _, said = joint_limits(p, ["a", "b"], PERIOD, asked_for_nothing)
    assert said[3] == (
        "no acceleration limits: neither parameter max_acceleration nor a joint_limits_file "
        "has them"
    )


def test_what_a_file_states_and_nobody_keeps_is_said(tmp_path):
    text = """
joint_limits:
  a: {max_acceleration: 4.0, has_soft_limits: true, soft_lower_limit: -1.0}
  b: {max_acceleration: 4.0, has_soft_limits: false, soft_lower_limit: -1.0}
  c: {max_acceleration: 4.0, soft_lower_limit: -1.0}
"""
    _, said = made(tmp_path, yaml=text)
    file = tmp_path / "joint_limits.yaml"
    assert said[4:] == [
        f"soft_lower_limit of a, c in {file} is not kept: there is no such limit here"
    ]


def test_jerk_limits_say_what_they_cost(tmp_path):
    text = """
joint_limits:
  a: {max_acceleration: 4.0, max_jerk: 80.0}
  b: {max_acceleration: 4.0, has_jerk_limits: false, max_jerk: 50.0}
  c: {max_acceleration: 4.0, has_jerk_limits: true, max_jerk: 100.0}
"""
    limits, said = made(tmp_path, yaml=text)
    np.testing.assert_allclose(limits.max_twist, np.array([80.0, np.inf, 100.0]) * PERIOD**3)
    file = tmp_path / "joint_limits.yaml"
    assert said[4:] == [
        f"jerk limits from {file} (a, c); none for b",
        "because of the jerk limits each command is the mean of the last 5 rows, 40 ms late; a "
        "stop takes 80 ms longer",
    ]
    limits, said = made(tmp_path, yaml=text, max_jerk=[math.inf])
    assert np.isinf(limits.max_twist).all()
    assert not said[4:]


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("max_acceleration: 4.0, max_deceleration: 3.0", 3.0),
        ("max_acceleration: 4.0, max_deceleration: -3.0", 3.0),  # as some write it
        ("max_acceleration: 2.0, max_deceleration: 3.0", 2.0),
        ("max_deceleration: 3.0", 3.0),
        ("max_acceleration: 4.0, has_deceleration_limits: false, max_deceleration: 3.0", 4.0),
    ],
)
def test_the_lesser_of_acceleration_and_deceleration_is_kept_for_both(tmp_path, stated, kept):
    limits, _ = made(tmp_path, joints=("a",), yaml=f"joint_limits: {{a: {{{stated}}}}}")
    assert limits.max_bend == pytest.approx(kept * PERIOD**2)


def test_an_explicit_infinity_wins_over_the_file(tmp_path):
    limits, _ = made(tmp_path, max_acceleration=[math.inf])
    assert not limits.bends


@pytest.mark.parametrize(
    ("joints", "changes", "sentence"),
    [
        (("a", "zero"), {}, "joint zero has no lower position limit: parameter position_lower"),
        (("bare",), {}, "joint bare has no lower position limit"),
        (
            ("zero",),
            {"position_lower": [-1.0], "position_upper": [1.0]},
            "joint zero has no velocity limit: parameter max_velocity must be set, or "
            "joint_limits_file or the robot description must have it",
        ),
        (("mount",), {}, "joint mount has no lower position limit"),
        (("a",), {"position_margin": [1.5]}, "limit of a, -1.5, is not below .* 1.5 with"),
        (("a",), {"position_margin": [-0.1]}, "a position_margin is negative"),
        (("a",), {"max_acceleration": [0.0]}, "acceleration limit of a is 0; it could never"),
        (("a",), {"max_jerk": [-1.0]}, "jerk limit of a is -1; it could never"),
        (
            ("a", "b"),
            {"max_acceleration": [4.0], "max_jerk": [50.0, 2.0]},
            r"for the jerk limit of b, 2, with accelerations of up to 4, each command would be "
            r"the mean of 200 rows, and a stop would take 3.98 s longer \(at most 1\): raise",
        ),
        (
            ("a",),
            {"max_velocity": [math.inf], "max_acceleration": [math.inf], "max_jerk": [9.0]},
            "for the jerk limit of a, 9, with accelerations of up to inf",
        ),
        (("a",), {"wrap_joints": ["a"]}, r"wrap_joints names a, which has position limits \(-1.5"),
        (("a",), {"wrap_joints": ["z"]}, "wrap_joints names z, not among"),
        (("a",), {"max_velocity": [1.0, 2.0]}, "max_velocity has 2 values for 1 joints"),
    ],
)
def test_what_is_missing_or_can_not_be_is_named(tmp_path, joints, changes, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        made(tmp_path, joints, **changes)


def test_endless_joints_turn_only_where_that_was_asked_for(tmp_path):
    limits, _ = made(tmp_path)
    assert not limits.turns
    limits, _ = made(tmp_path, wrap_joints=["b"])
    np.testing.assert_allclose(limits.turn, [0.0, 2 * math.pi, 0.0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('<!DOCTYPE r [<!ENTITY e "x">]><robot>&e;</robot>', "declares a document type"),
        ("<robot><joint", "is not XML"),
        ("<sdf/>", "begins with <sdf>"),
        (
            '<robot><joint name="a" type="revolute"><limit velocity="${v}"/></joint></robot>',
            "velocity='\\${v}' of joint a, which is not a number; let xacro",
        ),
    ],
)
def test_a_description_that_can_not_be_trusted_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        urdf_limits(text)
    with pytest.raises(ConfigurationError, match=sentence):
        joint_limits(parameters(robot_description=text), ["a"], PERIOD, asked_for_nothing)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "can't be read"),
        ("[]", "has no map `joint_limits`"),
        ("joint_limits: {a: 1}", "a is no map of limits"),
        ("joint_limits: {a: {max_speed: 1.0}}", "a has max_speed, which is no limit; known are"),
        ("joint_limits: {a: {max_velocity: fast}}", "max_velocity of a is 'fast', not a number"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, text, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        made(tmp_path, yaml=text)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="nowhere.yaml can't be read: No such file"):
        yaml_limits("nowhere.yaml")


@pytest.mark.ros
def test_the_description_comes_by_topic_where_it_is_needed(robot):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = robot.node.create_publisher(String, "robot_description", latched)
    publisher.publish(String(data=URDF))
    robot.start(
        position_lower=[NAN], position_upper=[NAN], max_velocity=[NAN, NAN, 0.5], wrap_joints=["b"]
    )
    limits = robot.cursor.read().limits
    np.testing.assert_allclose(limits.upper, [1.5, np.inf, 0.05])
    np.testing.assert_allclose(limits.max_step, np.array([2.0, 3.0, 0.5]) * PERIOD)
    np.testing.assert_allclose(limits.turn, [0.0, 2 * math.pi, 0.0])
    assert "upper position limits from robot_description\n" in robot.logs()
