from __future__ import annotations

from rtc_ros.sim.episodes import EpisodeRule, out_of_play
from rtc_ros.sim.robot import TaskState

LYING = TaskState((0.1, 0.5, 0.02), "none", False, True)
LIFTED = TaskState((0.0, 0.5, 0.25), "right", False, False)
PASSED = TaskState((-0.1, 0.5, 0.25), "left", True, False)
PUSHED_AWAY = TaskState((-0.1, 0.5, 0.02), "none", False, False)


def test_a_cube_is_out_of_play_when_passed_or_out_of_the_right_hands_region() -> None:
    states = [LYING, LIFTED, PASSED, PUSHED_AWAY]
    assert [out_of_play(s) for s in states] == [False, False, True, True]


def test_nothing_is_ever_due_by_default() -> None:
    rule = EpisodeRule()
    assert {rule.due(t, s) for t in (0.0, 1e6) for s in (LYING, PASSED, PUSHED_AWAY)} == {""}


def test_an_episode_is_reset_after_its_length() -> None:
    rule = EpisodeRule(length_s=5.0)
    assert [rule.due(t, LYING) for t in (10.0, 14.9, 15.0)] == ["", "", "reset"]
    rule.restart(15.0)
    assert [rule.due(t, LYING) for t in (15.1, 20.0)] == ["", "reset"]
    assert rule.episodes == 2


def test_a_new_cube_comes_when_the_old_one_was_out_of_play_for_long_enough_without_a_break() -> (
    None
):
    rule = EpisodeRule(new_cube_after_s=3.0)
    assert rule.due(0.0, LIFTED) == ""
    assert rule.due(1.0, PASSED) == ""
    assert rule.due(3.0, LIFTED) == "", "taken back: the wait starts again"
    assert rule.due(3.5, PASSED) == ""
    assert rule.due(6.4, PASSED) == ""
    assert rule.due(6.5, PASSED) == "new_cube"


def test_a_pass_counts_once_per_cube() -> None:
    rule = EpisodeRule(new_cube_after_s=100.0)
    for t, state in enumerate([LIFTED, PASSED, PASSED, LIFTED, PASSED]):
        rule.due(float(t), state)
    assert rule.passes == 1
    rule.restart(9.0)
    rule.due(10.0, PASSED)
    assert rule.passes == 2


def test_a_cube_that_was_put_back_counts_again_when_it_is_passed_again() -> None:
    rule = EpisodeRule(new_cube_after_s=100.0)
    for t, state in enumerate([LYING, PASSED, LIFTED, LYING, LYING, LIFTED, PASSED, PUSHED_AWAY]):
        rule.due(float(t), state)
    assert (rule.passes, rule.put_backs) == (2, 1)
