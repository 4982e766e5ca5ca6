"""One message is read alike by the nodes, by preflight, and from a recording."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState

from rtc_ros.bags.joint_columns import JointColumns
from rtc_ros.preflight import joints as preflight
from rtc_ros.preflight.probe import Heard
from rtc_ros.ros.joint_input import JointInput

pytestmark = pytest.mark.ros

NAN, INF = float("nan"), float("inf")
LAST = [0.7, 0.8]
"""What was measured before."""

CASES = {
    "plain": (["a", "b"], [0.1, 0.2], [0.1, 0.2], ""),
    "in another order, with others": (["x", "b", "a"], [9.0, 0.2, 0.1], [0.1, 0.2], ""),
    "one joint only": (["b"], [0.2], [0.7, 0.2], ""),
    "twice, two positions": (
        ["a", "b", "a"], [0.1, 0.2, 1.5], [0.7, 0.2],
        "{}a is twice in a message, at 0.1 and at 1.5",
    ),
    "twice, one position": (["a", "b", "a"], [0.1, 0.2, 0.1], [0.1, 0.2], ""),
    "twice, once NaN": (["a", "a", "b"], [0.1, NAN, 0.2], [0.7, 0.2], "at 0.1 and at nan"),
    "a foreign joint twice": (["x", "a", "x", "b"], [0.0, 0.1, 1.5, 0.2], [0.1, 0.2], ""),
    "fewer": (["a", "b"], [0.1], LAST, "a message has 2 names and 1 positions"),
    "more": (["a", "b"], [0.1, 0.2, 0.3], LAST, "a message has 2 names and 3 positions"),
    "no names": ([], [0.1, 0.2], LAST, "a message has 0 names and 2 positions"),
    "NaN": (["a", "b"], [NAN, 0.2], [0.7, 0.2], "the position of {}a is nan"),
    "infinite": (["a", "b"], [0.1, -INF], [0.1, 0.8], "the position of {}b is -inf"),
    "velocities only": (["a", "b"], [], LAST, ""),
}  # fmt: skip


def message(names, positions, sec):
    made = JointState(name=names, position=positions)
    made.header.stamp = Time(sec=sec)
    return made


def seen_by_node(messages, prefix):
    """Return the positions, what is wrong with them once they are old, and how many refused."""
    node = Node("listener")
    joints = JointInput(node, ["states"], [f"{prefix}a", f"{prefix}b"], prefixes=[prefix])
    for each in messages:
        joints._receive(prefix, each, {"publisher_gid": {"data": [1]}}, "/states")
    positions, told = joints.read(-1.0)
    node.destroy_node()
    return positions, told, joints.refused


def seen_by_preflight(messages, prefix):
    heard = [Heard(k, k, 0.0, b"1", each) for k, each in enumerate(messages)]
    names = (f"{prefix}a", f"{prefix}b")
    setup = SimpleNamespace(
        state_topics=("/states",),
        prefixes={"/states": prefix},
        joints=names,
        units=SimpleNamespace(state=SimpleNamespace(joints=names)),
        controller={"joint_state_timeout": 1.0},
        period_s=1.0,
    )
    probe = SimpleNamespace(heard={"/states": heard}, seconds=1.0, gap_s=lambda times: 0.0)
    said = "; ".join(
        f.sentence for f in preflight.check_names(setup, probe) if f.level.name != "GOOD"
    )
    return preflight.pose(setup, probe, names), said


def seen_in_recording(messages, prefix):
    columns = JointColumns()
    data = [bytes(serialize_message(each)) for each in messages]
    columns.add(data[:1], [1], prefix)
    columns.add(data[1:], list(range(2, len(data) + 1)), prefix)
    log = columns.log([f"{prefix}a", f"{prefix}b"])
    return None if log is None else log.position[-1], "; ".join(columns.faults.values())


@pytest.mark.parametrize("prefix", ["", "left/"])
@pytest.mark.parametrize("case", CASES)
def test_one_message_is_read_alike_and_what_is_wrong_is_said_by_all(ros, case, prefix):
    names, positions, right, words = CASES[case]
    words = words.replace("{}", prefix)
    messages = [message(["a", "b"], LAST, 1), message(names, positions, 2)]
    node, told, refused = seen_by_node(messages, prefix)
    pose, said = seen_by_preflight(messages, prefix)
    recorded, noted = seen_in_recording(messages, prefix)
    assert node.tolist() == pose.tolist() == recorded.tolist() == right
    if words:
        assert words in told and words in said and words in noted and refused == 1
    elif "x" not in names:
        assert not said and not noted and not refused


@pytest.mark.parametrize("case", ["twice, two positions", "fewer", "more", "no names"])
def test_a_joint_of_which_nothing_else_was_ever_heard_has_no_position(ros, case):
    names, positions, _, words = CASES[case]
    messages = [message(names, positions, 1), message(names, positions, 2)]
    words = words.replace("{}", "")
    node, told, _ = seen_by_node(messages, "")
    assert np.isnan(node[0]) and "no joint state yet for a" in told and words in told
    pose, said = seen_by_preflight(messages, "")
    assert pose is None and words in said
    recorded, noted = seen_in_recording(messages, "")
    assert recorded is None or np.isnan(recorded[0])
    assert words in noted
