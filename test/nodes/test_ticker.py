"""The tick must not end unnoticed, and subscriptions take QoS overrides as everywhere in ROS 2."""

import subprocess
import sys
import threading
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy

from rtc_ros.controller.ticker import DeadlineTicker, TimerTicker
from rtc_ros.ros.joint_input import JointInput

# Alone: judges by time.
pytestmark = [pytest.mark.ros, pytest.mark.alone]

FAILING = """
from rclpy.node import Node
from rtc_ros.ros.runner import run_node
from rtc_ros.controller.ticker import DeadlineTicker

class Failing(Node):
    executor_priority = 0
    def __init__(self):
        super().__init__("failing")
        self.ticker = DeadlineTicker(0.01, self.tick)
        self.ticks = 0
    def run(self):
        self.ticker.start()
    def tick(self, late_s, missed):
        self.ticks += 1
        if self.ticks == 3:
            raise ZeroDivisionError("a defect")
    def close(self):
        self.ticker.stop()

run_node(Failing)
"""


def test_a_failing_tick_ends_the_process():
    done = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError: a defect" in done.stderr
    assert done.stderr.count("the control tick failed: ending; braking first") == 1


@pytest.mark.parametrize("source", ["DeadlineTicker(0.01,", "TimerTicker(self, 0.01,"])
@pytest.mark.parametrize("always", [False, True])
def test_the_ticks_after_a_failed_one_brake_unless_they_fail_too(source, always):
    script = FAILING.replace("DeadlineTicker(0.01,", source).replace(
        "import DeadlineTicker", "import DeadlineTicker, TimerTicker"
    )
    script = script.replace("self.ticks == 3", f"self.ticks {'>=' if always else '=='} 3").replace(
        "        self.ticker.stop()",
        "        ticks, end = self.ticks, time.monotonic() + 1.0\n"
        "        while self.ticker.alive and self.ticks < ticks + 20 and time.monotonic() < end:\n"
        "            time.sleep(0.01)\n"
        "        print(self.ticker.alive, flush=True)\n"
        "        self.ticker.stop()",
    )
    done = subprocess.run(
        [sys.executable, "-c", "import time" + script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, f"{not always}\n"), done.stderr
    last_words = "ending; the driver has the last command"
    assert done.stderr.count(last_words) == int(always)


def run(ticker, ticks, count):
    """Let it tick until there are that many ``ticks``."""
    deadline = time.monotonic() + 20
    ticker.start()
    while len(ticks) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    ticker.stop()


def test_ticks_keep_their_average_period():
    ticks = []
    ticker = DeadlineTicker(0.01, lambda *told: ticks.append((*told, time.monotonic())))
    run(ticker, ticks, 50)
    late, missed, at = zip(*ticks, strict=True)
    assert ticker.lateness.count == len(ticks) >= 50
    assert ticker.lateness.missed == sum(missed)
    # A tick for each period, done or given up as missed; none more.
    assert len(ticks[1:]) + sum(missed[1:]) == pytest.approx((at[-1] - at[0]) / 0.01, abs=1)
    assert min(late) >= 0.0


def test_deadlines_that_a_tick_misses_itself_are_told_to_it_or_to_the_next_one():
    told, asked = [], []

    def tick(late_s, missed):
        told.append(missed)
        if len(told) == 3:
            time.sleep(0.05)  # nothing is asked: the next tick is told
        if len(told) == 6:
            time.sleep(0.05)
            asked.append(ticker.lost())
            asked.append(ticker.lost())

    ticker = DeadlineTicker(0.01, tick)
    run(ticker, told, 7)
    assert told[3] >= 4
    assert asked[0] >= 4 and asked[1] == 0
    assert ticker.lateness.missed == sum(told) + asked[0]


@pytest.mark.parametrize("clock", ["deadline", "timer"])
def test_one_that_is_stopped_sends_the_set_points_of_its_last_tick(ros, clock):
    did, stopped = [], threading.Event()
    node = Node("stops")

    def tick(late_s, missed):
        did.append("tick")
        if did.count("tick") == 3:
            stopped.set()

    def point(i):
        did.append(i)
        return did.count("tick") < 4  # as at rest: nothing to send

    more = {"points": 5, "on_point": point}
    ticker = (
        DeadlineTicker(0.1, tick, **more) if clock == "deadline"
        else TimerTicker(node, 0.1, tick, **more)
    )  # fmt: skip
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    ticker.start()
    assert stopped.wait(20.0)
    ticker.stop()
    executor.shutdown()
    node.destroy_node()
    third = [i for i, what in enumerate(did) if what == "tick"][2]
    assert did[third + 1 : third + 6] == [0, 1, 2, 3, 4]
    assert did[third + 6 :] in ([], ["tick"], ["tick", 0])


def test_quality_of_service_can_be_overridden(ros):
    name = "qos_overrides./joint_states.subscription.reliability"
    node = Node("overridden", parameter_overrides=[Parameter(name, value="reliable")])
    plain = Node("plain")
    try:
        for owner, expected in (
            (node, ReliabilityPolicy.RELIABLE),
            (plain, ReliabilityPolicy.BEST_EFFORT),
        ):
            JointInput(owner, ["joint_states"], ["a"])
            chosen = [s for s in owner.subscriptions if s.topic_name == "/joint_states"]
            assert [s.qos_profile.reliability for s in chosen] == [expected]
    finally:
        node.destroy_node()
        plain.destroy_node()
