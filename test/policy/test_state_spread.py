"""A pose in other units, with the arms exchanged, or far from the training data is noticed."""

import numpy as np
import pytest

from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
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
    assert exchanged.order, "that explains all of it"
    far = DEGREES.middle + np.array([0, 0, 0, 0, 100.0, 0])
    found = DEGREES.misfit(far, JOINTS)
    assert not found.units and not found.order
    assert found.sentence.startswith("right_1 is at 80 (policy units), 8 standard deviations")


@pytest.mark.parametrize("pair", [(1, 2), (0, 5), (2, 4)])
def test_two_exchanged_joints_are_named(pair):
    at = DEGREES.middle + 0.5 * DEGREES.width
    at[list(pair)] = at[list(pair[::-1])]
    found = DEGREES.misfit(at, JOINTS)
    assert found.order and "with these two exchanged every joint fits" in found.sentence
    assert all(JOINTS[i] in found.sentence for i in pair)
    at[[i for i in range(6) if i not in pair][0]] += 100.0
    assert not DEGREES.misfit(at, JOINTS).order, "that is no order of these joints"


@pytest.mark.parametrize("width", [0.0, 1e-7])
def test_a_joint_that_never_moved_in_the_data_is_named_once_it_is_elsewhere(width):
    """LeRobot divides by its spread: 0.0001 rad of noise would be shown to the policy as 1e4."""
    middle = np.array([0.3, -0.5, 0.8, 0.1, 1.2, -0.7])
    spread = StateSpread(middle, np.array([0.2, 0.2, width, 0.2, 0.2, 0.2]))
    assert spread.still.tolist() == [False, False, True, False, False, False]
    for off in (0.0, 5e-7):  # what float32 makes of a value that is the same
        at = middle + np.array([0.1, 0, off, 0, 0, 0])
        assert spread.misfit(at, JOINTS) is None and spread.blinding(at, JOINTS) is None
    for off in (1e-4, 0.05):
        found = spread.misfit(middle + np.array([0, 0, off, 0, 0, 0]), JOINTS)
        assert found == spread.blinding(middle + np.array([0, 0, off, 0, 0, 0]), JOINTS)
        assert found.blinding and found.sentence.startswith("left_2 never moved")
        assert f"{off / (width + 1e-8):.1g}" in found.sentence and "0.8" in found.sentence
        assert "state_offset 0.8" in found.fix


def test_all_joints_that_never_moved_are_named():
    still = StateSpread(np.zeros(6), np.zeros(6))
    found = still.misfit(np.full(6, 50.0), JOINTS)
    assert found.blinding and all(joint in found.sentence for joint in JOINTS)


@pytest.mark.parametrize("steps", [[], [{"registry_name": "normalizer_processor"}]])
def test_a_checkpoint_that_does_not_say_has_none(tmp_path, steps):
    assert StateSpread.of(tmp_path, {}, {"steps": steps}) is None
