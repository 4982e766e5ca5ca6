"""What leaves for a driver is a number, in every message type."""

from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time

from rtc_ros.controller.command_output import PAST, CommandGroup
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.core.limits import JointLimits
from rtc_ros.ros.parameters import ConfigurationError

DT = 0.02
LIMITS = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0] * 2, DT, [8.0] * 2)
BAD = [float("nan"), float("inf"), -float("inf"), 1e39]


class Publishers:
    """A node that notes what is published."""

    def __init__(self):
        self.sent = []

    def create_publisher(self, *_, **__):
        return SimpleNamespace(publish=self.sent.append)


def group(node, kind):
    joints = ("b", "a")
    return CommandGroup(node, GroupParameters("arm", "arm", kind, joints, joints, "", 0.0),
                        ("a", "b"), DT, LIMITS)  # fmt: skip


@pytest.mark.parametrize("kind", ["joint_state", "float64_multi_array", "joint_trajectory"])
@pytest.mark.parametrize("bad", BAD)
def test_a_row_with_what_is_no_number_is_named_and_not_sent(kind, bad):
    node = Publishers()
    made = group(node, kind)
    command = SimpleNamespace(sends=True, target=np.array([bad, 0.1]))
    with pytest.raises(ArithmeticError, match=rf"^a would be sent {bad}$".replace("+", r"\+")):
        made.prepare(command, lambda: None, Time(), lambda: 0.0)
    made.publish(0)
    assert not node.sent
    made.prepare(SimpleNamespace(sends=True, target=np.full(2, 0.1)), None, Time(), lambda: 0.0)
    made.publish(0)
    assert len(node.sent) == 1


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, PAST, -1])
def test_a_trajectory_with_what_is_no_number_is_named_and_not_sent(bad, place):
    node, way = Publishers(), np.zeros((PAST + 5, 2))
    way[place, 1] = bad
    made = group(node, "joint_trajectory_chunk")
    command = SimpleNamespace(executes=True, played=SimpleNamespace(swap="one"))
    with pytest.raises(ArithmeticError, match="^b would be sent"):
        made.prepare(command, lambda: way, Time(), lambda: 0.0)
    made.publish(0)
    assert not node.sent
    made.prepare(command, lambda: np.zeros((PAST + 5, 2)), Time(), lambda: 0.0)
    made.publish(0)
    assert len(node.sent) == 1 and made.playing


def test_a_driver_of_chunks_is_known_to_be_behind_by_what_it_was_sent_ahead():
    kinds = ("joint_state", "joint_trajectory", "joint_trajectory_chunk")
    assert [group(Publishers(), kind).behind for kind in kinds] == [0, 0, 2]
    for periods in (0.5, 1.5, 3.5):  # it would bend the curve at each swap
        parameters = GroupParameters(
            "arm", "arm", kinds[2], ("b", "a"), ("b", "a"), "", periods * DT
        )
        with pytest.raises(ConfigurationError, match=r"from 0\.04 to 0\.06 s only"):
            CommandGroup(Publishers(), parameters, ("a", "b"), DT, LIMITS)
    unlimited = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0] * 2, DT)
    for due_s, behind in ((0.0, 0), (2 * DT, 1), (3 * DT, 2), (9 * DT, PAST)):
        parameters = GroupParameters("arm", "arm", kinds[2], ("b", "a"), ("b", "a"), "", due_s)
        made = CommandGroup(Publishers(), parameters, ("a", "b"), DT, unlimited)
        assert made.behind == behind, due_s
