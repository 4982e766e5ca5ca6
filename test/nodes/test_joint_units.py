"""Which joints and units the policy's actions and its state have."""

import math

import numpy as np
import pytest

from rtc_ros.inference.checks import policy_problems
from rtc_ros.inference.parameters import INFERENCE
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameters import ConfigurationError

NAN = math.nan


def units(**changes):
    values = {p.name: p.default for p in INFERENCE} | {"joints": ["wrist", "motor"]}
    return PolicyUnits.of(values | changes)


def test_a_policy_is_shown_the_joints_that_it_commands_where_nothing_else_is_said():
    both = units(joint_scale=[2.0, -4.0], joint_offset=[0.5, 1.0])
    for own in (both.actions, both.state):
        assert own.joints == ("wrist", "motor")
        np.testing.assert_array_equal(own.to_policy(np.array([1.0, 1.0])), [2.5, -3.0])
        np.testing.assert_array_equal(own.to_robot(np.array([2.5, -3.0])), [1.0, 1.0])


def test_a_state_of_other_joints_has_numbers_of_its_own_and_the_actions_where_none_are_set():
    both = units(
        joint_scale=[2.0, 3.0],
        joint_offset=[0.5, 0.0],
        state_joints=["wrist", "finger"],
        state_scale=[NAN, 50.0],
        state_offset=[NAN, -1.0],
    )
    assert both.state.joints == ("wrist", "finger") and both.actions.joints == ("wrist", "motor")
    np.testing.assert_allclose(both.state.to_policy(np.array([1.0, 0.04])), [2.5, 1.0])


def test_a_state_may_have_more_joints_than_are_commanded_and_other_units():
    both = units(state_joints=["base", "wrist", "motor"], state_scale=[1.0], state_offset=[0.1])
    assert both.state.joints == ("base", "wrist", "motor")
    np.testing.assert_allclose(both.state.offset, 0.1)
    np.testing.assert_allclose(both.actions.offset, 0.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"state_joints": ["wrist", "finger"]},
            "state_scale must be set for finger, which is",
        ),
        (
            {"state_joints": ["a", "b"], "state_scale": [1.0]},
            "state_offset must be set for a, b, which are not",
        ),
        ({"joints": ["wrist", "wrist"]}, "parameter joints names wrist more than once"),
        ({"state_joints": ["wrist", "wrist"]}, "state_joints names wrist more than once"),
        ({"state_scale": [1.0, 0.0]}, "a state_scale is 0"),
        ({"joint_scale": [0.0]}, "a joint_scale is 0"),
        ({"joint_scale": [1.0, math.inf]}, "joint_scale and joint_offset must be finite"),
        ({"state_offset": [math.inf]}, "state_scale and state_offset must be finite"),
        ({"state_scale": [1.0] * 3}, "state_scale has 3 values for 2 joints"),
        ({"joint_scale": [NAN]}, "joint_scale must be set"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(changes, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        units(**changes)


def test_two_cameras_may_not_have_one_feature():
    spec = PolicySpec(50, 2, 2, 10, {"top": (96, 96), "side": (96, 96)})
    assert not policy_problems(spec, units(), ["top", "side"])
    (said,) = policy_problems(spec, units(), ["top", "side", "top"])
    assert said.startswith("top comes from 2 cameras; give each its own camera.NAME.feature")
