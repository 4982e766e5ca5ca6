"""rtc_inference as a real process with a small real SmolVLA, beside the real controller."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParametersAtomically
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot_double import JOINTS, RobotDouble, executed_fields
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bringup import NodeToRun
from rtc_ros.core.cursor import Mode
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.inference.parameters import INFERENCE
from rtc_ros.running.processes import Processes
from rtc_ros.tools.cli import main as rtc_ros

# Alone: loads a policy and waits for its chunks.
pytestmark = [
    pytest.mark.ros, pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("udp")
]  # fmt: skip

HORIZON, TRAINED_DELAY = 32, 8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint

    spec = TinySpec(
        chunk_size=HORIZON,
        action_dim=3,
        state_dim=3,
        image_features={"observation.images.top": (64, 64), "observation.images.side": (64, 64)},
        hidden=64,
        layers=2,
        vision_hidden=48,
        vision_layers=1,
        max_action_dim=3,
        max_state_dim=3,
        num_steps=4,
    )
    # No limit changes a row, and yet no step is one that no arm could follow.
    stats = {
        "observation.state": {"mean": np.zeros(3), "std": np.ones(3)},
        "action": {"mean": np.zeros(3), "std": np.full(3, 0.02)},
    }
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_checkpoint(folder, spec, stats=stats)
    record = json.loads((folder / "trained_with.json").read_text())
    record["rtc_training_max_delay"] = TRAINED_DELAY
    (folder / "trained_with.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def parameters(checkpoint):
    return {
        "joints": JOINTS,
        "control_period": 0.02,
        "handoff_name": "test",
        "policy_path": str(checkpoint),
        "torch_threads": 1,
        "cameras": ["top", "right"],
        "camera.top.topic": "camera/top",
        "camera.right.topic": "camera/side/compressed",
        "camera.right.transport": "compressed",
        "camera.right.feature": "observation.images.side",
        "s_min": 8,
        "seed": 1,
        "task": "wave",
    }


class Seeing:
    """Adds cameras, settings and chunks to the robot double."""

    def __init__(self, robot):
        self.robot, node = robot, robot.node
        self.chunks = robot.listen(JointTrajectory, "rtc_inference/chunk")
        self.settings = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(
            String,
            "rtc_inference/settings",
            lambda m: self.settings.append(json.loads(m.data)),
            latched,
        )
        self._raw = node.create_publisher(Image, "camera/top", 5)
        self._jpeg = node.create_publisher(CompressedImage, "camera/side/compressed", 5)
        self.publish_images = True
        self.changed = {}
        node.create_timer(0.05, self._publish)

    def _publish(self):
        if not self.publish_images:
            return
        image = Image(height=48, width=64, encoding="rgb8", step=64 * 3)
        image.header.stamp = self.robot.node.get_clock().now().to_msg()
        image.data = np.full((48, 64, 3), 90, np.uint8).tobytes()
        self._raw.publish(image)
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 30, np.uint8))[1]
        message = CompressedImage(format="jpeg", data=jpeg.tobytes())
        message.header.stamp = image.header.stamp
        self._jpeg.publish(message)

    def service(self, kind, name, request):
        return self.robot.ask(kind, f"rtc_inference/{name}", request)

    def set(self, **values):
        kinds = {
            int: ("integer_value", ParameterType.PARAMETER_INTEGER),
            float: ("double_value", ParameterType.PARAMETER_DOUBLE),
            str: ("string_value", ParameterType.PARAMETER_STRING),
        }
        request = SetParametersAtomically.Request()
        self.changed |= values
        for name, value in values.items():
            field, number = kinds[type(value)]
            request.parameters.append(
                Parameter(name=name, value=ParameterValue(type=number, **{field: value}))
            )
        return self.service(SetParametersAtomically, "set_parameters_atomically", request).result

    def until_set(self, **values):
        """Set them as soon as they fit: after a moment's standstill d is large for ten chunks."""
        self.robot.until(lambda: self.set(**values).successful, f"{values}")

    def words(self):
        return [dict(w.split("=") for w in m.header.frame_id.split()) for m in self.chunks]

    def last(self):
        words = self.words()[-1]
        numbers = ("guided", "delay", "stride", "rows", "seq", "origin_step", "latency_ms")
        return words | {k: float(words[k]) for k in numbers}

    def wait_for_chunks(self, more):
        wanted = len(self.chunks) + more
        self.robot.until(lambda: len(self.chunks) >= wanted, f"{more} more chunks", 60.0)


@pytest.fixture(scope="module")
def started(ros, parameters, tmp_path_factory):
    """Both processes, moving; loading a policy for each test would take most of the time."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTC_ROS_SHM_DIR", str(folder))
        robot = RobotDouble(folder)
        try:
            seeing = Seeing(robot)
            robot.start(
                makes_chunks=False, start_when_ready=True, max_velocity=[1000.0],
                hold_timeout=60.0,  # loading a policy again takes as long as the machine lets it
            )  # fmt: skip
            robot.processes.start([NodeToRun("rtc_inference", parameters=parameters)])
            seeing.wait_for_chunks(3)
            yield seeing
        finally:
            robot.close()


@pytest.fixture
def running(started, parameters):
    """Both processes, moving, with the settings that they were started with."""
    robot = started.robot
    first = {p.name: p.default for p in INFERENCE if p.live}
    first |= {name: value for name, value in parameters.items() if name in first}
    changed = {n: first[n] for n, v in started.changed.items() if n in first and v != first[n]}
    if changed:
        started.until_set(**changed)
        started.changed.clear()
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion", 60.0)
    for heard in (started.chunks, robot.executed, robot.swaps):
        heard.clear()
    started.wait_for_chunks(3)
    return started


def assert_consecutive(steps):
    """Check that no step is left out or told twice."""
    numbers = [int(s["rtc/step"]) for s in steps]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_chunks_are_handed_over_executed_and_published(running):
    running.wait_for_chunks(6)
    robot = running.robot

    def foreseen():
        """Return the swaps between two chunks seen here that came no later than expected."""
        seen = {int(w["seq"]) for w in running.words()}
        return [
            s
            for s in robot.swaps
            if {s["chunk_seq"], s["previous_seq"]} <= seen
            and s["guided"]
            and s["delay_observed"] <= s["delay_forecast"] <= HORIZON - s["stride"]
        ]

    robot.until(foreseen, "a swap")  # none while this machine stands still
    assert robot.cursor.read().mode is Mode.RUNNING
    moved = [m for m in robot.executed if m.header.frame_id == "execute"]
    steps = [executed_fields(m) for m in moved]
    assert_consecutive(steps)
    published = {}
    for message in running.chunks:
        words = dict(w.split("=") for w in message.header.frame_id.split())
        published[int(words["seq"])] = (int(words["origin_step"]), message)
        assert message.joint_names == JOINTS and len(message.points) == HORIZON
    checked = 0
    for message, step in zip(moved, steps, strict=True):
        if int(step["rtc/chunk_seq"]) in published:
            origin, chunk = published[int(step["rtc/chunk_seq"])]
            row = chunk.points[int(step["rtc/step"]) - origin].positions
            np.testing.assert_allclose(message.velocity[:3], row)
            checked += 1
    assert checked > 20
    # What the chunk was made of: seeds count up from the parameter, stamps are the cameras'.
    words, later = running.words(), foreseen()[-1]
    seeds = [int(w["seed"]) for w in words]
    assert seeds == [int(words[0]["seed"]) + i for i in range(len(words))] and seeds[0] >= 1
    named = {int(w["seq"]): w for w in words}
    previous = named[later["previous_seq"]]
    assert named[later["chunk_seq"]]["previous"] == f"{previous['epoch']}:{previous['seq']}"
    assert len(words[-1]["images"].split(",")) == 2
    assert words[-1]["joints"] == "0", "this driver stamps nothing"
    assert float(words[-1]["beta"]) == 5.0 and words[-1]["schedule"] == "exp"
    assert later["stride"] >= 8
    # Guided to what was executed: the frozen rows of a new chunk are those of the old one.
    origin, new = published[later["chunk_seq"]]
    previous_origin, old = published[later["previous_seq"]]
    new_rows = np.array([p.positions for p in new.points])
    old_rows = np.array([p.positions for p in old.points])[origin - previous_origin :]
    d = max(1, later["delay_forecast"])
    apart = np.abs(new_rows[:d] - old_rows[:d]).mean()
    assert apart < 0.5 * np.abs(new_rows[:d] - np.roll(old_rows, 7, axis=0)[:d]).mean()


def test_settings_and_parameters_are_latched_for_recorders_that_come_later(running):
    robot, heard = running.robot, {}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for name in ("rtc_inference", "rtc_controller"):
        robot.node.create_subscription(
            String, f"{name}/parameters", lambda m, n=name: heard.update({n: m.data}), latched
        )
    robot.until(lambda: len(heard) == 2, "both nodes' parameters")

    def said(name):
        return yaml.safe_load(heard[name])[f"/{name}"]["ros__parameters"]

    assert said("rtc_inference")["camera.right.transport"] == "compressed"
    assert said("rtc_inference")["s_min"] == 8
    assert said("rtc_controller")["joints"] == JOINTS
    running.until_set(s_min=6)
    robot.until(lambda: said("rtc_inference")["s_min"] == 6, "the change")


def test_settings_change_live_are_validated_together_and_reported(running):
    settings = running.settings
    running.robot.until(lambda: settings and "horizon" in settings[-1], "those with a policy")
    before = running.settings[-1]
    assert before["horizon"] == HORIZON and before["num_steps"] == 4
    assert before["s"] == max(before["d_forecast"], 8)

    refused = running.set(s_min=HORIZON, beta=2.0)
    assert not refused.successful
    assert f"H = {HORIZON}" in refused.reason and "s_min" in refused.reason
    assert running.settings[-1] == before  # as a whole: beta neither

    words = running.set(schedule="sigmoid")
    assert not words.successful and "'sigmoid'" in words.reason and "exp_shifted" in words.reason
    assert not running.set(beta=-1.0).successful
    assert not running.set(handoff_name="other").successful  # read only

    running.until_set(
        s_min=6, beta=2.5, schedule="linear", jacobian="identity", sigma_d=0.5, num_steps=2
    )
    running.robot.until(lambda: running.settings[-1]["beta"] == 2.5, "the report")
    after = running.settings[-1]
    assert (after["s_min"], after["mask_schedule"], after["num_steps"]) == (6, "linear", 2)
    assert (after["jacobian"], after["sigma_d"]) == ("identity", 0.5)

    running.until_set(strategy="naive_async")
    running.wait_for_chunks(3)
    assert running.last()["guided"] == 0
    running.until_set(strategy="synchronous", inject_latency_ms=60.0)
    running.wait_for_chunks(3)
    assert running.last()["rows"] == 6
    held = lambda: running.robot.executed[-1].header.frame_id == "hold: starved"  # noqa: E731
    running.robot.until(held, "the pause of synchronous execution")
    running.until_set(strategy="rtc_hard", inject_latency_ms=0.0)
    running.wait_for_chunks(3)
    running.robot.until(lambda: running.last()["guided"] == 1, "a guided chunk")
    assert running.settings[-1]["mask_schedule"] == "zeros"


def test_each_strategy_can_be_chosen_while_moving_and_no_step_is_lost(running):
    for name, strategy in STRATEGIES.items():
        before = len(running.chunks)
        running.until_set(strategy=name, bid_candidates=4, bid_contrast=0)
        running.wait_for_chunks(3)
        assert running.last()["strategy"] == name
        if strategy.prefix is not None:  # not where the arm starved: nothing goes on from there
            running.robot.until(lambda: running.last()["guided"] == 1, "a guided chunk")
        else:
            made = [w for w in running.words()[before:] if w["strategy"] == name]
            assert {w["guided"] for w in made} == {"0"}
    moved = [m for m in running.robot.executed if m.header.frame_id == "execute"]
    steps = [executed_fields(m) for m in moved]
    assert_consecutive(steps)
    assert all(s["rtc/row"] == s["rtc/step"] - s["rtc/origin_step"] for s in steps)


def test_given_rows_are_a_prev_and_beyond_the_training_they_are_refused(running):
    running.until_set(strategy="rtc_trained")
    running.robot.until(lambda: running.last()["strategy"] == "rtc_trained", "a chunk of it")
    running.wait_for_chunks(3)
    refused = running.set(inject_latency_ms=200.0)
    assert not refused.successful
    assert f"rtc_training_max_delay = {TRAINED_DELAY}" in refused.reason
    running.until_set(strategy="rtc")
    running.until_set(inject_latency_ms=200.0)
    running.wait_for_chunks(3)
    refused = running.set(strategy="rtc_trained")
    assert not refused.successful and f"= {TRAINED_DELAY}" in refused.reason
    assert running.settings[-1]["trained_delay"] == TRAINED_DELAY


def test_injected_latency_is_foreseen_and_never_starves(running):
    robot = running.robot
    running.wait_for_chunks(8)
    for _ in range(5):  # a process that stands still longer than what is left of a chunk starves
        robot.executed.clear()
        running.until_set(inject_latency_ms=100.0)
        running.wait_for_chunks(5)
        moved = [m.header.frame_id for m in robot.executed]
        starved = "hold: starved" in moved[moved.index("execute") :]
        if not starved:
            break
        running.until_set(inject_latency_ms=0.0)
    assert not starved
    assert running.last()["latency_ms"] >= 100
    assert robot.swaps[-1]["delay_observed"] >= 5
    for change in ({"inject_latency_ms": 1000.0}, {"num_steps": 1000}):
        refused = running.set(**change)
        assert not refused.successful and "d must be at most H / 2 = 16" in refused.reason


def test_parameters_are_set_together_by_the_command(running, capsys):
    assert rtc_ros(["set", "s_min:=7", "beta:=3", "task:=go on"]) == 0
    running.robot.until(lambda: running.settings[-1]["task"] == "go on", "the report")
    after = running.settings[-1]
    assert (after["s_min"], after["beta"]) == (7, 3.0), "a whole number is a number, too"
    assert rtc_ros(["set", "beta:=4", "s_min:=200"]) == 1
    assert f"H = {HORIZON}" in capsys.readouterr().err and running.settings[-1]["beta"] == 3.0
    for word, told in {
        "smin:=3": "rtc_inference has no parameter smin: did you mean s_min?",
        "s_min:=many": "s_min is a whole number, not 'many'",
        "s_min": "s_min is not of the form name:=value",
    }.items():
        assert rtc_ros(["set", word]) == 2
        assert told in capsys.readouterr().err


def test_the_task_is_set_by_topic_and_parameter(running):
    task = running.robot.node.create_publisher(String, "rtc_inference/task", 1)
    running.robot.until(lambda: task.get_subscription_count() > 0, "a subscriber")
    task.publish(String(data="go left"))
    running.robot.until(lambda: running.settings[-1]["task"] == "go left", "the task")
    assert running.set(task="go right").successful
    running.robot.until(lambda: running.settings[-1]["task"] == "go right", "the task")
    got = running.service(GetParameters, "get_parameters", GetParameters.Request(names=["task"]))
    assert got.values[0].string_value == "go right"


def test_a_sentence_that_is_read_in_part_is_refused_with_its_tokens(running):
    """The tiny policy's tokens are bytes; it reads 48, two sentences that differ later are one."""
    robot, long = running.robot, "put it into the basket that stands on the far left"
    before = running.settings[-1]["task"]
    refused = running.set(task=long)
    assert not refused.successful
    assert f"{len(long) + 1} tokens" in refused.reason and "reads 48" in refused.reason
    task = robot.node.create_publisher(String, "rtc_inference/task", 1)
    robot.until(lambda: task.get_subscription_count() > 0, "a subscriber")
    task.publish(String(data=long))
    said = f"~/task refused, {before!r} stays: the task has {len(long) + 1} tokens"
    robot.until(lambda: said in (robot.folder / "rtc_inference.log").read_text(), "the sentence")
    running.wait_for_chunks(1)
    assert running.settings[-1]["task"] == before


def test_every_parameter_says_what_it_is(running):
    names = ["s_min", "beta", "sigma_d", "task", "control_period", "camera.top.transport"]
    described = running.service(
        DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names)
    ).descriptors
    assert all(len(d.description) > 10 for d in described)
    assert [d.read_only for d in described] == [False, False, False, False, True, True]
    assert described[0].integer_range[0].from_value == 1


def test_without_images_no_inference_starts_and_the_camera_is_named(running):
    robot = running.robot
    running.publish_images = False
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")

    def told():
        status = robot.diagnostics.get("rtc_inference: inference")
        return status is not None and "camera_timeout is 0.5 s" in status.message

    robot.until(told, "the diagnosis")
    running.publish_images = True
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion")


def test_a_reset_while_chunks_come_seldom_is_granted(running):
    """rtc_inference says all the time that it could make a chunk, not while the gate is closed."""
    robot = running.robot
    running.until_set(s_min=16)
    before = robot.cursor.read()
    robot.until(lambda: robot.cursor.read().step > before.step + 130, "2.6 s of motion", 30.0)
    answer = robot.call("reset")
    assert answer.success, answer.message
    robot.until(lambda: robot.cursor.read().epoch > before.epoch, "a new run")
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion", 30.0)


def test_killed_inference_starves_the_controller_and_comes_back(running, parameters):
    robot = running.robot
    os.kill(robot.processes.pid("rtc_inference"), signal.SIGKILL)
    robot.processes.stop("rtc_inference")
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    # What comes by topic may lag behind the cursor.
    held = lambda: robot.executed[-1].header.frame_id == "hold: starved"  # noqa: E731
    robot.until(held, "the hold")
    pose = np.array(robot.executed[-1].position[:3])
    before = robot.cursor.read()
    robot.spin(0.2)
    np.testing.assert_array_equal(robot.executed[-1].position[:3], pose)
    robot.processes.start([NodeToRun("rtc_inference", parameters=parameters)])
    robot.until(lambda: robot.cursor.read().step > before.step + 10, "motion", 60.0)
    assert robot.cursor.read().epoch == before.epoch  # the same run of steps


def test_start_is_refused_by_the_name_of_what_is_missing(running, parameters):
    """A camera is told from a process that is gone."""
    robot = running.robot
    robot.call("stop")
    running.publish_images = False
    robot.spin(3.0)
    said = robot.call("start")
    assert not said.success and "couldn't make a chunk for" in said.message
    assert "the last image of camera top on camera/top is" in said.message, said.message
    running.publish_images = True
    robot.begin()
    robot.call("stop")
    pid = robot.processes.pid("rtc_inference")
    os.kill(pid, signal.SIGKILL)
    robot.processes.stop("rtc_inference")
    said = robot.call("start")
    assert not said.success and f"process {pid}, which wrote" in said.message, said.message
    assert "is gone: it was killed or crashed; start it again" in said.message
    robot.processes.start([NodeToRun("rtc_inference", parameters=parameters)])
    robot.until(lambda: robot.call("start").success, "its return", 60.0)
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion", 60.0)


def test_lifecycle_and_clean_exit(running):
    state = running.service(GetState, "get_state", GetState.Request())
    assert state.current_state.label == "active"
    robot = running.robot
    os.kill(robot.processes.pid("rtc_inference"), signal.SIGTERM)
    assert robot.processes.stop("rtc_inference")["rtc_inference"] == 0, robot.logs()
    assert "Traceback" not in robot.logs()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"joints": ["a", "b"]}, "the policy commands 3 joints, but `joints` names 2"),
        ({"camera.right.feature": "observation.images.left"}, "needs observation.images.side"),
        ({"cameras": ["top"]}, "than its base model has, name it in left_out_images"),
        ({"left_out_images": ["observation.images.side"]}, "side, which a camera gives"),
        ({"left_out_images": ["observation.images.back"]}, "names observation.images.back, and"),
        ({"policy_path": "/nowhere"}, "/nowhere"),
        ({"policy_path": "package:nothing"}, "no checkpoint 'nothing' ships with rtc_ros"),
        ({"s_min": 32}, "H = 32"),
        ({"task": "x" * 60}, "the task has 61 tokens and the policy reads 48"),
    ],
)
def test_what_does_not_fit_is_said_in_the_log(ros, tmp_path, parameters, changes, sentence):
    node = NodeToRun("rtc_inference", parameters={**parameters, **changes})
    process = subprocess.Popen(
        [sys.executable, "-m", node.module, *node.ros_arguments()],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "can't be configured" in line:
                break
        assert sentence in lines[-1], lines
        assert "Traceback" not in "".join(lines)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_it_runs_without_a_camera_that_the_policy_was_never_shown(
    started, tmp_path, parameters, monkeypatch
):
    started.robot.processes.stop()  # nodes of one name are there once
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    changes = {"cameras": ["top"], "left_out_images": ["observation.images.side"]}
    robot = RobotDouble(tmp_path)
    try:
        seeing = Seeing(robot)
        robot.start(makes_chunks=False, start_when_ready=True, max_velocity=[1000.0])
        robot.processes.start([NodeToRun("rtc_inference", parameters={**parameters, **changes})])
        seeing.wait_for_chunks(3)
        robot.until(lambda: seeing.settings, "the settings")
        assert seeing.settings[-1]["left_out_images"] == ["observation.images.side"]
        assert set(seeing.settings[-1]["cameras"]) == {"observation.images.top"}
    finally:
        robot.close()


def test_a_signal_while_torch_is_imported_ends_it_cleanly(ros, tmp_path, parameters):
    with Processes(tmp_path) as processes:
        processes.start([NodeToRun("rtc_inference", parameters=parameters)])
        pid, log = processes.pid("rtc_inference"), tmp_path / "rtc_inference.log"
        wait_for(lambda: "libtorch" in Path(f"/proc/{pid}/maps").read_text(), log)
        os.kill(pid, signal.SIGTERM)
        # One that doesn't end gets a SIGKILL, and its exit code is another.
        assert processes.stop("rtc_inference") == {"rtc_inference": 0}, log.read_text()
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("asked", ["by itself", "by a service"])
def test_a_signal_while_the_policy_loads_for_ever_ends_it_cleanly(
    ros, tmp_path, parameters, stand_in, asked
):
    stand_in("rtc_inference", "inference_that_never_loads")
    changes = {"autostart": asked == "by itself"}
    caller = rclpy.create_node("caller")
    with Processes(tmp_path) as processes:
        processes.start([NodeToRun("rtc_inference", parameters={**parameters, **changes})])
        log = tmp_path / "rtc_inference.log"
        client = caller.create_client(ChangeState, "rtc_inference/change_state")
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_CONFIGURE

        def loads():
            if asked == "by a service":  # more than once: DDS may hand one to a dead process
                client.call_async(request)
            return "loading for ever" in log.read_text()

        wait_for(loads, log)
        os.kill(processes.pid("rtc_inference"), signal.SIGTERM)
        assert processes.stop("rtc_inference") == {"rtc_inference": 0}, log.read_text()
        assert "the policy is still being loaded; leaving it" in log.read_text()
        assert "Traceback" not in log.read_text()
    caller.destroy_node()


def wait_for(condition, log):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
