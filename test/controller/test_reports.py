"""What the controller says on the console: each thing in one line, once."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from rtc_ros.controller.command_watch import CommandWatch
from rtc_ros.controller.reports import Done, ExecutedReports, MotionReports
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, Inputs
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits
from rtc_ros.ros.diagnostics import ERROR, logged
from rtc_ros.ros.runner import ask_for_realtime

DT = 0.02
LIMITS = JointLimits.from_velocity([-9.0], [9.0], [1.0], DT, [8.0])


class Node:
    """Its log, and a graph in which it commands one topic that one driver listens to."""

    def __init__(self):
        self.lines, self.commanders, self.published = [], ["rtc_controller"], []

    def get_logger(self):
        note = self.lines.append
        return SimpleNamespace(info=note, warning=note, error=note)

    def get_name(self):
        return "rtc_controller"

    def create_publisher(self, kind, topic, _):
        return SimpleNamespace(publish=lambda message: self.publish(topic, message))

    def publish(self, topic, message):
        self.published.append((topic, message))

    def resolve_topic_name(self, topic):
        return f"/{topic}"

    def get_fully_qualified_name(self):
        return "/rtc_controller"

    def get_subscriptions_info_by_topic(self, _):
        return [SimpleNamespace(node_name="driver")]

    def get_publishers_info_by_topic(self, _):
        return [SimpleNamespace(node_namespace="/", node_name=n) for n in self.commanders]


def test_a_second_commander_is_one_line_while_the_arm_moves():
    node, moves = Node(), [True]
    report = logged(node, CommandWatch(node, ["arm/commands"]).report, lambda: moves[0])
    report()
    assert not node.lines
    node.commanders.append("teleop")
    levels = [report().level for _ in range(5)]
    assert levels == [ERROR] * 5
    (line,) = node.lines
    assert line == "/teleop publishes on /arm/commands too: the arm jumps between two wills"
    node.commanders.remove("teleop")
    report()
    assert len(node.lines) == 2 and node.lines[1].startswith("goes on: every command topic has")
    moves[0] = False
    node.commanders.append("teleop")
    report()
    assert len(node.lines) == 2, "nobody is disturbed at a closed gate"


class Bench:
    def __init__(self):
        default, self.node, self.now_ns = np.full(1, 0.3), Node(), 10**9
        self.controller = Controller(LIMITS, 0, Guards(("a",), LIMITS, default, default, DT))
        joints = SimpleNamespace(refused=0)
        self.reports = MotionReports(self.node, self.controller, joints, False)
        self.pose, self.seq = np.zeros(1), 0
        self.controller.start(1, self.pose)

    def run(self, ticks, problem=""):
        for _ in range(ticks):
            self.now_ns += round(DT * 1e9)
            arm = Arm(self.pose, np.full(1, self.now_ns), problem)
            self.command = self.controller.tick(Inputs(arm=arm))
            self.pose = self.controller.state.targets[-1]

    def chunk(self, rows):
        self.seq += 1
        step = self.controller.state.player.step
        actions = np.repeat(self.pose[None], rows, axis=0)
        self.controller.offer(ActionChunk(actions, step, step_epoch=1, epoch=1, seq=self.seq))


def test_motion_that_stops_and_goes_on_by_itself_is_two_lines():
    bench, lines = Bench(), None
    bench.chunk(10)
    bench.run(5)
    bench.reports()
    lines = bench.node.lines
    assert not lines
    bench.run(20)
    for _ in range(3):
        bench.reports()
    assert lines == ["starved: the chunk ran out, holding until the next one comes"]
    bench.chunk(90)
    bench.run(5)
    for _ in range(3):
        bench.reports()
    assert lines[1:] == ["the motion goes on at step 15"]


def test_a_hold_between_two_looks_is_named_with_its_cause():
    bench = Bench()
    bench.chunk(90)
    bench.run(5)
    bench.reports()
    bench.run(2, "the joint state of a is 0.31 s old")
    bench.run(20)
    for _ in range(3):
        bench.reports()
    assert bench.node.lines == ["held for a moment: the joint state of a is 0.31 s old"]


def test_a_report_that_can_t_be_published_ends_nothing_and_is_said_once():
    class Deaf(Node):
        def publish(self, topic, message):
            if len(self.lines) < 1 or len(self.published) == 1:
                self.published.append(None)
                raise RuntimeError("no such domain")
            super().publish(topic, message)

    bench, node = Bench(), Deaf()
    reports = ExecutedReports(node, ("a",), DT)
    bench.chunk(10)
    for _ in range(5):
        bench.run(1)
        reports.put([Done(bench.command, 0)], 1, 0.0, bench.now_ns)
    reports.close(10.0)
    assert node.lines == ["~/executed can't be published: no such domain"]
    assert [m is None for m in node.published] == [True, True, False, False, False]


def test_on_simulated_time_a_report_of_before_time_began_has_stamp_0():
    bench, node = Bench(), Node()
    reports = ExecutedReports(node, ("a",), DT)
    bench.chunk(10)
    bench.run(1)
    reports.put([Done(bench.command, 3), Done(bench.command, 0)], 1, 0.0, 0)
    reports.put([Done(bench.command, 1)], 1, 0.0, round(3 * DT * 1e9))
    reports.close(10.0)
    stamps = [m.header.stamp for topic, m in node.published if topic == "~/executed"]
    assert [s.sec * 10**9 + s.nanosec for s in stamps] == [0, 0, round(2 * DT * 1e9)]


def test_reports_are_made_with_a_priority_below_the_tick_s():
    """Else a busy machine takes them off the processor with Python's lock in their hands."""
    if refused := ask_for_realtime_elsewhere(40):
        pytest.skip(refused)
    reports = ExecutedReports(Node(), ("a",), DT, 40)
    try:
        (thread,) = (t for t in threading.enumerate() if t.name == "reports")
        until = time.monotonic() + 10.0
        while os.sched_getscheduler(thread.native_id) != os.SCHED_FIFO:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert os.sched_getparam(thread.native_id).sched_priority == 40
    finally:
        reports.close(10.0)


def ask_for_realtime_elsewhere(priority):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask_for_realtime(priority)))
    thread.start()
    thread.join()
    return answers[0]
