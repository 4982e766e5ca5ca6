"""Which policies fit a recording: joints, what of them a policy is shown, and cameras."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rtc_ros.bags.reader import BagError
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint
from rtc_ros.replay.recorded_policy import check_policy, load_policy

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


def test_images_that_were_left_out_are_left_out_again(tmp_path):
    top, wrist = "observation.images.top", "observation.images.wrist"
    cameras = dict.fromkeys((top, wrist), (64, 64))
    sizes = TinySpec(action_dim=2, state_dim=3, image_features=cameras)
    both, one = tmp_path / "both", tmp_path / "one"
    write_tiny_checkpoint(both, sizes)
    write_tiny_checkpoint(one, replace(sizes, image_features={top: (64, 64)}))
    settings = {**SETTINGS, "policy_path": str(both), "device": "cpu", "left_out_images": [wrist]}
    recording = SimpleNamespace(settings=settings)
    policy = load_policy(recording, None)
    assert set(policy.spec.image_features) == {top}
    check_policy(recording, policy)
    # Another policy may not have them at all; an older recording doesn't say so.
    check_policy(recording, load_policy(recording, str(one)))
    del settings["left_out_images"]
    with pytest.raises(BagError, match=f"the policy sees {top}, {wrist}, recorded were {top}"):
        check_policy(recording, load_policy(recording, None))


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
