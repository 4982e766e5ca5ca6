"""The configurations in config/: every name exists, and the real-robot ones start and command."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot_double import RobotDouble, executed_fields
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bringup import MODULES, config_file, nodes_to_run
from rtc_ros.nodes.parameter_table import CAMERA, COMMON, CONTROLLER, GROUP, INFERENCE
from rtc_ros.nodes.recorder_parameters import RECORDER
from rtc_ros.sim.driver_parameters import DRIVER, camera_parameters

CONFIG = Path(config_file("sim.yaml")).parent
PAIRS = ("forward_pair.yaml", "trajectory_pair.yaml")
HORIZON = 32
IMAGE = (48, 64)


def flat(tree, prefix=""):
    """Parameters by their full names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def sections(name):
    """Section -> parameters of a file of config/."""
    tree = yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))
    return {key.removeprefix("/**/"): dict(flat(s["ros__parameters"])) for key, s in tree.items()}


def known(section, values):
    """The parameters that the nodes of a section declare, given its cameras and groups."""
    tables = {
        "/**": [("", COMMON)],
        "rtc_inference": [
            ("", COMMON + INFERENCE),
            *((f"camera.{c}.", CAMERA) for c in values.get("cameras", [])),
        ],
        "rtc_controller": [
            ("", COMMON + CONTROLLER),
            *((f"group.{g}.", GROUP) for g in values.get("command_groups", [])),
        ],
        "rtc_recorder": [("", RECORDER)],
        "rtc_sim": [
            ("", DRIVER),
            *((f"camera.{c}.", camera_parameters(c)) for c in values.get("cameras", [])),
        ],
    }
    return {prefix + p.name: p for prefix, table in tables[section] for p in table}


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIG.glob("*.yaml")))
def test_names_only_parameters_that_exist_with_values_of_their_type(name):
    for section, values in sections(name).items():
        assert section == "/**" or section in MODULES
        table = known(section, values)
        assert not set(values) - set(table), f"{name}, {section}"
        for key, value in values.items():
            default = table[key].default
            first, like = (value[0], default[0]) if isinstance(default, list) else (value, default)
            assert type(first) is type(like), f"{name}: {key} is {value!r}"
            if isinstance(value, list):
                assert {type(x) for x in value} == {type(first)}, f"{name}: {key} mixes types"


@pytest.mark.parametrize("name", PAIRS)
def test_the_commands_are_among_what_is_recorded(name):
    parts = sections(name)
    topics = {v for k, v in parts["rtc_controller"].items() if k.endswith(".topic")}
    topics |= set(parts["/**"]["joint_state_topics"])
    assert topics <= set(parts["rtc_recorder"]["topics"])


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_moves_by_itself_and_every_joint_has_real_limits(name):
    parts = sections(name)
    joints, controller = parts["/**"]["joints"], parts["rtc_controller"]
    assert controller["start_when_ready"] is False
    lower, upper = (np.array(controller[f"position_{x}"]) for x in ("lower", "upper"))
    speed = np.array(controller["max_velocity"])
    assert len(joints) == len(set(joints)) == len(lower) == len(upper) == len(speed) == 14
    assert np.isfinite(lower).all() and (lower < upper).all() and (speed > 0).all()
    cameras = parts["rtc_inference"]["cameras"]
    transports = [parts["rtc_inference"].get(f"camera.{c}.transport", "raw") for c in cameras]
    assert len(cameras) == 3 and transports.count("compressed") == 1


class PairDouble(RobotDouble):
    """The drivers of a pair as a configuration describes them: states, cameras, command topics."""

    def __init__(self, folder, name):
        self.name, parts = name, sections(name)
        self.joints = parts["/**"]["joints"]
        self.period_s = parts["/**"]["control_period"]
        self.inference, self.controller = parts["rtc_inference"], parts["rtc_controller"]
        lower, upper = (self.controller[f"position_{x}"] for x in ("lower", "upper"))
        share = np.linspace(0.4, 0.6, len(self.joints))  # no two joints at one position
        self.initial = np.array(lower) * (1 - share) + np.array(upper) * share
        super().__init__(folder)
        self._topics = parts["/**"]["joint_state_topics"]
        self._joint_states = [self.node.create_publisher(JointState, t, 10) for t in self._topics]
        self._cameras = []
        for camera in self.inference["cameras"]:
            jpeg = self.inference.get(f"camera.{camera}.transport") == "compressed"
            topic = self.inference[f"camera.{camera}.topic"]
            kind = CompressedImage if jpeg else Image
            self._cameras.append((self.node.create_publisher(kind, topic, 2), jpeg))
        self.node.create_timer(0.05, self._publish_images)

    def _publish(self):
        # Over as many topics as configured, in another order than the policy's.
        order = np.arange(len(self.joints))[::-1]
        for part, publisher in zip(
            np.array_split(order, len(self._topics)), self._joint_states, strict=True
        ):
            message = JointState(
                name=[self.joints[i] for i in part], position=[self.initial[i] for i in part]
            )
            message.header.stamp = self.node.get_clock().now().to_msg()
            publisher.publish(message)

    def _publish_images(self):
        pixels = np.full((*IMAGE, 3), 90, np.uint8)
        for publisher, jpeg in self._cameras:
            if jpeg:
                message = CompressedImage(format="rgb8; jpeg compressed bgr8")
                message.data = cv2.imencode(".jpg", pixels)[1].tobytes()
            else:
                message = Image(height=IMAGE[0], width=IMAGE[1], encoding="rgb8")
                message.step, message.data = 3 * IMAGE[1], pixels.tobytes()
            message.header.stamp = self.node.get_clock().now().to_msg()
            publisher.publish(message)

    def checkpoint(self):
        """A tiny SmolVLA for these joints and cameras, whose actions stay about the pose."""
        from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint

        size, values = len(self.joints), self.inference
        features = [
            values.get(f"camera.{c}.feature", f"observation.images.{c}") for c in values["cameras"]
        ]
        spec = TinySpec(
            chunk_size=HORIZON,
            image_features=dict.fromkeys(features, IMAGE),
            hidden=64,
            layers=2,
            vision_hidden=48,
            vision_layers=1,
            num_steps=4,
        )
        scale = np.array(values.get("joint_scale", [1.0] * size))
        offset = np.array(values.get("joint_offset", [0.0] * size))
        width = (np.array(self.controller["position_upper"]) - self.initial) * np.abs(scale) / 100
        stats = {"mean": self.initial * scale + offset, "std": width}
        return write_tiny_checkpoint(
            self.folder / "checkpoint", spec, stats={"observation.state": stats, "action": stats}
        )

    def run(self, **changes):
        """Start the two nodes as the launch file would; wait until the policy is loaded."""
        settings = self.listen_latched()
        values = {"params_file": config_file(self.name), "policy_path": str(self.checkpoint())}
        for node in nodes_to_run(values, simulated=False):
            mine = changes if node.executable == "rtc_controller" else {"torch_threads": 1}
            parameters = {**node.parameters, **mine}
            self.processes.start([dataclasses.replace(node, parameters=parameters)])
        self.until(lambda: settings, "a loaded policy", 120.0)

    def listen_latched(self):
        into = []
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(String, "rtc_inference/settings", into.append, qos)
        return into


@pytest.fixture
def pair(ros, tmp_path, monkeypatch, request):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    double = PairDouble(tmp_path, request.param)
    yield double
    double.close()


def commands(pair, kind):
    """Group -> (its joints, the messages heard on its topic)."""
    return {
        group: (
            pair.controller[f"group.{group}.joints"],
            pair.listen(kind, pair.controller[f"group.{group}.topic"]),
        )
        for group in pair.controller["command_groups"]
    }


def start_and_move(pair, heard, ticks=30):
    assert not any(messages for _, messages in heard.values())
    pair.until(lambda: pair.call("start").success, "a started controller")
    moved = lambda: sum(m.header.frame_id == "execute" for m in pair.executed)  # noqa: E731
    pair.until(lambda: moved() >= ticks, "motion", 60.0)
    pair.until(lambda: all(messages for _, messages in heard.values()), "commands")


def check_rows(pair, joints, rows):
    """Each row is what one tick executed, in the driver's order, near where the arm stands."""
    executed = [executed_fields(m) for m in pair.executed if m.header.frame_id == "execute"]
    ticks = [[fields[j] for j in joints] for fields in executed]
    assert all(len(set(tick)) == len(joints) for tick in ticks)
    checked = [row for row in rows if row in ticks]
    assert len(checked) > 10
    pose = [pair.initial[pair.joints.index(j)] for j in joints]
    span = np.array(pair.controller["position_upper"]) - pair.controller["position_lower"]
    near = [0.2 * span[pair.joints.index(j)] for j in joints]
    assert (np.abs(np.array(rows) - pose) < near).all()
    assert np.ptp(rows, axis=0).min() > 0


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("pair", ["forward_pair.yaml"], indirect=True)
def test_forward_command_controllers_get_seven_numbers_in_their_order(pair):
    heard = commands(pair, Float64MultiArray)
    pair.run()
    start_and_move(pair, heard)
    for joints, messages in heard.values():
        assert {len(m.data) for m in messages} == {7} and len(joints) == 7
        check_rows(pair, joints, [list(m.data) for m in messages])


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("pair", ["trajectory_pair.yaml"], indirect=True)
def test_joint_trajectory_controllers_get_single_points_due_in_1_5_periods(pair):
    heard = commands(pair, JointTrajectory)
    pair.run()
    start_and_move(pair, heard)
    for joints, messages in heard.values():
        assert all(list(m.joint_names) == joints for m in messages)
        assert {len(m.points) for m in messages} == {1}
        assert {m.header.stamp.sec for m in messages} == {0}
        due = {m.points[0].time_from_start.nanosec for m in messages}
        assert due == {round(1.5e9 * pair.period_s)}
        check_rows(pair, joints, [list(m.points[0].positions) for m in messages])


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("pair", ["trajectory_pair.yaml"], indirect=True)
def test_the_commented_switch_to_whole_chunks_needs_nothing_else(pair):
    heard = commands(pair, JointTrajectory)
    pair.run(**{f"group.{g}.type": "joint_trajectory_chunk" for g in heard})
    start_and_move(pair, heard, ticks=50)
    for joints, messages in heard.values():
        assert all(list(m.joint_names) == joints for m in messages)
        assert max(len(m.points) for m in messages) > HORIZON // 2
        assert len(messages) < 25  # once a swap, not once a tick
        first = messages[0].points
        apart = first[1].time_from_start.nanosec - first[0].time_from_start.nanosec
        assert apart == round(1e9 * pair.period_s)
