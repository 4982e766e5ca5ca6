"""Limits by parameter, joint_limits.yaml and URDF: who wins, what is refused, what is logged."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float64MultiArray, String

from rtc_ros.controller.joint_limits_file import yaml_limits
from rtc_ros.controller.limit_sources import Degrees, Doubt, joint_limits
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
        "lower position limits from parameter position_lower (a); robot_description (c); "
        "none for b (robot_description)",
        "upper position limits from robot_description (a, c); none for b (robot_description)",
        f"velocity limits from {file} (a); robot_description (b, c)",
        f"acceleration limits from {file} (a); none for b, c",
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
            "for the jerk limit of a, 9, with accelerations of up to 100",
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


def revolute(name="a", limit='lower="-1.5" upper="1.5" velocity="2"', beside="", kind="revolute"):
    return f'<joint name="{name}" type="{kind}"><limit {limit}/>{beside}</joint>'


def robot_of(*joints, beside=""):
    return f'<robot name="r">{"".join(joints)}{beside}</robot>'


def described(urdf, joints=("a",), **changes):
    limits, said = joint_limits(
        parameters(robot_description=urdf, **changes), list(joints), PERIOD, asked_for_nothing
    )
    return limits, said


# ------------------------------------------------------------------- what states no limit


@pytest.mark.parametrize(
    "stated",
    [
        "has_velocity_limits: false, max_velocity: 0",
        "has_velocity_limits: false",
        'has_velocity_limits: "false", max_velocity: 0.3',
        "max_velocity: .inf",
        "max_velocity: .nan",
        "has_velocity_limits: true",
        "",
    ],
)
def test_a_file_without_a_velocity_limit_leaves_it_to_the_description(tmp_path, stated):
    text = f"joint_limits: {{a: {{{stated}}}, b: {{max_velocity: 1}}}}"
    limits, said = made(tmp_path, yaml=text)
    np.testing.assert_allclose(limits.max_step, np.array([2.0, 1.0, 0.1]) * PERIOD)
    file = tmp_path / "joint_limits.yaml"
    assert f"velocity limits from robot_description (a, c); {file} (b)" in said


@pytest.mark.parametrize(
    "stated",
    [
        "has_position_limits: false, min_position: 0",
        "min_position: -.inf, max_position: .inf",
        "has_position_limits: 'False', min_position: 0",
    ],
)
def test_a_file_without_position_limits_leaves_them_to_the_description(tmp_path, stated):
    limits, _ = made(tmp_path, ("a",), yaml=f"joint_limits: {{a: {{{stated}}}}}")
    assert (limits.lower[0], limits.upper[0]) == (-1.5, 1.5)


def test_an_infinite_velocity_parameter_is_no_limit_and_that_is_said(tmp_path):
    limits, said = made(tmp_path, max_velocity=[math.inf, math.inf, 0.05])
    np.testing.assert_allclose(limits.max_step, np.array([1.0, 3.0, 0.05]) * PERIOD)
    doubts = [s for s in said if isinstance(s, Doubt)]
    file = tmp_path / "joint_limits.yaml"
    assert doubts == [
        f"parameter max_velocity of a is inf, which is no limit: 1 from {file} holds",
        "parameter max_velocity of b is inf, which is no limit: 3 from robot_description holds",
    ]


@pytest.mark.parametrize("velocity", ['velocity="inf"', 'velocity="0"', 'velocity="-2"', ""])
def test_no_velocity_limit_anywhere_is_refused_with_what_each_source_says(tmp_path, velocity):
    file = tmp_path / "joint_limits.yaml"
    file.write_text("joint_limits: {a: {has_velocity_limits: false}}")
    urdf = robot_of(revolute(limit=f'lower="-1" upper="1" {velocity}'))
    p = parameters(joint_limits_file=str(file), robot_description=urdf, max_velocity=[math.inf])
    with pytest.raises(ConfigurationError) as refused:
        joint_limits(p, ["a"], PERIOD, asked_for_nothing)
    sentence = str(refused.value)
    assert sentence.startswith("joint a has no velocity limit: parameter max_velocity must be set")
    assert "parameter max_velocity is inf" in sentence
    assert f"{file} says has_velocity_limits of a is false" in sentence
    named = velocity.replace('"', "") or "no velocity in the <limit>"
    assert f"the robot description {'says' if velocity else 'has'} {named}" in sentence


def test_revolute_joints_need_position_limits_and_turning_ones_do_not():
    urdf = robot_of(
        revolute("a", 'lower="-inf" upper="inf" velocity="2"'),
        revolute("b", 'velocity="2"', kind="continuous"),
    )
    limits, said = described(urdf, ["b"])
    assert limits.lower == -np.inf and limits.upper == np.inf
    assert said[0] == "lower position limits: none for b (robot_description)"
    with pytest.raises(ConfigurationError, match=r"a has no lower .*\(-\.inf: none\).*lower=-inf"):
        described(urdf, ["a", "b"])
    limits, said = described(urdf, ["a", "b"], wrap_joints=["a", "b"])
    assert (limits.turn == 2 * np.pi).all() and np.isinf(limits.upper).all()
    assert said[0].endswith("none for a (wrap_joints); none for b (robot_description)")


def test_no_position_limit_is_the_parameters_word_against_the_descriptions(tmp_path):
    limits, said = described(
        URDF, ["a", "b"], position_lower=[-math.inf] * 2, position_upper=[math.inf] * 2
    )
    assert np.isinf(limits.lower).all() and np.isinf(limits.upper).all()
    assert [s for s in said if isinstance(s, Doubt)] == [
        "parameter position_lower says that a has no lower position limit, though "
        "robot_description has -1.5",
        "parameter position_upper says that a has no upper position limit, though "
        "robot_description has 1.5",
    ]


def test_that_a_parameter_wants_no_acceleration_limit_is_told_truly():
    _, said = described(URDF, max_acceleration=[math.inf])
    assert said[3] == "acceleration limits: none for a (parameter max_acceleration)"


@pytest.mark.parametrize("source", ["file", "parameter", "description"])
def test_a_velocity_that_crosses_the_whole_range_within_a_period_limits_nothing(tmp_path, source):
    if source == "parameter":
        _, said = made(tmp_path, ("a",), yaml="joint_limits: {}", max_velocity=[1000.0])
        assert said[-1].startswith("the velocity limit of a, 1000 from parameter max_velocity,")
        assert isinstance(said[-1], Doubt)
    elif source == "file":
        with pytest.raises(ConfigurationError, match=r"of a, 1000 from .*yaml, lets it cross 3,"):
            made(tmp_path, ("a",), yaml="joint_limits: {a: {max_velocity: 1000.0}}")
    else:
        urdf = robot_of(revolute(limit='lower="0" upper="0.01" velocity="2"'))
        with pytest.raises(ConfigurationError, match="of a, 2 from robot_description, lets it"):
            described(urdf)


def test_an_acceleration_limit_that_never_binds_is_said(tmp_path):
    _, said = made(tmp_path, ("a",), yaml="joint_limits: {a: {max_acceleration: 1000.0}}")
    assert said[4] == "the acceleration limit of a lets it stop from full speed within one period"


def test_braking_that_takes_for_ever_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"limit 0\.001 of a \(from par.* 1 takes 1000 s"):
        made(tmp_path, ("a",), max_acceleration=[0.001])


# ------------------------------------------------------------------- limit files


def test_moveit_s_default_speed_holds_for_all_velocities_that_no_parameter_sets(tmp_path):
    factors = "default_velocity_scaling_factor: 0.1\ndefault_acceleration_scaling_factor: 0.2\n"
    limits, said = made(tmp_path, yaml=factors + YAML, max_velocity=[NAN, NAN, 0.5])
    np.testing.assert_allclose(limits.max_step, np.array([0.1, 0.3, 0.5]) * PERIOD)
    assert limits.max_bend[0] == pytest.approx(4.0 * PERIOD**2)  # not scaled: it brakes
    slowed, braked = (s for s in said if isinstance(s, Doubt))
    for part in ("factor 0.1 of", "joint_limits.yaml", "a 0.1, b 0.3", "max_velocity"):
        assert part in slowed
    assert "acceleration_scaling_factor 0.2" in braked and "not applied" in braked
    assert said[2].startswith("velocity limits from") and "joint_limits.yaml × 0.1 (a)" in said[2]


def test_a_factor_that_slows_nothing_down_is_silent(tmp_path):
    text = "default_velocity_scaling_factor: 0.1\n" + YAML
    limits, said = made(tmp_path, yaml=text, max_velocity=[0.5, 0.5, 0.05])
    np.testing.assert_allclose(limits.max_step, np.array([0.5, 0.5, 0.05]) * PERIOD)
    assert not [s for s in said if isinstance(s, Doubt)]


@pytest.mark.parametrize(
    ("stated", "velocity"),
    [
        ("max_velocity: !degrees 90.0", math.pi / 2),
        ("max_velocity: !radians 0.7", 0.7),
        ("max_velocity: 1e-1", 0.1),
        ("max_velocity: 2", 2.0),
        ("max_velocity: 1.0, min_velocity: -0.4", 0.4),
        ("max_velocity: 0.3, min_velocity: -0.4", 0.3),
    ],
)
def test_numbers_as_limit_files_write_them(tmp_path, stated, velocity):
    limits, _ = made(tmp_path, ("a",), yaml=f"joint_limits: {{a: {{{stated}}}}}")
    assert limits.max_step[0] == pytest.approx(velocity * PERIOD)


def test_a_parameter_file_that_holds_the_limits_and_joints_of_another_arm(tmp_path):
    text = """
/**:
  ros__parameters:
    robot_description_planning:
      default_velocity_scaling_factor: 0.5
      joint_limits:
        a: {max_velocity: 1.0}
        wheel: {max_velocity: fast, nonsense: 1}
"""
    limits, _ = made(tmp_path, ("a",), yaml=text)
    assert limits.max_step[0] == pytest.approx(0.5 * PERIOD)


def test_a_joint_that_the_file_may_have_under_another_name_is_named(tmp_path):
    text = "joint_limits: {left_a: {max_velocity: 0.1}, b: {max_velocity: 1.0}}"
    limits, said = made(tmp_path, ("a", "b"), yaml=text)
    np.testing.assert_allclose(limits.max_step, np.array([2.0, 1.0]) * PERIOD)
    file = tmp_path / "joint_limits.yaml"
    assert said[-1] == (
        f"{file} has nothing of a (it has left_a): are the joints' names the same?"
    )
    _, said = made(tmp_path, ("a",), yaml="joint_limits: {x: {max_velocity: 0.1}, y: {}}")
    assert said[-1] == f"{file} has none of the joints that are commanded: it has 'x, y'"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("joint_limits: {a: {max_veloity: 2}}", r"a has max_veloity, .*is it max_velocity\)"),
        ("joint_limit: {a: {max_velocity: 2}}", r"'joint_limit' \(is it joint_limit"),
        (
            "joint_limits: {a: {}}\ndefault_velocity_scaling: 0.1",
            "default_velocity_scaling, which is unknown .is it default_velocity_scaling_factor",
        ),
        ("joint_limits: {a: {}}\ndefault_velocity_scaling_factor: 2", "is 2; it must be above 0"),
        ("joint_limits: {a: {}}\ndefault_velocity_scaling_factor: 0", "is 0; it must be above 0"),
        ("joint_limits: {a: {max_velocity: 1.0}, a: {max_velocity: 9.0}}", "has 'a' twice"),
        ("joint_limits: {a: {max_velocity: 1.0, max_velocity: 9.0}}", "has 'max_velocity' twice"),
        ("x: {joint_limits: {a: {}}}\ny: {joint_limits: {a: {}}}", "has 2 maps `joint_limits`"),
        ("joint_limits: [a]", "`joint_limits` is no map"),
        ("joint_limits: {a: {max_velocity: 0.0}}", r"velocity limit of a is 0; .*limits\.yaml\)"),
        ("joint_limits: {a: {max_velocity: '1,5'}}", "'1,5', not a number; decimals have a point"),
        ("joint_limits: {a: {max_velocity: !degrees pi}}", "'pi' is not a number"),
        ("joint_limits: {a: {min_velocity: 0.1}}", "min_velocity of a is 0.1; .* be negative"),
        ("joint_limits: {a: {has_velocity_limits: 0}}", "of a is 0, neither true nor false"),
        ("joint_limits: {a: {max_velocity: true}}", "max_velocity of a is True, not a number"),
        ("joint_limits: {a: {max_velocity: }}", "max_velocity of a is None, not a number"),
        ("joint_limits: {a: {max_velocity: !!timestamp x}}", "can't be read"),
    ],
)
def test_what_is_misspelt_or_can_not_be_meant_in_a_file_is_named(tmp_path, text, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        made(tmp_path, ("a",), yaml=text)
    assert str(tmp_path / "joint_limits.yaml") in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


# ------------------------------------------------------------------- descriptions


def control(params, name="a", interface="position"):
    inner = "".join(f'<param name="{k}">{v}</param>' for k, v in params.items())
    return (
        f'<ros2_control name="x" type="system"><joint name="{name}">'
        f'<command_interface name="{interface}">{inner}</command_interface></joint></ros2_control>'
    )


@pytest.mark.parametrize(
    ("soft", "controlled", "kept"),
    [
        ('soft_lower_limit="-0.5" soft_upper_limit="0.6"', {}, (-0.5, 0.6)),
        ('soft_lower_limit="-9" soft_upper_limit="0.6"', {}, (-1.5, 0.6)),
        ('soft_upper_limit="0.6"', {}, (-1.5, 0.6)),
        ('soft_lower_limit="0" soft_upper_limit="0"', {}, (-1.5, 1.5)),  # nobody filled it in
        ('k_velocity="1"', {"min": "-0.2", "max": "0.3"}, (-0.2, 0.3)),
        ('soft_lower_limit="-0.1"', {"min": "-0.2", "max": "9"}, (-0.1, 1.5)),
    ],
)
def test_the_narrowest_position_limit_of_a_description_is_kept(soft, controlled, kept):
    urdf = robot_of(
        revolute(beside=f'<safety_controller {soft} k_velocity2="1"/>'), beside=control(controlled)
    )
    limits, said = described(urdf)
    assert (limits.lower[0], limits.upper[0]) == kept
    part = {-0.5: " (soft limit)", -0.1: " (soft limit)", -0.2: " (ros2_control)", -1.5: ""}
    assert said[0] == f"lower position limits from robot_description{part[kept[0]]}"


def test_ros2_control_s_velocities_and_the_limit_s_own_accelerations():
    urdf = robot_of(
        revolute(limit='lower="-1" upper="1" velocity="2" acceleration="9" deceleration="4"'),
        beside=control({"min": "-0.5", "max": "1"}, interface="velocity"),
    )
    limits, said = described(urdf)
    assert limits.max_step[0] == pytest.approx(0.5 * PERIOD)
    assert limits.max_bend[0] == pytest.approx(4.0 * PERIOD**2)
    assert "velocity limits from robot_description (ros2_control)" in said


def test_what_does_not_keep_a_description_from_being_read():
    limits, _ = described(
        '\n<?xml version="1.0"?><!-- from a <!DOCTYPE html> page -->'
        + robot_of(revolute()).replace("<robot", '<robot xmlns="http://example.org/urdf"')
    )
    assert limits.upper[0] == 1.5


def test_a_joint_that_mimics_another_is_named():
    _, said = described(robot_of(revolute(beside='<mimic joint="b" multiplier="-1"/>')))
    assert isinstance(said[-1], Doubt) and said[-1].startswith("a mimics b in the robot descript")


@pytest.mark.parametrize(
    ("joint", "numbers"),
    [
        (revolute(limit='lower="-90" upper="90" velocity="2"'), "lower=-90.* rad .*degrees"),
        (revolute(limit='lower="-1" upper="1" velocity="180"'), "velocity=180.* rad/s .*degrees"),
        (revolute(limit='lower="-1e16" upper="1e16" velocity="1"'), r"lower=-1e\+16.* no limit"),
        (
            revolute(limit='lower="0" upper="80" velocity="1"', kind="prismatic"),
            "upper=80.* m .*millimetres",
        ),
        (revolute(limit='lower="1" upper="-1" velocity="2"'), "lower=1, upper=-1 of a"),
        (revolute(limit='lower="nan" upper="1" velocity="2"'), "lower=nan, upper=1 of a"),
        (revolute(limit='effort="5" velocity="2"'), "lower=left out, upper=left out of a"),
        (revolute("left_a"), r"has no joint a \(it has left_a\)"),
        (revolute(kind="fixed"), "has a as a joint of type fixed"),
        (revolute() + revolute(), "has joint a 2 times"),
        (revolute(limit='lower="-1,5" upper="1" velocity="2"'), "'-1,5' .*decimals have a point"),
        (revolute(limit='lower="$(arg lo)" upper="1" velocity="2"'), "arg lo.* let xacro"),
        (revolute("${side}_a"), "still has name='\\${side}_a'; let xacro"),
        ('<xacro:arm xmlns:xacro="http://www.ros.org/wiki/xacro"/>', "still has <xacro:arm>; let"),
        ("<xacro:arm/>", "is not XML .*let xacro"),
        (revolute(limit='lower="1_0" upper="20" velocity="2"'), "'1_0' of joint a, which is no"),
        (
            revolute(beside='<safety_controller soft_lower_limit="1" soft_upper_limit="-1"/>'),
            "soft_lower_limit=1, soft_upper_limit=-1 of a",
        ),
    ],
)
def test_what_can_not_be_meant_in_a_description_is_refused_by_its_numbers(joint, numbers):
    with pytest.raises(ConfigurationError, match=numbers) as refused:
        described(robot_of(joint))
    assert len(str(refused.value).splitlines()) == 1


def test_what_a_parameter_sets_need_not_be_right_in_the_description():
    urdf = robot_of(revolute(limit='lower="-90" upper="90" velocity="2"'))
    limits, _ = described(urdf, position_lower=[-1.0], position_upper=[1.0])
    assert limits.upper[0] == 1.0 and limits.max_step[0] == 2.0 * PERIOD


@pytest.mark.parametrize("before", ["<?a <!-- ?>", "<!-- <?x -->", " <?xml version='1.0'?>\n"])
def test_no_document_type_hides_behind_what_looks_like_a_comment(before):
    text = before + '<!DOCTYPE r [<!ENTITY e "x">]><?b --> ?>' + robot_of(revolute())
    with pytest.raises(ValueError, match="declares a document type"):
        urdf_limits(text)


# ------------------------------------------------------------------- any input


_KEYS = st.sampled_from(
    [*("a", "b", "joint_limits", "max_velocity", "has_velocity_limits", "min_position", "<<")]
    + ["max_position", "default_velocity_scaling_factor", "max_acceleration", "ros__parameters"]
)
_PLAIN = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=5), st.dates()
)
_TREES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(_KEYS, _PLAIN), inner, max_size=5)
    ),
    max_leaves=12,
)
_PIECES = st.lists(
    st.sampled_from(
        [
            *("joint_limits:", " a:", "\n", "  ", "max_velocity: ", "{", "}", "[", "]"),
            *("&x ", "*x"),
            *("!!int ", "!!timestamp x", "!!bool 1", "!degrees ", "- ", "? ", "<<: "),
            *("1e400", "'"),
            *("!!float ", "!!binary x", "!!set ", "!!omap ", "!!python/object:os.system "),
            *("0x", ","),
        ]
    ),
    max_size=12,
).map("".join)
_ENTRIES = st.dictionaries(
    st.sampled_from(["max_velocity", "min_position", "max_position", "max_acceleration"]),
    st.one_of(st.floats(), st.sampled_from(["1e-1", "inf", "fast", True])),
)


def sound_or_refused(p, joints=("a", "b")):
    """Whatever is stated: limits that are limits, or a sentence; nothing else."""
    try:
        limits, said = joint_limits(p, list(joints), PERIOD, lambda: "")
    except ConfigurationError as error:
        assert str(error)
        return None
    assert (limits.max_step > 0).all() and np.isfinite(limits.max_step).all()
    assert (limits.lower < limits.upper).all() and not np.isnan([limits.lower, limits.upper]).any()
    assert all(isinstance(s, str) and s for s in said)
    return limits


@settings(max_examples=150, deadline=None)
@given(st.one_of(_TREES.map(lambda t: yaml.safe_dump(t)), _PIECES, st.text()))
def test_any_file_gives_limits_or_one_sentence(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    sound_or_refused(parameters(joint_limits_file=str(file), robot_description=URDF))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "A"]), _ENTRIES), st.floats())
def test_any_numbers_in_a_file_give_limits_or_one_sentence(tmp_path_factory, entries, factor):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    tree = {"joint_limits": entries, "default_velocity_scaling_factor": factor}
    file.write_text(yaml.safe_dump(tree))
    sound_or_refused(parameters(joint_limits_file=str(file), robot_description=URDF))


_NUMBERS = st.one_of(
    st.floats().map(repr), st.sampled_from(["", "1,5", "${x}", "1e999", "-0", " 2 ", "\u0661"])
)
_ATTRIBUTES = st.dictionaries(
    st.sampled_from(["lower", "upper", "velocity", "effort", "acceleration", "soft_lower_limit"]),
    _NUMBERS,
).map(lambda d: " ".join(f'{k}="{v}"' for k, v in d.items()))
_JOINTS = st.builds(
    lambda name, kind, limit, soft, low: revolute(
        name, limit, f"<safety_controller {soft}/><mimic/>", kind
    )
    + control({"min": low}, name),
    st.sampled_from(["a", "b", "c", ""]),
    st.sampled_from(["revolute", "continuous", "prismatic", "fixed", "floating", ""]),
    _ATTRIBUTES,
    _ATTRIBUTES,
    _NUMBERS,
)
_XML = st.lists(
    st.sampled_from(
        [
            *("<robot>", "</robot>", "<joint", ' name="a"', ' type="revolute"', ">", "/>"),
            "</joint>",
            *("<limit", ' velocity="1"', "<!--", "-->", "<?x", "?>", "<!DOCTYPE x>", "&x;"),
            "&amp;",
            *("<![CDATA[", "]]>", '<?xml version="1.0" encoding="UTF-16"?>', "\ufeff", "\x00"),
        ]
    ),
    max_size=14,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.lists(_JOINTS, max_size=4).map(lambda j: robot_of(*j)), _XML, st.text()))
def test_any_description_gives_limits_or_one_sentence(text):
    sound_or_refused(parameters(robot_description=text))


@settings(max_examples=100, deadline=None)
@given(*[st.lists(st.floats(), min_size=2, max_size=2) for _ in range(5)])
def test_any_parameters_give_limits_or_one_sentence(lower, upper, velocity, acceleration, jerk):
    sound_or_refused(
        parameters(
            position_lower=lower, position_upper=upper, max_velocity=velocity,
            max_acceleration=acceleration, max_jerk=jerk, robot_description=URDF,
        )
    )  # fmt: skip


ARM = ["shoulder_pan", "elbow_flex", "wrist_roll", "gripper"]


def about_degrees(tmp_path, yaml="joint_limits: {}", joints=ARM, **changes):
    """Return what is said of degrees; "" for nothing."""
    file = tmp_path / "joint_limits.yaml"
    file.write_text(yaml)
    limits = {"position_lower": [-2.0], "position_upper": [2.0], "max_velocity": [1.0]}
    p = parameters(**{**limits, "joint_limits_file": str(file), **changes})
    _, said = joint_limits(p, joints, PERIOD, lambda: "")
    found = [s for s in said if isinstance(s, Degrees)]
    assert len(found) <= 1
    return found[0] if found else ""


def test_limits_in_degrees_are_named_with_their_numbers_wherever_they_come_from(tmp_path):
    said = about_degrees(
        tmp_path,
        position_lower=[-109.0, -97.0, -160.0, -10.0],
        position_upper=[109.0, 97.0, 160.0, 100.0],
        max_velocity=[28.6],
    )
    assert said.sure and "shoulder_pan -109 to 109 (parameter position_upper)" in said
    assert "shoulder_pan 28.6 (parameter max_velocity)" in said and "gripper" not in said
    assert said.endswith("of shoulder_pan would be -1.9 to 1.9 and 0.499/s"), said
    entries = ", ".join(
        f"{j}: {{min_position: -109, max_position: 109, max_velocity: 1.0}}" for j in ARM[:3]
    )
    nans = [NAN, NAN, NAN, 1.0]
    said = about_degrees(
        tmp_path, f"joint_limits: {{{entries}}}",
        position_lower=[NAN, NAN, NAN, 0.0], position_upper=nans, max_velocity=nans,
    )  # fmt: skip
    assert said.sure and f"elbow_flex -109 to 109 ({tmp_path}/joint_limits.yaml)" in said
    assert "velocity" not in said


@pytest.mark.parametrize(
    ("changes", "sure"),
    [
        ({"max_velocity": [28.6]}, False),
        ({"max_velocity": [180.0], "position_lower": [-6.3], "position_upper": [6.3]}, True),
        ({"position_upper": [2.0, 90.0, 2.0, 2.0]}, False),  # one joint: a lift in millimetres?
        ({"position_upper": [90.0, 90.0, 2.0, 2.0]}, True),
    ],
)
def test_the_more_joints_limits_are_so_the_surer_it_is(tmp_path, changes, sure):
    said = about_degrees(tmp_path, **changes)
    assert said and said.sure is sure


@pytest.mark.parametrize(
    "changes",
    [
        {"position_lower": [-12.5663706144], "position_upper": [12.5663706144]},  # wrists have
        {"max_velocity": [20.943946]},  # OpenArm
        {"position_lower": [-2.0, -2.0, -2.0, 0.0], "position_upper": [2.0, 2.0, 2.0, 4095.0],
         "max_velocity": [1.0, 1.0, 1.0, 900.0]},
        {"position_lower": [-2.0, -2.0, -math.inf, -2.0],
         "position_upper": [2.0, 2.0, math.inf, 2.0], "wrap_joints": ["wrist_roll"]},
    ],
)  # fmt: skip
def test_limits_that_arms_and_grippers_have_are_not_taken_for_degrees(tmp_path, changes):
    assert not about_degrees(tmp_path, **changes)


def test_a_wrist_of_two_turns_in_a_description_is_believed():
    joint = revolute(limit='lower="-12.5663706144" upper="12.5663706144" velocity="2"')
    limits, _ = described(robot_of(joint))
    assert limits.upper[0] == 12.5663706144


@pytest.mark.ros
def test_the_first_motion_is_soft_where_a_file_states_no_velocity(robot, tmp_path):
    """A chunk far away; the URDF's 2 rad/s, at the file's tenth, with 1 s of soft start."""
    file = tmp_path / "joint_limits.yaml"
    file.write_text(
        "default_velocity_scaling_factor: 0.1\n"
        "joint_limits: {a: {has_velocity_limits: false, max_velocity: 0}}\n"
    )
    arm = robot.listen(Float64MultiArray, "arm/commands")
    robot.start(
        max_velocity=[math.inf, 1.0, 1.0],
        joint_limits_file=str(file),
        robot_description=URDF,
        soft_start=1.0,
    )
    robot.until_it_has_listeners()
    robot.begin()
    robot.write(np.full((50, 3), 0.9))
    robot.until(lambda: len(arm) > 15, "commands")
    at = np.array([message.data[1] for message in arm])  # the group's joints are b, a
    softened = 0.2 * PERIOD * np.minimum(1.0, np.arange(1, len(at) + 1) / 51)
    assert at[0] > 0 and (np.diff(at, prepend=0.0) <= softened + 1e-12).all()
    warned = [line for line in robot.logs().splitlines() if "WARN" in line]
    assert any("max_velocity of a is inf" in line and "0.2" in line for line in warned)
    assert any("default_velocity_scaling_factor 0.1" in line for line in warned)


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
    assert (
        "upper position limits from robot_description (a, c); none for b (robot_description)\n"
        in robot.logs()
    )
    assert "velocity limits from robot_description (a, b); parameter max_velocity (c)\n" in (
        robot.logs()
    )
