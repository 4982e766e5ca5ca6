"""Listens to a running robot: samples of its topics, the graph, other nodes' parameters."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.context import Context
from rclpy.duration import Infinite
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from rtc_ros.controller.robot_description import LATCHED
from rtc_ros.preflight.setup import Setup
from rtc_ros.ros.sources import Publishers, Sources
from rtc_ros.running.watch import call

NODE_NAME = "rtc_preflight"
_ANSWER_S = 2.0
_ASK_S = 0.5
KEPT_IMAGES = 2
"""Images of a topic that are kept with their pixels."""

STATE_QOS = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE_QOS = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMAND_QOS = QoSProfile(depth=10, deadline=Infinite, liveliness_lease_duration=Infinite)
"""The profiles that the nodes use (docs/interface.md), with room for a burst."""


@dataclass(frozen=True)
class Heard:
    """A message: when it came (CLOCK_MONOTONIC), its age by the ROS clock then, and from whom."""

    received_ns: int
    stamp_ns: int
    age_s: float
    publisher: bytes
    message: Any


def news(heard: Iterable[Heard]) -> list[int]:
    """Return when messages came that a node would take for news (``Sources``)."""
    sources = Sources()
    return [h.received_ns for h in heard if sources.hear(h.publisher, h.stamp_ns, h.received_ns)]


class Probe:
    """A node on a context of its own; spun only while a method waits.

    ``heard`` holds what came in by topic; images beyond the first two are kept without pixels.
    """

    def __init__(self, context: Context | None = None) -> None:
        self.context = context or Context()
        if not self.context.ok():
            with call("the start of a context"):
                rclpy.init(
                    args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO
                )
        self.heard: dict[str, list[Heard]] = defaultdict(list)
        self.clock_ticks: list[int] = []
        self.begun_ns = self.ended_ns = 0
        self._executor: SingleThreadedExecutor | None = None
        self._parameters: dict[str, Mapping[str, Any] | None] = {}

    def listen(self, setup: Setup) -> None:
        """Subscribe to everything that ``setup`` names."""
        with call("the start of a node"):
            self.node = Node(
                NODE_NAME,
                context=self.context,
                use_global_arguments=False,
                parameter_overrides=[Parameter("use_sim_time", value=setup.use_sim_time)],
            )
            self._executor = SingleThreadedExecutor(context=self.context)
            self._executor.add_node(self.node)
            for topic in setup.state_topics:
                self._subscribe(JointState, topic, STATE_QOS)
            for camera in setup.cameras:
                kind = CompressedImage if camera.compressed else Image
                self._subscribe(kind, camera.topic, CAMERA_QOS)
            self.node.create_subscription(Clock, "/clock", self._on_clock, CAMERA_QOS)

    def _on_clock(self, message: Clock) -> None:
        self.clock_ticks.append(message.clock.sec * 10**9 + message.clock.nanosec)

    def _subscribe(self, kind: Any, topic: str, qos: QoSProfile) -> None:
        publishers = Publishers()

        def take(message: Any, info: Mapping[str, Any]) -> None:
            self._take(topic, message, publishers.of(info, time.monotonic_ns()))

        self.node.create_subscription(kind, topic, take, qos)

    def _take(self, topic: str, message: Any, publisher: bytes) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        age_s = (self.node.get_clock().now().nanoseconds - stamp) * 1e-9
        if hasattr(message, "data") and len(self.heard[topic]) >= KEPT_IMAGES:
            message.data = b""
        self.heard[topic].append(
            Heard(time.monotonic_ns(), stamp, age_s, publisher, message)
        )

    def settle(self, topics: Iterable[str], patience_s: float) -> None:
        """Wait until each topic was heard, no longer than this; then forget what came."""
        wanted = set(topics)
        self._spin(patience_s, lambda: wanted <= {t for t, heard in self.heard.items() if heard})

    def collect(self, seconds: float) -> None:
        """Take a sample of this length."""
        self.heard.clear()
        self.clock_ticks.clear()
        self.begun_ns = time.monotonic_ns()
        self._spin(seconds)
        self.ended_ns = time.monotonic_ns()

    @property
    def seconds(self) -> float:
        """The sample's length."""
        return (self.ended_ns - self.begun_ns) * 1e-9

    def gap_s(self, times_ns: Iterable[int]) -> float:
        """Return the longest time of the sample [s] between two of these, its ends included."""
        ends = [self.begun_ns, *times_ns, self.ended_ns]
        return max(b - a for a, b in itertools.pairwise(ends)) * 1e-9

    def description(self, topic: str, seconds: float) -> str:
        """Return the robot description on ``topic``, "" if none comes within ``seconds``."""
        got: list[str] = []
        with call(f"create_subscription({topic})"):
            subscription = self.node.create_subscription(
                String, topic, lambda message: got.append(message.data), LATCHED
            )
        self._spin(seconds, lambda: bool(got))
        with call(f"destroy_subscription({topic})"):
            self.node.destroy_subscription(subscription)
        return got[0] if got else ""

    def publishers(self, topic: str) -> list[Any]:
        """Return the publishers of a topic (TopicEndpointInfo)."""
        with call(f"get_publishers_info_by_topic({topic})"):
            return list(self.node.get_publishers_info_by_topic(topic))

    def subscribers(self, topic: str) -> list[Any]:
        """Return the subscriptions of a topic, without ours and those of command-line tools."""
        with call(f"get_subscriptions_info_by_topic({topic})"):
            found = self.node.get_subscriptions_info_by_topic(topic)
        return [e for e in found if e.node_name != NODE_NAME and "_ros2cli" not in e.node_name]

    def nodes(self) -> list[str]:
        """Return the full names of all nodes, one for each time that a name is there."""
        with call("get_node_names_and_namespaces"):
            pairs = self.node.get_node_names_and_namespaces()
        return [f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs]

    def parameters(self, node: str) -> Mapping[str, Any] | None:
        """Return all parameters of a node (full name), None where it doesn't answer."""
        if node not in self._parameters:
            self._parameters[node] = self._ask(node)
        return self._parameters[node]

    def _ask(self, node: str) -> Mapping[str, Any] | None:
        listed = self._call(ListParameters, f"{node}/list_parameters", ListParameters.Request())
        if listed is None:
            return None
        names = list(listed.result.names)
        request = GetParameters.Request(names=names)
        answer = self._call(GetParameters, f"{node}/get_parameters", request)
        if answer is None:
            return None
        values = map(parameter_value_to_python, answer.values)
        return dict(zip(names, values, strict=False))

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        with call(f"create_client({name})"):
            client = self.node.create_client(kind, name)
        try:
            if not self._spin(_ANSWER_S, client.service_is_ready):
                return None
            end = time.monotonic() + _ANSWER_S
            while time.monotonic() < end:
                # Anew: a service that hasn't yet found who asks loses its answer.
                with call(f"call_async({name})"):
                    future = client.call_async(request)
                if self._spin(_ASK_S, future.done):
                    return future.result()
            return None
        finally:
            with call(f"destroy_client({name})"):
                self.node.destroy_client(client)

    def _spin(self, seconds: float, done: Callable[[], bool] | None = None) -> bool:
        assert self._executor is not None
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if done is not None and done():
                return True
            with call("spin_once"):
                self._executor.spin_once(timeout_sec=min(left, 0.05))
        return done is not None and done()

    def __enter__(self) -> Probe:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the node and its context."""
        with call("the end of a node"):
            if self._executor is not None:
                self._executor.shutdown()
                self.node.destroy_node()
            with contextlib.suppress(RuntimeError):
                self.context.try_shutdown()


def full_name(endpoint: Any) -> str:
    """Return the full name of an endpoint's node."""
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
