"""Which policies fit a recording: joints, what of them a policy is shown, and cameras."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rtc_ros.bags.reader import BagError
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.replay.recorded_policy import check_policy

SPEC = PolicySpec(50, 2, 3, 10, {"observation.images.top": (96, 96)})
SETTINGS = {
    "joints": ["waist", "gripper"],
    "state_joints": ["waist", "left_finger", "right_finger"],
    "cameras": {"observation.images.top": "top/image_raw"},
}


def check(spec=SPEC, **changes):
    policy = SimpleNamespace(spec=spec)
    check_policy(SimpleNamespace(settings={**SETTINGS, **changes}), policy)


def test_a_policy_may_be_shown_other_joints_than_it_commands():
    check()
    # Nothing chosen: the commanded joints, as in recordings of before there was a choice.
    check(replace(SPEC, state_dim=2), state_joints=[])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (replace(SPEC, state_dim=2), "2 actions and 2 states, the recording 2 joints and 3 that"),
        (replace(SPEC, action_dim=3), "3 actions and 3 states, the recording 2 joints and 3 that"),
        (replace(SPEC, image_features={}), "the policy sees no camera, recorded were observation"),
    ],
)
def test_one_that_does_not_fit_is_refused_with_the_numbers(spec, sentence):
    with pytest.raises(BagError, match=sentence):
        check(spec)
