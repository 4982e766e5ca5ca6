"""A pose in other units, with the arms exchanged, or far from the training data is noticed."""

import numpy as np
import pytest

from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.shipped import checkpoint_path
from rtc_ros.policy.state_spread import StateSpread

JOINTS = [f"{side}_{i}" for side in ("left", "right") for i in range(3)]
DEGREES = StateSpread(np.array([10.0, -60.0, 80.0, 30.0, -20.0, 70.0]), np.full(6, 12.0))


def test_the_shipped_checkpoint_s_own_mean_is_fine():
    spread = read_checkpoint(checkpoint_path("package:aloha_cube")).state_spread
    names = [str(i) for i in range(len(spread.middle))]
    assert spread.misfit(spread.middle, names) is None
    assert spread.misfit(spread.middle + 2 * spread.width, names) is None


@pytest.mark.parametrize(("factor", "said"), [(np.pi / 180, "radians"), (180 / np.pi, "degrees")])
def test_other_units_are_named_with_the_factor(factor, said):
    spread = DEGREES if factor < 1 else StateSpread(np.radians(DEGREES.middle), np.full(6, 0.2))
    found = spread.misfit(spread.middle * factor, JOINTS)
    assert found.units and f"the states look like {said}" in found.sentence
    assert f"{1 / factor:.4g}" in found.sentence


def test_exchanged_arms_and_a_joint_far_away():
    exchanged = DEGREES.misfit(np.roll(DEGREES.middle, 3), JOINTS)
    assert "the first and the second arm exchanged" in exchanged.sentence
    far = DEGREES.middle + np.array([0, 0, 0, 0, 100.0, 0])
    found = DEGREES.misfit(far, JOINTS)
    assert not found.units
    assert found.sentence.startswith("right_1 is at 80 (policy units), 8 standard deviations")


def test_a_joint_that_never_moved_in_the_data_tells_nothing():
    still = StateSpread(np.zeros(6), np.zeros(6))
    assert still.misfit(np.full(6, 50.0), JOINTS) is None


@pytest.mark.parametrize("steps", [[], [{"registry_name": "normalizer_processor"}]])
def test_a_checkpoint_that_does_not_say_has_none(tmp_path, steps):
    assert StateSpread.of(tmp_path, {}, {"steps": steps}) is None
