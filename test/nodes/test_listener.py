"""A listener hears what an executor would, without one; its errors end nothing."""

import threading
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import UInt8MultiArray

from rtc_ros.ros.listener import Listener

pytestmark = pytest.mark.ros
QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def heard(ros):
    node = Node("listens")
    made = {"node": node, "messages": [], "threads": set(), "fail": False}

    def take(data):
        made["threads"].add(threading.current_thread().name)
        if made["fail"]:
            raise ValueError("planted")
        made["messages"].append(bytes(deserialize_message(data, UInt8MultiArray).data))

    listener = Listener(node, UInt8MultiArray, "said", take, QOS)
    made["listener"] = listener
    made["publisher"] = node.create_publisher(UInt8MultiArray, "said", QOS)
    listener.start()
    until(lambda: made["publisher"].get_subscription_count())
    yield made
    listener.close()
    node.destroy_node()


def until(condition):
    end_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_every_message_is_heard_once_and_in_order_and_by_no_executor(heard):
    executor = SingleThreadedExecutor()
    executor.add_node(heard["node"])
    ticks = []
    heard["node"].create_timer(0.005, lambda: ticks.append(threading.current_thread().name))
    sent = [bytes([i, i]) for i in range(50)]
    for data in sent:
        heard["publisher"].publish(UInt8MultiArray(data=data))
        executor.spin_once(timeout_sec=0.01)
    until(lambda: len(heard["messages"]) >= len(sent))
    executor.shutdown()
    assert heard["messages"] == sent
    assert heard["threads"] == {"listener"}
    assert ticks and set(ticks) == {threading.main_thread().name}


def test_an_error_is_named_with_its_topic_and_the_next_message_is_heard(heard, capfd):
    heard["fail"] = True
    heard["publisher"].publish(UInt8MultiArray(data=b"1"))
    until(lambda: heard["threads"])
    heard["fail"] = False
    heard["publisher"].publish(UInt8MultiArray(data=b"2"))
    until(lambda: heard["messages"])
    assert heard["messages"] == [b"2"]
    said = "".join(capfd.readouterr())
    assert "the callback of the topic /said of /listens failed: ValueError: planted" in said


@pytest.mark.parametrize("context_first", [False, True])
def test_it_ends_and_hears_nothing_more(heard, context_first):
    if context_first:
        rclpy.try_shutdown()
    heard["listener"].close()
    assert not heard["listener"]._thread.is_alive()
    if not context_first:
        heard["publisher"].publish(UInt8MultiArray(data=b"1"))
        time.sleep(0.3)
    assert heard["messages"] == []
