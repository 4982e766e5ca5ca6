"""An arm that doesn't follow its commands is noticed, and when it is back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.core.following import FollowingGuard
from rtc_ros.core.limits import JointLimits

INF = np.inf


def guard(tolerance, patience=3, limits=None):
    names = ["a", "b"]
    return FollowingGuard(np.array(tolerance), names, limits or JointLimits.none(2), patience)


def said(made, *errors):
    """Return what is said tick by tick of a joint `a` that is this far from its command."""
    return [made.problem(np.array([1.0 + e, 7.0]), np.array([1.0, 0.0])) for e in errors]


def test_it_has_to_last_and_to_be_within_half_of_it_again():
    told = said(guard([0.4, INF]), 0.5, 0.5, 0.5, 0.5, -0.3, 0.21, 0.19, 0.3, 0.5)
    assert [bool(t) for t in told] == [False] * 3 + [True] * 3 + [False] * 3
    assert told[3].startswith("a is 0.5 from its command and doesn't follow (following_tolerance")


def test_a_moment_is_none():
    assert not any(said(guard([0.4, INF]), *([0.5] * 3 + [0.1]) * 5))


def test_a_new_start_forgets_it():
    made = guard([0.4, INF], patience=0)
    assert said(made, 0.5)[0]
    assert not made.problem(np.array([9.0, 9.0]), None)
    assert not said(made, 0.3)[0]


def test_whole_turns_are_no_error():
    limits = JointLimits(-np.full(2, INF), np.full(2, INF), np.ones(2), turn=np.full(2, 2 * np.pi))
    made = guard([0.1, 0.1], 0, limits)
    assert not made.problem(np.array([-3.1, 0.0]), np.array([3.15, 4 * np.pi]))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_one_tolerance_for_all_that_is_infinite_never_binds(errors):
    made = FollowingGuard(np.array([INF]), ["a", "b"], JointLimits.none(2), 0)
    assert not any(said(made, *errors))
