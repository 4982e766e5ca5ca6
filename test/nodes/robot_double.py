"""The other side of the controller's topics, services and shared memory, for its tests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from arm_double import TRAJECTORIES, Course, Trajectory
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from rtc_ros.bringup import NodeToRun
from rtc_ros.controller.command_types import message_class
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import at_rest
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.running.processes import Processes

JOINTS = ["a", "b", "c"]
PERIOD_S = 0.02
HORIZON = 20
PATIENCE_S = 45.0
"""A node waits up to 25 s for the name of one that a test before has killed."""
MOST_ROWS = 256
"""H of its ring: a chunk may have fewer rows that count."""

SERVICES = ("start", "stop", "reset", "latch_stop", "clear")
STALE_S = 0.3
"""The ``joint_state_timeout`` of tests in which joint states stop."""

PARAMETERS: dict[str, Any] = {
    "joints": JOINTS,
    "control_period": PERIOD_S,
    "handoff_name": "test",
    "position_lower": [-1.0],
    "position_upper": [1.0],
    "max_velocity": [5.0],
    "soft_start": 0.0,
    # A test that means no fault shall not get one when this process has to wait for the CPU.
    "joint_state_timeout": 2.0,
    # Where it is granted, what else the machine does is no matter. Elsewhere it is only reported.
    "realtime_priority": 50,
    "command_groups": ["arm", "hand"],
    "group.arm.topic": "arm/commands",
    "group.arm.type": "float64_multi_array",
    "group.arm.joints": ["b", "a"],
    "group.hand.topic": "hand/commands",
    "group.hand.type": "joint_state",
    "group.hand.joints": ["c"],
}


class RobotDouble:
    """Publishes joint states, hears everything, and writes chunks as an inference node would.

    Its arm goes where it is told, at once (a row) or along what it was sent (a trajectory), unless
    it doesn't follow. Whoever moves ``pose`` by hand finds it there until the next message.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = Node("robot_double")
        self.processes = Processes(folder)
        self.pose = np.zeros(len(JOINTS))
        self.publish_states = True
        self.follows = True
        self.deaf: set[str] = set()
        """Command topics on which it has no driver."""
        self._courses: dict[str, tuple[list[int], Course]] = {}
        self.executed: list[JointState] = []
        self.swaps: list[dict[str, int]] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.heard: dict[str, list[Any]] = {}
        self.stamps_s: dict[str, list[float]] = {}
        """When each of those messages was sent."""
        self.ring: ChunkRing | None = None
        self.cursor: StepCursor | None = None
        self._spun_s = time.monotonic()
        self._clients = {name: self._trigger(name) for name in SERVICES}
        self._last = self.node.create_client(GetParameters, "rtc_controller/get_parameters")
        self._states = self.node.create_publisher(JointState, "joint_states", 10)
        self.node.create_timer(0.01, self._publish)
        self.listen(JointState, "rtc_controller/executed", self.executed)
        self.node.create_subscription(DiagnosticStatus, "rtc_controller/swap", self._take_swap, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    def listen(self, kind: Any, topic: str, into: list[Any] | None = None) -> list[Any]:
        """Collect a topic's messages."""
        into = self.heard.setdefault(topic, []) if into is None else into
        stamps = self.stamps_s.setdefault(topic, [])

        def take(message: Any, info: Any) -> None:
            into.append(message)
            stamps.append(info["source_timestamp"] * 1e-9)

        self.node.create_subscription(kind, topic, take, 1000)
        return into

    def _obey(self, parameters: dict[str, Any], group: str) -> None:
        """Let a command group's joints go where its messages say."""
        joints, kind = parameters[f"group.{group}.joints"], parameters[f"group.{group}.type"]
        topic = parameters[f"group.{group}.topic"]
        prefix = parameters.get(f"group.{group}.joint_prefix", "")
        names = [name.removeprefix(prefix) for name in joints]
        columns = [parameters["joints"].index(j) for j in joints if j in parameters["joints"]]

        def take(message: Any, info: Any) -> None:
            if not self.follows:
                return
            if kind in TRAJECTORIES:
                at_s = info["source_timestamp"] * 1e-9
                _, before = self._courses.get(group, (0, Course.rest(at_s, self.pose[columns])))
                if at_s > before.times[-1]:
                    before = Course.rest(at_s, self.pose[columns])
                after = Course.after(before, at_s, Trajectory.of(message, names))
                self._courses[group] = (columns, after)
                return
            given = getattr(message, "position", None) or getattr(message, "data", None)
            if given is None:
                given = np.atleast_1d(message.cmd if hasattr(message, "cmd") else message.values)
            order = list(message.name) if kind == "joint_state" else names
            self.pose = np.array(self.pose)
            self.pose[[columns[names.index(n)] for n in order]] = given

        self.node.create_subscription(message_class(kind, topic), topic, take, 100)

    def _publish(self) -> None:
        now_s = time.time()
        for group, (columns, course) in list(self._courses.items()):
            self.pose = np.array(self.pose)
            self.pose[columns] = course.at(np.array([now_s]))[0][0]
            if now_s > course.times[-1]:
                del self._courses[group]
        if self.publish_states:
            # Split and shuffled: joints are matched by name.
            self._states.publish(JointState(name=["c"], position=[self.pose[2]]))
            self._states.publish(
                JointState(name=["b", "x", "a"], position=[self.pose[1], 9.0, self.pose[0]])
            )

    def _take_swap(self, message: DiagnosticStatus) -> None:
        self.swaps.append({v.key: int(v.value) for v in message.values})

    def _take(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = status

    def start(self, *, makes_chunks: bool = True, **changes: Any) -> None:
        """Start a controller process and wait until it answers."""
        if makes_chunks and self.ring is None:
            spec = HandoffSpec(tuple(JOINTS), PERIOD_S, MOST_ROWS)
            self.ring = ChunkRing.create("test.ring", spec)
        parameters = {**PARAMETERS, **changes}
        for group in parameters["command_groups"]:  # a robot listens
            topic = parameters[f"group.{group}.topic"]
            if topic in self.deaf:
                continue
            if topic not in self.heard:
                self.listen(message_class(parameters[f"group.{group}.type"], topic), topic)
            self._obey(parameters, group)
        self.processes.start([NodeToRun("rtc_controller", parameters=parameters)])
        for name in SERVICES:  # all of them now, and not while the arm moves
            # Longer than it waits for a robot description, so that its own sentence is seen.
            self.until(self.client(name).service_is_ready, f"the controller's {name}", 30.0)
        self.until(self._is_known, "an answer of the controller", 30.0)
        spec = HandoffSpec(tuple(JOINTS), PERIOD_S)
        self.until(lambda: StepCursor.attach_or_none("test.cursor", spec), "the cursor")
        self.cursor = StepCursor.attach("test.cursor", spec)
        self.until(lambda: self.cursor.read() is not None, "the first tick")

    def _is_known(self) -> bool:
        """Ask for something harmless; return whether an answer came.

        A service that hasn't yet found who asks loses its answer. Endpoints become known in the
        order in which they were made: when this one is, those of ``SERVICES`` are.
        """
        future = self._last.call_async(GetParameters.Request())
        self.spin(0.1)
        return future.done()

    def until_it_has_listeners(self) -> None:
        """Wait until the controller sees a listener on each command topic: the first is heard."""

        def heard() -> bool:
            status = self.diagnostics.get("rtc_controller: commands")
            return status is not None and status.message.startswith("every command topic has")

        self.until(heard, "a listener on each command topic")

    def _trigger(self, name: str) -> Client:
        return self.node.create_client(Trigger, f"rtc_controller/{name}")

    def client(self, name: str) -> Client:
        """Return a client of one of the controller's services."""
        return self._clients[name]

    def call(self, name: str) -> Trigger.Response:
        """Call one of the controller's services."""
        self.until(self.client(name).service_is_ready, name)
        future = self.client(name).call_async(Trigger.Request())
        self.until(future.done, name)
        return future.result()

    def ask(self, kind: Any, name: str, request: Any) -> Any:
        """Call any service, once."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, name)
        self.spin(0.2)  # until it has found who asks: its answer would be lost
        future = client.call_async(request)
        self.until(future.done, name)
        return future.result()

    def begin(self) -> None:
        """Open the gate; the first joint states may still be on their way."""
        self.until(lambda: self.call("start").success, "a started controller")
        self.until(lambda: self.cursor.read().mode is Mode.WAITING, "its first tick")

    def write(self, actions: np.ndarray, origin: int | None = None, **fields: Any) -> ActionChunk:
        """Write a chunk for the controller's present run, at its present step by default."""
        state = self.cursor.read()
        origin = state.step if origin is None else origin
        fields = {"rows": len(actions), "step_epoch": state.epoch, **fields}
        padded = np.concatenate([actions, np.repeat(actions[-1:], MOST_ROWS - len(actions), 0)])
        return self.ring.write(ActionChunk(padded, origin, **fields))

    def until(
        self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        """Spin until ``condition()`` holds."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {patience_s} s for {what}{self.logs()}"
            for name, code in self.processes.ended().items():
                raise AssertionError(f"{name} ended with {code}{self.logs()}")
            self._spin_once()
        if time.monotonic() - self._spun_s > 0.05:
            self.spin(0.1)  # this process stood still: what belongs to it is yet to be heard

    def until_at_rest(self, heard: list[Any]) -> None:
        """Wait until the last of the ``heard`` commands is where the braked arm rests."""

        def rests() -> bool:
            state = self.cursor.read()
            there = heard and list(heard[-1].data) == list(state.command)
            return there and at_rest(state.last_step, state.limits.per_point(state.points))

        self.until(rests, "rest")

    def spin(self, seconds: float) -> None:
        """Spin for a while; time in which this process stood still is no part of it."""
        while seconds > 0:
            self._spin_once()
            seconds -= min(time.monotonic() - self._spun_s, 0.02)

    def _spin_once(self) -> None:
        self._spun_s = time.monotonic()
        rclpy.spin_once(self.node, timeout_sec=0.01)

    def logs(self) -> str:
        """Return what the processes printed."""
        return "".join(f"\n--- {p.name}\n{p.read_text()}" for p in self.folder.glob("*.log"))

    def close(self) -> None:
        """End everything."""
        self.processes.stop()
        for side in (self.ring, self.cursor):
            if side is not None:
                with contextlib.suppress(Exception):
                    side.close()
        self.node.destroy_node()


def executed_fields(message: JointState) -> dict[str, float]:
    """Return an ``executed`` message by name."""
    return dict(zip(message.name, message.position, strict=True))
