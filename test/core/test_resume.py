"""After a fault: an arm that stands where it was commanded goes on, a moved one does not."""

import numpy as np

from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.resume import ResumeGuard

COMMAND = np.array([0.5, 0.0])


class Guard(ResumeGuard):
    """Its joint states are news at each call, unless a test says otherwise."""

    now = 0

    def problem(self, mode, measured, command, news=True):
        self.now += news
        return super().problem(mode, measured, command, np.full(2, self.now))


def guard(*tolerance, limits=None):
    return Guard(np.array(tolerance or (0.1, 0.1)), ["arm", "hand"], limits)


def test_only_growth_of_the_following_error_beyond_the_tolerance_counts():
    made, hold = guard(), Mode.FAULT
    lagging = COMMAND + [0.05, -0.6]  # the hand holds something and can't close
    assert made.problem(Mode.RUNNING, lagging, COMMAND) == ""
    assert made.problem(hold, lagging, COMMAND) == ""
    assert made.problem(hold, COMMAND + [0.14, -0.6], COMMAND) == ""
    said = made.problem(hold, COMMAND + [0.16, -0.6], COMMAND)
    assert said.startswith("arm is 0.16 from its last command, and was 0.05 before the fault")
    assert "hand" in made.problem(hold, COMMAND + [0.05, 0.75], COMMAND)
    assert made.problem(hold, lagging, COMMAND) == "", "back where it was"


def test_where_the_joint_states_are_seen_all_the_time_nothing_is_held_against_them():
    made = guard()
    made.problem(Mode.RUNNING, COMMAND, COMMAND)
    assert made.problem(Mode.STARVED, COMMAND + [0.0, 0.5], COMMAND) == "", "the hand closed"
    assert made.problem(Mode.FAULT, COMMAND + [0.0, 0.5], COMMAND) == ""


def test_a_fault_does_not_become_the_new_measure():
    made = guard()
    made.problem(Mode.RUNNING, COMMAND, COMMAND)
    for apart in np.linspace(0, 0.3, 31):
        said = made.problem(Mode.FAULT, COMMAND + [apart, 0], COMMAND)
        assert bool(said) == (apart > 0.1 + 1e-12)


def test_a_new_run_begins_anew():
    made = guard()
    made.problem(Mode.RUNNING, COMMAND, COMMAND)
    assert made.problem(Mode.FAULT, COMMAND + 1, COMMAND)
    assert made.problem(Mode.WAITING, COMMAND + 1, None) == ""
    assert made.problem(Mode.RUNNING, COMMAND + 1, COMMAND) == ""
    assert made.problem(Mode.FAULT, COMMAND + 1, COMMAND) == ""


def test_without_a_tolerance_any_pose_will_do():
    made = guard(np.inf, 0.1)
    made.problem(Mode.RUNNING, COMMAND, COMMAND)
    assert made.problem(Mode.FAULT, COMMAND + [9.0, 0.0], COMMAND) == ""
    assert "hand" in made.problem(Mode.FAULT, COMMAND + [9.0, 9.0], COMMAND)


def test_commands_that_went_on_while_nobody_saw_the_arm_are_no_lag():
    """An emergency stop at speed: the arm stands, the commands go on until the timeout."""
    made = guard()
    made.problem(Mode.RUNNING, COMMAND - [0.04, 0], COMMAND)
    for ahead in np.linspace(0.0, 0.5, 26):
        made.problem(Mode.RUNNING, COMMAND - [0.04, 0], COMMAND + [ahead, 0], news=False)
    last = COMMAND + [0.5, 0]
    said = made.problem(Mode.FAULT, COMMAND - [0.04, 0], last)
    assert said.startswith("arm is 0.54 from its last command, and was 0.04 before the fault")
    assert made.problem(Mode.FAULT, last - [0.04, 0], last) == "", "it followed unseen"


def test_whole_turns_of_an_endless_joint_are_no_distance():
    free = np.full(2, np.inf)
    limits = JointLimits(-free, free, free, turn=np.array([2 * np.pi, 0.0]))
    made, turned = guard(limits=limits), np.array([6.4, 0.0])
    made.problem(Mode.RUNNING, turned - [2 * np.pi, 0], turned)
    assert made.problem(Mode.FAULT, turned - [2 * np.pi - 0.05, 0], turned) == ""
    assert made.problem(Mode.FAULT, turned + [2 * np.pi, 0], turned) == ""
    said = made.problem(Mode.FAULT, turned - [2 * np.pi - 2.5, 0], turned)
    assert said.startswith("arm is 2.5 from its last command, and was ")
