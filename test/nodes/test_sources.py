"""Two that publish one thing: told from a driver that restarts, whatever their stamps."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState

from rtc_ros.inference.camera_input import CameraInput
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.sources import Publishers, Sources

pytestmark = pytest.mark.ros

MS = 1_000_000
START = 10**12


def heard(*messages):
    """Return Sources after messages (source, stamp, ms), and which of them were news."""
    sources = Sources()
    news = [sources.hear(s, stamp, START + round(ms * MS)) for s, stamp, ms in messages]
    return sources, news


def test_two_with_equal_stamps_are_noticed_when_the_first_comes_again():
    turns = [(b"a", k, 20 * k) if who == "a" else (b"b", k, 20 * k + 1)
             for k in range(1, 4) for who in "ab"]  # fmt: skip
    for count in range(1, len(turns) + 1):
        sources, news = heard(*turns[:count])
        assert all(news), "each has its own stamps"
        assert sources.two_at(START + round(turns[count - 1][2] * MS)) is (count > 2)


def test_a_restarted_driver_is_not_a_second_one():
    before = [(b"a", k, 20 * k) for k in range(1, 50)]
    after = [(b"b", k, 20 * k) for k in range(50, 99)]
    sources, news = heard(*before, *after)
    assert all(news) and not sources.two_at(START + 99 * 20 * MS)
    third = [(b"c", k, 20 * k) for k in range(99, 150)]
    assert not heard(*before, *after, *third)[0].two_at(START + 150 * 20 * MS)


def test_a_stamp_that_its_publisher_repeats_is_no_news_and_zero_always_is():
    assert heard((b"a", 5, 0), (b"a", 5, 10), (b"a", 6, 20), (b"a", 6, 30))[1] == [1, 0, 1, 0]
    assert heard((b"a", 0, 0), (b"a", 0, 10))[1] == [1, 1]
    assert heard((b"a", 5, 0), (b"b", 5, 1), (b"a", 5, 20), (b"b", 5, 21))[1] == [1, 1, 0, 0]


@given(fast_ms=st.floats(5, 200), slow_ms=st.floats(200, 2000), begin_ms=st.floats(0, 500))
def test_however_seldom_the_second_sends_it_is_distrusted_all_the_time(fast_ms, slow_ms, begin_ms):
    """Once the slower has had a few turns."""
    fast = [(b"a", 0, k * fast_ms) for k in range(1, int(7000 / fast_ms))]
    slow = [(b"b", 0, begin_ms + k * slow_ms) for k in range(int(6500 / slow_ms))]
    sources, since, until = Sources(), begin_ms + 2 * slow_ms + fast_ms, slow[-1][2] + slow_ms
    for source, stamp, ms in sorted(fast + slow, key=lambda each: each[2]):
        if since < ms < until:
            assert sources.two_at(START + round(ms * MS))
        sources.hear(source, stamp, START + round(ms * MS))
    last_ms = max(fast[-1][2], slow[-1][2])
    assert not sources.two_at(START + round((last_ms + 2 * slow_ms + 501) * MS))


def test_one_that_took_over_for_a_while_and_gave_back_is_soon_forgotten():
    turns = [(b"a", 0, 20), *[(b"b", 0, 1000 + 20 * k) for k in range(50)], (b"a", 0, 2000)]
    sources, _ = heard(*turns)
    assert sources.two_at(START + 2499 * MS), "one can't know yet"
    assert not sources.two_at(START + 2501 * MS)


def test_a_hand_over_between_two_that_stay_is_forgotten():
    early = [(b"a", 0, 20 * k) for k in range(50)]
    other = [(b"b", 0, 1000 + 20 * k) for k in range(500)]
    back = (b"a", 0, 11_000)
    assert not heard(*early, *other, back)[0].two_at(START + 11_001 * MS), "10 s later"


def told_apart(*numbers):
    """Who sent each of these, of (number, ms) as Jazzy's rclpy tells of messages."""
    publishers = Publishers()
    return [
        publishers.of({"publication_sequence_number": n}, START + round(ms * MS))
        for n, ms in numbers
    ]


@given(
    first=st.integers(1, 10**6),
    second=st.integers(1, 10**6),
    gaps=st.lists(st.integers(1, 3), min_size=20, max_size=60),
    chance=st.randoms(use_true_random=False),
)
def test_two_publishers_are_two_by_their_messages_numbers_alone(first, second, gaps, chance):
    """Whatever their numbers are, and though some are lost; one alone is never two."""
    counts, heard_of, sources = {"a": first, "b": second}, [], Sources()
    for k, gap in enumerate(gaps):
        who = "ab"[k % 2] if chance.random() < 0.8 else "a"
        counts[who] += gap
        heard_of.append((counts[who], 20 * k))
    for (_, ms), source in zip(heard_of, told_apart(*heard_of), strict=True):
        sources.hear(source, 0, START + round(ms * MS))
    assert sources.two_at(START + round(heard_of[-1][1] * MS) + 1)
    alone = [(first + sum(gaps[:k]), 20 * k) for k in range(len(gaps))]
    assert len(set(told_apart(*alone))) == 1


def test_a_driver_that_begins_its_numbers_anew_is_another_one_and_not_a_second():
    before = [(k, 20 * k) for k in range(400, 500)]
    after = [(k, 10_000 + 4 * k) for k in range(1, 1500)]  # it passes the old one's last number
    who = told_apart(*before, *after)
    assert len(set(who[:100])) == len(set(who[100:])) == 1 and who[0] != who[100]


def test_a_publisher_of_a_middleware_that_tells_nothing_is_one():
    assert Publishers().of({"publication_sequence_number": None}, START) == b""
    assert Publishers().of({"publisher_gid": {"data": [1, 2]}}, START) == b"\x01\x02"


def joint_input(topics=("joint_states",), joints=("a", "b")):
    node = Node("listener")
    return node, JointInput(node, topics, joints)


def states(stamp, names, positions):
    message = JointState(name=list(names), position=[float(p) for p in positions])
    message.header.stamp = Time(sec=stamp)
    return message


def info(source):
    return {"publisher_gid": {"data": list(source)}}


def test_a_second_publisher_with_equal_stamps_is_a_named_fault(ros):
    """As under /clock; before, the first to arrive won, whoever it was."""
    node, joints = joint_input()
    for k in range(1, 4):
        joints._receive("", states(k, "ab", [0.0, 0.0]), info(b"zero"))
        joints._receive("", states(k, "ab", [1.2, 0.4]), info(b"real"))
    positions, problem = joints.read(1.0)
    assert "the joint state of a comes from two publishers at once on joint_states" in problem
    assert "stop one" in problem
    assert positions.tolist() == [1.2, 0.4], "neither of them is passed over"
    node.destroy_node()


def test_a_repeated_stamp_is_as_good_as_silence_and_a_restart_is_no_fault(ros):
    node, joints = joint_input()
    joints._receive("", states(1, "ab", [0.1, 0.2]), info(b"one"))
    time.sleep(0.05)
    for _ in range(5):
        joints._receive("", states(1, "ab", [0.9, 0.9]), info(b"one"))
    positions, problem = joints.read(0.04)
    assert "its messages repeat one stamp, the driver hangs" in problem
    assert positions.tolist() == [0.1, 0.2]
    for k in range(1, 9):  # the new driver begins with the old one's stamp
        joints._receive("", states(k, "ab", [0.3, 0.2]), info(b"two"))
    positions, problem = joints.read(1.0)
    assert not problem and positions.tolist() == [0.3, 0.2]
    node.destroy_node()


def test_a_driver_that_hangs_beside_another_is_a_second_publisher(ros):
    node, joints = joint_input()
    for k in range(1, 6):
        joints._receive("", states(7, "ab", [0.0, 0.0]), info(b"hangs"))
        joints._receive("", states(k + 7, "ab", [1.0, 1.0]), info(b"lives"))
    positions, problem = joints.read(1.0)
    assert "two publishers at once" in problem and positions.tolist() == [1.0, 1.0]
    node.destroy_node()


def test_drivers_that_share_a_topic_but_no_joint_are_no_fault(ros):
    node, joints = joint_input()
    for k in range(1, 9):
        joints._receive("", states(k, "a", [1.0]), info(b"left"))
        joints._receive("", states(k, "b", [2.0]), info(b"right"))
    assert joints.read(1.0)[1] == ""
    node.destroy_node()


@pytest.fixture
def camera(ros):
    node = Node("sees", parameter_overrides=[Parameter("camera.top.topic", value="cam")])
    yield node, CameraInput(node, "top")
    node.destroy_node()


def image(value, stamp=0):
    message = Image(height=4, width=6, encoding="rgb8", step=18)
    message.data = np.full(72, value, np.uint8).tobytes()
    message.header.stamp = Time(sec=stamp)
    return message


def test_two_cameras_on_one_topic_are_named_and_not_shown(camera):
    node, top = camera
    others = [Node("front"), Node("back")]
    publishers = [other.create_publisher(Image, "cam", 1) for other in others]
    problems, end = [], time.monotonic() + 10.0
    while time.monotonic() < end and not any("two publishers" in p for p in problems):
        for value, publisher in enumerate(publishers):
            publisher.publish(image(value))
            rclpy.spin_once(node, timeout_sec=0.05)
            problems.append(top.read(5.0)[2])
    assert "the images of camera top come from two publishers at once on cam" in problems[-1]
    assert "stop one" in problems[-1] and top.read(5.0)[0] is None
    for other in others:
        other.destroy_node()
    # The topic is one camera's again a while after the others left.
    alone = Node("alone")
    publisher = alone.create_publisher(Image, "cam", 1)
    end = time.monotonic() + 10.0
    while time.monotonic() < end and top.read(5.0)[2]:
        publisher.publish(image(9))
        rclpy.spin_once(node, timeout_sec=0.05)
    assert top.read(5.0)[0][0, 0].tolist() == [9, 9, 9]
    alone.destroy_node()


def test_cameras_with_equal_stamps_are_two_all_the_same(camera):
    node, top = camera
    for k in range(1, 4):
        for value, source in enumerate((b"front", b"back")):
            top._receive(image(value, stamp=k), info(source))
    assert "two publishers at once" in top.read(5.0)[2]


def test_a_picture_that_cant_be_read_is_a_sentence_with_camera_topic_and_encoding(camera):
    node, top = camera
    message = image(1)
    message.encoding = "16UC1"
    top._receive(message, info(b"one"))
    shown, _, problem = top.read(5.0)
    assert shown is None
    for word in ("camera top", "on cam", "16UC1", "let it send rgb8"):
        assert word in problem
    top._receive(SimpleNamespace(**{**{f: getattr(message, f) for f in
                 ("header", "height", "width", "step", "is_bigendian")},
                 "encoding": "rgb8", "data": b""}), info(b"one"))  # fmt: skip
    assert "6 × 4 rgb8: 0 bytes" in top.read(5.0)[2]
