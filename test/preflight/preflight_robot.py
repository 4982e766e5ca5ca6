"""A robot for preflight to look at: drivers as real nodes of this process, with faults planted."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray

from rtc_ros.bringup import config_file
from rtc_ros.controller.robot_description import LATCHED
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.preflight.findings import Finding
from rtc_ros.preflight.probe import Probe
from rtc_ros.preflight.setup import read_setup
from rtc_ros.tools.preflight import examine

PARAMETERS = yaml.safe_load(Path(config_file("sim.yaml")).read_text(encoding="utf-8"))
JOINTS: list[str] = PARAMETERS["/**"]["ros__parameters"]["joints"]
SIDES = {"left": JOINTS[:7], "right": JOINTS[7:]}


def trained_pose() -> np.ndarray:
    """The mean state of the shipped checkpoint's data, a little aside."""
    spread = read_checkpoint(checkpoint_path("package:aloha_cube")).state_spread
    assert spread is not None
    return np.clip(spread.middle + 0.3 * spread.width, -1.7, 1.2)


class PreflightRobot:
    """Two arms and a camera as in config/sim.yaml; every attribute may be changed before `up`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.names, self.pose = list(JOINTS), trained_pose()
        self.state_hz, self.stamp_offset_s, self.stamped = 100.0, 0.0, True
        self.camera_qos = QoSProfile(depth=2)
        self.camera_hz, self.encoding, self.sizes = 20.0, "rgb8", [(96, 96)]
        self.compressed: tuple[str, bytes] | None = None
        """Format and bytes of what the camera sends in place of raw images."""
        self.slow: dict[str, float] = {}
        """Joint → how often it is sent [Hz], in messages of its own."""
        self.listener_type: Any = Float64MultiArray
        self.listener_qos = QoSProfile(depth=10)
        self.listener_parameters: dict[str, dict[str, Any]] = {s: {} for s in SIDES}
        self.deaf: set[str] = set()
        self.driver_parameters: dict[str, Any] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.change("/**/rtc_controller", max_acceleration=[20.0])  # the simulation has none
        self._executor = SingleThreadedExecutor(context=self.context)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._images = 0
        self.nodes: list[Node] = []

    def node(self, name: str, *, services: bool = True, **parameters: Any) -> Node:
        """Make a node that is spun; without ``services`` it doesn't tell its parameters."""
        given = [Parameter(k, value=v) for k, v in parameters.items()]
        made = Node(
            name,
            context=self.context,
            use_global_arguments=False,
            parameter_overrides=given,
            start_parameter_services=services,
            automatically_declare_parameters_from_overrides=True,
        )
        self.nodes.append(made)
        self._executor.add_node(made)
        return made

    def up(self) -> None:
        """Start the drivers."""
        driver = self.node("driver", **self.driver_parameters)
        self._driver = driver
        self._states = driver.create_publisher(JointState, "joint_states", 10)
        if self.state_hz:
            driver.create_timer(1 / self.state_hz, self._publish_states)
        for joint, hz in self.slow.items():
            driver.create_timer(1 / hz, lambda joint=joint: self._publish_joints([joint]))
        kind = Image if self.compressed is None else CompressedImage
        self._camera = driver.create_publisher(kind, "camera/top/image_raw", self.camera_qos)
        if self.camera_hz:
            driver.create_timer(1 / self.camera_hz, self._publish_image)
        for side in set(SIDES) - self.deaf:
            listener = self.node(f"{side}_controller", **self.listener_parameters[side])
            listener.create_subscription(
                self.listener_type, f"{side}_arm/commands", lambda m: None, self.listener_qos
            )
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _stamp(self, message: Any) -> Any:
        if self.stamped:
            now = time.time_ns() + round(self.stamp_offset_s * 1e9)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        return message

    def _publish_states(self) -> None:
        self._publish_joints([name for name in self.names if name not in self.slow])

    def _publish_joints(self, names: list[str]) -> None:
        pose = dict(zip(self.names, self.pose, strict=True))
        message = JointState(name=names, position=[float(pose[name]) for name in names])
        self._states.publish(self._stamp(message))

    def _publish_image(self) -> None:
        if self.compressed is not None:
            said, data = self.compressed
            self._camera.publish(self._stamp(CompressedImage(format=said, data=data)))
            return
        height, width = self.sizes[self._images % len(self.sizes)]
        self._images += 1
        channels = {"32FC1": 4, "mono8": 1}.get(self.encoding, 3)
        message = Image(height=height, width=width, encoding=self.encoding, step=channels * width)
        message.data = bytes(channels * width * height)
        self._camera.publish(self._stamp(message))

    def second(self, kind: Any, topic: str, name: str, message: Any, hz: float = 20.0) -> None:
        """Add a node that publishes ``message`` on ``topic``."""
        node = self.node(name)
        publisher = node.create_publisher(kind, topic, 10)
        node.create_timer(1 / hz, lambda: publisher.publish(message))

    def latched(self, topic: str, message: Any) -> None:
        """Add a node that published ``message`` once, for whoever comes later."""
        node = self.node("latched")
        self._latched = node.create_publisher(type(message), topic, LATCHED)
        self._latched.publish(message)

    def clock(self, *, moves: bool) -> None:
        """Publish /clock."""
        node = self.node("simulator")
        publisher, begun = node.create_publisher(Clock, "/clock", 10), time.time()
        now = Clock()

        def tick() -> None:
            now.clock.sec, now.clock.nanosec = divmod(
                round((time.time() if moves else begun) * 1e9), 10**9
            )
            publisher.publish(now)

        node.create_timer(0.01, tick)

    def change(self, section: str, **values: Any) -> None:
        """Change parameters of a section of the parameter file; ``__`` in a name is a dot."""
        mine = self.changes.setdefault(section, {})
        mine.update({name.replace("__", "."): value for name, value in values.items()})

    def parameter_file(self) -> str:
        """Write the parameter file and return its path."""
        tree = {key: dict(part["ros__parameters"]) for key, part in PARAMETERS.items()}
        for section, values in self.changes.items():
            tree[section].update(values)
        path = self.folder / "robot.yaml"
        text = yaml.safe_dump({key: {"ros__parameters": part} for key, part in tree.items()})
        path.write_text(text, encoding="utf-8")
        return str(path)

    def findings(self, seconds: float = 0.6, **options: Any) -> list[Finding]:
        """Return what preflight finds."""
        with Probe() as probe:
            setup = read_setup(self.parameter_file(), {}, probe.context)
            return examine(setup, probe, seconds=seconds, **{"patience_s": 10.0, **options})

    def down(self) -> None:
        """End everything."""
        self._executor.shutdown(timeout_sec=2.0)
        if self._thread.is_alive():  # what it waits for must not be freed beneath it
            self._thread.join(timeout=5.0)
        for node in self.nodes:
            node.destroy_node()
        self.context.try_shutdown()
