"""The recorder as its own process, recording another process's real topics."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from std_msgs.msg import String

from rtc_ros.bags.reader import Bag
from rtc_ros.bags.run_reader import read_run
from rtc_ros.bags.writer import BagFolderError, BagWriter
from rtc_ros.core.continuity import judge
from rtc_ros.recorder import ros2_bag
from rtc_ros.recorder.qos import receiving_qos
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.tools.film import images

TICKS = 400
BAGS = Path(__file__).parents[1] / "bags"


def recorder(folder, *parameters, record_with="rtc_recorder", path=None):
    settings = [f"output:={folder}", "camera_topics:=['/camera/top/image_raw']", *parameters]
    command = [sys.executable, "-m", "rtc_ros.recorder.node", "--ros-args"]
    for setting in [f"record_with:={record_with}", *settings]:
        command += ["-p", setting]
    environment = {**os.environ, "PATH": os.pathsep.join([str(path), os.environ["PATH"]])}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment if path else None,
    )


@contextlib.contextmanager
def publisher():
    """Run the publisher until it has sent everything; end it on leaving."""
    process = subprocess.Popen(
        [sys.executable, BAGS / "run_publisher.py", str(TICKS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line == "done\n", process.communicate()[1]
        yield
    finally:
        process.stdin.close()
        process.wait(30)


REAL_ROS2_BAG = pytest.mark.skipif(
    ros2_bag.find("auto")[0] is None, reason="ros2 bag is not among the wheels"
)


def test_a_ros2_without_bag_is_told_in_one_sentence(tmp_path, monkeypatch):
    program = tmp_path / "ros2"
    program.write_text(
        "#!/bin/sh\necho \"usage: ros2 [-h]\nros2: error: argument Call \\`ros2 <command> -h\\`: "
        "invalid choice: 'bag' (choose from 'launch', 'run')\" >&2\nexit 2\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = f"{program} has no `bag` (rosbag2's ros2bag isn't installed)"
    assert ros2_bag.find("auto") == (None, f"recording by rtc_recorder itself: {said}")
    with pytest.raises(RuntimeError, match="record_with is ros2_bag, but .* has no `bag`"):
        ros2_bag.find("ros2_bag")


@pytest.mark.parametrize(
    ("record_with", "number"),
    [("rtc_recorder", s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    + [
        pytest.param("ros2_bag", s, marks=REAL_ROS2_BAG)  # to which SIGHUP means its default
        for s in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_what_was_published_is_in_the_bag(tmp_path, number, record_with):
    recording = recorder(tmp_path / "bag", record_with=record_with)
    with publisher():
        time.sleep(0.5)  # the last best-effort messages are on their way
        recording.send_signal(number)
        said, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0, said
    assert "Traceback" not in said
    assert (tmp_path / "bag" / "metadata.yaml").is_file()
    found, sent = judge(read_run(tmp_path / "bag")), judge(example_run(ExampleSettings(TICKS)))
    assert found.seams == sent.seams
    assert found.sections == sent.sections
    assert found.prefix_mismatch == sent.prefix_mismatch
    assert found.notes == ()
    assert all(j.tracking_rms for j in found.joints), "the joint states came through"
    with Bag(tmp_path / "bag") as bag:
        (settings,) = [m.data for _, _, m in bag.messages("/rtc_inference/settings")]
    assert settings == '{"s_min": 10}', "latched before the recorder came"
    # Of those that came while it stood still it has the last ones only.
    assert len(list(images(tmp_path / "bag"))) >= 5


def test_a_killed_recorder_leaves_what_it_had(tmp_path):
    recording = recorder(tmp_path / "bag")
    with publisher():
        deadline = time.monotonic() + 60
        steps = 0
        while steps < TICKS - 20 and time.monotonic() < deadline:
            time.sleep(0.2)
            with contextlib.suppress(Exception):
                steps = judge(read_run(tmp_path / "bag")).steps
        recording.kill()
        recording.communicate(timeout=60)
    assert not (tmp_path / "bag" / "metadata.yaml").exists()
    report = judge(read_run(tmp_path / "bag"))
    assert report.steps >= TICKS - 20
    assert report.misplaced_steps == 0
    assert "was not finished" in report.notes[0]


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "bag").mkdir()
    recording = recorder(tmp_path / "bag")
    said, _ = recording.communicate(timeout=60)
    assert recording.returncode == 2
    assert "exists already" in said and "Traceback" not in said
    assert list((tmp_path / "bag").iterdir()) == []


def test_nothing_published_is_an_empty_bag_that_says_so(tmp_path, capsys):
    recording = recorder(tmp_path / "bag", "topics:=['/nobody']")
    for line in recording.stdout:
        if "recording" in line:
            break
    recording.send_signal(signal.SIGINT)
    said, _ = recording.communicate(timeout=60)
    assert recording.returncode == 0
    assert "nothing recorded from /nobody" in said
    from rtc_ros.tools.continuity import main

    assert main([str(tmp_path / "bag")]) == 2
    assert "topics are none" in capsys.readouterr().err


# QoS

RELIABLE = QoSProfile(depth=1)
BEST_EFFORT = qos_profile_sensor_data
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.parametrize(
    ("offered", "reliable", "latched"),
    [
        ([RELIABLE], True, False),
        ([BEST_EFFORT], False, False),
        ([RELIABLE, BEST_EFFORT], False, False),
        ([LATCHED], True, True),
        ([LATCHED, RELIABLE], True, False),
    ],
)
def test_the_subscription_receives_from_every_publisher(offered, reliable, latched):
    qos = receiving_qos(offered)
    assert (qos.reliability == ReliabilityPolicy.RELIABLE) == reliable
    assert (qos.durability == DurabilityPolicy.TRANSIENT_LOCAL) == latched


def test_cameras_are_never_held_back_by_the_recorder():
    assert receiving_qos([RELIABLE], is_camera=True).reliability == ReliabilityPolicy.BEST_EFFORT


# The writer without ROS

STRING = "std_msgs/msg/String"


def cdr(size):
    """Return a serialized std_msgs/String of ``size`` letters."""
    return b"\x00\x01\x00\x00" + (size + 1).to_bytes(4, "little") + b"x" * size + b"\x00"


@contextlib.contextmanager
def files_limited_to(size):
    """Let no file of this process grow beyond ``size``, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_costs_only_the_rest(tmp_path):
    with files_limited_to(400_000):
        writer = BagWriter(tmp_path / "bag", compress=False, flush_period_s=0.01)
        writer.add_topic("/a", STRING)
        deadline = time.monotonic() + 60
        while writer.failure is None and time.monotonic() < deadline:
            writer.put("/a", time.time_ns(), cdr(10_000))
            time.sleep(0.005)
        writer.close()
    assert "recording stopped" in writer.failure and str(tmp_path / "bag") in writer.failure
    assert not writer.put("/a", 1, cdr(1)) and writer.dropped["/a"] >= 1
    with Bag(tmp_path / "bag") as bag:
        kept = [m.data for _, _, m in bag.messages("/a")]
    assert 20 <= len(kept) <= 40 and set(kept) == {"x" * 10_000}
    assert any("up to the cut" in note for note in bag.notes)


def test_a_queue_that_is_full_drops_and_counts(tmp_path):
    writer = BagWriter(tmp_path / "bag", max_queued_bytes=1000)
    writer.add_topic("/a", STRING)
    assert not writer.put("/a", 1, cdr(2000))
    assert not writer.put("/unknown", 1, cdr(1))
    assert writer.put("/a", 1, cdr(10))
    writer.close()
    assert (writer.counts["/a"], writer.dropped["/a"], writer.dropped["/unknown"]) == (1, 1, 1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BagFolderError, match="can't make the bag folder"):
        BagWriter(tmp_path / "file" / "bag")


def test_a_type_described_nowhere_is_named(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    with pytest.raises(LookupError, match=r"my_msgs/msg/Own\.msg is not under any"):
        writer.add_topic("/a", "my_msgs/msg/Own")
    writer.close()


def test_a_type_of_a_workspace_is_described_in_the_bag(tmp_path, monkeypatch):
    folder = tmp_path / "ws" / "share" / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Own.msg").write_text("std_msgs/Header header\nmy_msgs/Part[] parts\n")
    (folder / "Part.msg").write_text("float64[3] values\n")
    old = os.environ.get("AMENT_PREFIX_PATH", "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(tmp_path / "ws"), old]))
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/a", "my_msgs/msg/Own")
    # Header of zeros, an empty frame, and one part of three numbers.
    body = bytes(8) + b"\x01\x00\x00\x00\x00" + bytes(3) + b"\x01\x00\x00\x00" + bytes(4 + 24)
    writer.put("/a", 1, b"\x00\x01\x00\x00" + body)
    writer.close()
    with Bag(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages("/a")
    assert message.parts[0].values.tolist() == [0.0, 0.0, 0.0]


# By ros2 bag: what becomes of the process is tried, rosbag2 itself is not among the wheels

STAND_IN = """#!{python}
import json, signal, sys, time
words = sys.argv[1:]
assert words[:2] == ["bag", "record"]
if "--help" in words:
    if {broken!r}:
        sys.exit({broken!r})
    print({options!r})
    sys.exit()
named = [w for w in words if w.endswith(("-path", "-file"))]
files = {{w: open(words[words.index(w) + 1]).read() for w in named}}
def end(*_):
    sys.exit(0)
signal.signal(signal.SIGINT, end)
json.dump({{"words": words, "files": files}}, open({told!r}, "w"))
print("taking over", flush=True)
time.sleep(60)
sys.exit("nobody ended it")
"""
OPTIONS = " ".join(ros2_bag._OPTIONS)


def stand_in(folder, options=OPTIONS, broken=""):
    """Put a ros2 into ``folder`` that notes how it is called and ends at SIGINT."""
    folder.mkdir()
    told = folder / "told.json"
    text = STAND_IN.format(python=sys.executable, options=options, broken=broken, told=str(told))
    (folder / "ros2").write_text(text)
    (folder / "ros2").chmod(0o755)
    return told


def first_lines(process, until):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            break
    return "".join(lines)


def test_ros2_bag_takes_over_where_there_is_one(tmp_path):
    told = stand_in(tmp_path / "bin")
    process = recorder(tmp_path / "bag", record_with="auto", path=tmp_path / "bin")
    said = first_lines(process, "taking over")
    assert f"recording by ros2 bag ({tmp_path / 'bin' / 'ros2'})" in said
    call = json.loads(told.read_text())
    words = call["words"]
    assert words[2:6] == ["-s", "mcap", "-o", str(tmp_path / "bag")]
    topics = words[words.index("--topics") + 1 :]
    assert topics[0] == "/rtc_controller/executed" and topics[-1] == "/camera/top/image_raw"
    assert {"/rtc_controller/parameters", "/joint_states", "/diagnostics"} <= set(topics)
    overrides = yaml.safe_load(call["files"]["--qos-profile-overrides-path"])
    profiles = {topic: qos_profile(values) for topic, values in overrides.items()}
    assert profiles["/rtc_controller/executed"].reliability == ReliabilityPolicy.RELIABLE
    assert profiles["/rtc_controller/executed"].depth == 1000
    latched = profiles["/rtc_inference/settings"]
    assert latched.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert profiles["/camera/top/image_raw"].reliability == ReliabilityPolicy.BEST_EFFORT
    assert "/joint_states" not in profiles, "as its drivers offer it"
    assert yaml.safe_load(call["files"]["--storage-config-file"])["compression"] == "Zstd"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0, "the signal and the exit code are ros2 bag's"


def qos_profile(values):
    """Return the profile as ros2 bag makes it of a file's words."""
    kinds = {
        "history": HistoryPolicy,
        "reliability": ReliabilityPolicy,
        "durability": DurabilityPolicy,
    }
    return QoSProfile(
        **{k: kinds[k].get_from_short_key(v) if k in kinds else v for k, v in values.items()}
    )


@pytest.mark.parametrize(
    ("options", "broken", "reason"),
    [
        (OPTIONS, "invalid choice: 'mcap'", "can't record mcap (invalid choice: 'mcap')"),
        ("--node-name", "", "doesn't know --topics, --max-cache-size"),
    ],
)
def test_a_ros2_bag_that_can_not_is_said(tmp_path, options, broken, reason):
    stand_in(tmp_path / "bin", options, broken)
    with_own = recorder(tmp_path / "bag", record_with="auto", path=tmp_path / "bin")
    said = first_lines(with_own, "as they appear")
    assert "recording by rtc_recorder itself" in said and reason in said
    with_own.send_signal(signal.SIGINT)
    with_own.communicate(timeout=60)
    assert with_own.returncode == 0 and (tmp_path / "bag").is_dir()
    insisting = recorder(tmp_path / "other", record_with="ros2_bag", path=tmp_path / "bin")
    said, _ = insisting.communicate(timeout=60)
    assert insisting.returncode == 2 and reason in said and "Traceback" not in said


def test_ros2_bag_is_told_the_policy_s_cameras(tmp_path):
    told = stand_in(tmp_path / "bin")
    rclpy.init()
    node = rclpy.create_node("settings")
    try:
        latched = node.create_publisher(String, "/rtc_inference/settings", LATCHED)
        latched.publish(String(data=json.dumps({"cameras": {"observation.images.a": "/wrist"}})))
        process = recorder(
            tmp_path / "bag", "cameras:=true", record_with="auto", path=tmp_path / "bin"
        )
        first_lines(process, "taking over")
        process.kill()
        process.communicate(timeout=60)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    call = json.loads(told.read_text())
    assert call["words"][-2:] == ["/camera/top/image_raw", "/wrist"]
    overrides = yaml.safe_load(call["files"]["--qos-profile-overrides-path"])
    assert overrides["/wrist"]["reliability"] == "best_effort"


def test_an_existing_folder_is_refused_before_ros2_bag_is_called(tmp_path):
    told = stand_in(tmp_path / "bin")
    (tmp_path / "bag").mkdir()
    process = recorder(tmp_path / "bag", record_with="ros2_bag", path=tmp_path / "bin")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "exists already" in said and not told.exists()
