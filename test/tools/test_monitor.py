"""Live figures: the same as of a bag, in bounded memory, from real topics."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_maker import STORE, TYPES, messages_of, write_bag
from rich.console import Console

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bags.topics import Topics
from rtc_ros.core.continuity import judge
from rtc_ros.core.cursor import Mode
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.report.facts import facts
from rtc_ros.report.live_run import LiveRun
from rtc_ros.tools.monitor_view import line, rows_bar, view

TOPICS = Topics(
    "/rtc_controller/executed",
    "/rtc_controller/swap",
    "/rtc_inference/chunk",
    {"/joint_states": ""},
    "/rtc_inference/settings",
)
RUN = ExampleSettings(ticks=400)
STARVED = dataclasses.replace(RUN, delays=(5, 25), horizon=20)


def serialized(run, shift_ns=0):
    for topic, time_ns, message in messages_of(run):
        stamp = message.header.stamp if hasattr(message, "header") else None
        if stamp is not None:
            at = stamp.sec * 10**9 + stamp.nanosec + shift_ns
            stamp.sec, stamp.nanosec = divmod(at, 10**9)
        yield topic, time_ns, bytes(STORE.serialize_cdr(message, message.__msgtype__))


def feed(live, run, shift_ns=0, every=0):
    """Give ``live`` a run's messages, asking for its state every so many."""
    for n, message in enumerate(serialized(run, shift_ns)):
        live.add(*message)
        if every and n % every == 0:
            live.state()
    return live.state()


@pytest.mark.parametrize("settings", [RUN, STARVED])
@pytest.mark.parametrize("every", [0, 1, 37])
def test_the_figures_are_those_of_a_bag(settings, every):
    run = example_run(settings)
    state = feed(LiveRun(TOPICS), run, every=every)
    expected = judge(run)
    assert dataclasses.replace(state.report, notes=()) == dataclasses.replace(expected, notes=())
    assert state.totals["steps"] == expected.steps
    assert state.totals["starved"] == expected.starved_ticks
    assert state.totals["seams"] == expected.seam_count
    last = run.commands.provenance
    assert (state.step, state.row, state.mode) == (last.step[-1], last.row[-1], Mode.RUNNING)
    assert state.chunk.name == (last.chunk_epoch[-1], last.chunk_seq[-1])
    assert state.swap.step == run.swaps[-1].step


def test_only_the_window_is_kept_and_totals_go_on():
    live = LiveRun(TOPICS, window_s=2.0)
    run = example_run(RUN)
    state = feed(live, run, every=50)
    assert 99 <= state.report.ticks <= 101
    assert state.totals["steps"] == judge(run).steps > 300
    kept = live._columns.run()
    assert len(kept.commands) <= 101
    assert len(kept.chunks) < 20 and len(kept.swaps) < 20
    assert len(kept.measured.stamp_ns) < 200


def test_a_bag_that_is_played_again_is_not_one_run_with_the_first():
    live = LiveRun(TOPICS)
    run = example_run(RUN)
    for _ in range(3):
        state = feed(live, run, every=80)
    assert state.report.misplaced_steps == 0
    assert state.report.steps <= judge(run).steps
    assert state.report.seam_excess_ratio.max == judge(run).seam_excess_ratio.max


def test_another_robot_begins_anew_and_is_said():
    live = LiveRun(TOPICS)
    feed(live, example_run(RUN))
    run = example_run(dataclasses.replace(RUN, ticks=100))
    other = dataclasses.replace(
        run.commands, joints=tuple(f"other_{j}" for j in run.commands.joints)
    )
    state = feed(live, dataclasses.replace(run, commands=other))
    assert "change" in state.problem
    assert state.report is None or state.report.ticks <= 100


def shown(state):
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(view(state))
    return console.export_text()


def test_the_view_shows_what_matters():
    run = example_run(STARVED)
    live = LiveRun(TOPICS)
    settings = b'{"beta": 5.0, "schedule": "exp", "s_min": 10}'
    size = (len(settings) + 1).to_bytes(4, "little")
    live.add("/rtc_inference/settings", 2, b"\0\1\0\0" + size + settings + b"\0")
    state = feed(live, run)
    text = shown(state)
    report = judge(run)
    units = ("seam's excess [ordinary steps]", "duration [s]")  # brackets are no markup
    for word in (*units, "chunk", "rows in use", "β 5.0", "schedule exp", "s_min 10", "execute"):
        assert word in text
    assert f"starved ticks: {report.starved_ticks}, allowed 0" in " ".join(text.split())
    assert f"{report.starved_ticks} starved" in text
    assert f"seams={report.seam_count}" in line(state) and "verdict=FAIL" in line(state)
    assert f"starved={report.starved_ticks}" in line(state)


def test_the_view_before_anything_came():
    state = LiveRun(TOPICS).state()
    assert "nothing executed yet: is the controller started?" in shown(state)
    assert line(state) == "nothing executed yet"
    said = line(state, ["/rtc_controller/executed", "/joint_states"])
    assert said == "nothing executed yet; nobody publishes /rtc_controller/executed, /joint_states"


def test_the_bar_of_rows():
    text = rows_bar(4, 8, 16, width=16).plain
    assert text == "█" * 5 + "▒" * 3 + "░" * 8
    assert rows_bar(-1, 0, 16, width=16).plain == "░" * 16


# Over real topics

PLAYER = str(Path(__file__).parents[1] / "bags" / "bag_player.py")


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A recording of eight seconds, with its settings."""
    run = example_run(RUN)
    begin_ns = int(run.commands.stamp_ns[0])
    settings = TYPES["std_msgs/msg/String"]('{"beta": 5.0}')
    messages = [("/rtc_inference/settings", begin_ns, settings), *messages_of(run)]
    return str(write_bag(tmp_path_factory.mktemp("bags") / "bag", messages))


@contextlib.contextmanager
def process(*command):
    running = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    try:
        yield running
    finally:
        running.stdin.close()
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(30)
        running.kill()


def play(player):
    """Let a player begin that somebody listens to, and wait until it is done."""
    player.stdin.write("\n")
    player.stdin.flush()
    assert "done\n" in iter(player.stdout.readline, "")


@pytest.mark.ros
def test_joint_states_are_those_that_the_settings_name():
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    from rtc_ros.monitor.node import MonitorNode

    rclpy.init()
    node, other = MonitorNode("rtc_monitor_test"), rclpy.create_node("rtc_inference_double")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def states():
        return {s.topic_name for s in node.subscriptions if "states" in s.topic_name}

    try:
        assert states() == {"/joint_states"}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        publisher = other.create_publisher(String, "rtc_inference/settings", latched)
        named = {"joint_state_topics": ["/left/joint_states", "/right/joint_states"],
                 "joint_state_prefixes": ["left_", "right_"]}  # fmt: skip
        publisher.publish(String(data=json.dumps(named)))
        deadline = time.monotonic() + 30
        while len(states()) < 2 and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        assert states() == set(named["joint_state_topics"])
        assert "/rtc_controller/executed" in node.absent()
    finally:
        executor.shutdown()
        node.destroy_node()
        other.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.ros
def test_the_terminal_view_of_a_bag_that_is_played_twice(bag):
    steps = judge(example_run(RUN)).steps
    with (
        process("-m", "rtc_ros.tools.monitor") as monitor,
        process(PLAYER, bag, "2", "2") as player,
    ):
        # Only what is published once both sides know each other is heard.
        while "nobody" in monitor.stdout.readline():
            pass
        play(player)
        for _ in range(60):
            said = monitor.stdout.readline()
            if f"step={steps - 1} " in said:
                break
        assert f"step={steps - 1} " in said and "verdict=PASS" in said and "beta=5.0" in said
        monitor.send_signal(signal.SIGINT)
        rest, _ = monitor.communicate(timeout=60)
        assert monitor.returncode == 0, rest
        assert "Traceback" not in rest


@pytest.mark.ros
def test_a_played_bag_is_judged_live_as_from_its_file(bag):
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    rclpy.init()
    node = rclpy.create_node("reader")
    found = {}
    node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda m: found.update({s.name: s for s in m.status}),
        10,
    )

    def status():
        return found.get("rtc_monitor: continuity")

    def values():
        return {v.key: v.value for v in status().values}

    def wait(condition):
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.2)

    try:
        with (
            process("-m", "rtc_ros.monitor.node") as monitor,
            process(PLAYER, bag, "2") as player,
        ):
            wait(lambda: status() is not None and status().message == "nothing executed yet")
            play(player)
            expected = {name: value for name, value, _ in facts(judge(read_run(bag)))}
            wait(lambda: values() == expected)
            assert values() == expected
            motion = found["rtc_monitor: motion"]
            assert {v.key for v in motion.values} >= {"step", "row", "chunk", "H", "beta"}
            monitor.send_signal(signal.SIGINT)
            said, _ = monitor.communicate(timeout=60)
            assert monitor.returncode == 0, said
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
