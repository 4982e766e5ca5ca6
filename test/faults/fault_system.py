"""A whole system to break: drivers and camera of this process, the two nodes as real processes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from arm_double import Arm, ArmNode, Driver, Sent
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from invariants import Invariants, Promises
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from watcher import Rows, Watcher, runs_of

from rtc_ros.bringup import NodeToRun

JOINTS = ["a", "b", "c"]
PERIOD_S = 0.02
HORIZON = 30
S_MIN = 8
STALE_S = 0.3
STALE_TICKS = round(STALE_S / PERIOD_S)
TRANSPORT = "FASTDDS_BUILTIN_TRANSPORTS", "UDPv4"
"""Fast DDS's shared memory can lose a process that was started after a kill (reliability.md), and
a killed process leaves its segments in /dev/shm."""
MARGIN_TICKS = 10
"""Messages on their way, and a busy machine."""
SECOND = round(1.0 / PERIOD_S)
CLOCK_STEP_NS = 10_000_000
"""Of /clock, where there is one."""
LAG_S = 0.03
"""With which the arm follows its drivers."""
STALL_TICKS = SECOND // 2
"""What a machine that stands still for a while adds where several things follow each other."""

COMMON: dict[str, Any] = {
    "joints": JOINTS,
    "control_period": PERIOD_S,
    "handoff_name": "faults",
    "joint_state_timeout": STALE_S,
}
CONTROLLER: dict[str, Any] = {
    **COMMON,
    "position_lower": [-1.0],
    "position_upper": [1.0],
    # The arm's tolerances are the product's, 0.3. Until joint states count as stale, and it has
    # braked then, an arm that nobody sees is at most 0.6 · (0.3 + LAG_S) + 0.6² / 40 = 0.21 off.
    "max_velocity": [0.6],
    "max_acceleration": [20.0],
    "soft_start": 0.0,
    # Where it is granted, what else the machine does is no matter. Elsewhere it is only reported.
    "realtime_priority": 50,
    "start_when_ready": True,
    # Starting a policy again takes as long as the machine lets it: motion is to go on by itself.
    "hold_timeout": 60.0,
    "command_groups": ["arm", "hand"],
    "group.arm.topic": "arm/commands",
    "group.arm.type": "float64_multi_array",
    "group.arm.joints": ["b", "a"],
    "group.hand.topic": "hand/commands",
    "group.hand.type": "joint_state",
    "group.hand.joints": ["c"],
}
INFERENCE: dict[str, Any] = {
    **COMMON,
    "policy_path": "faults",
    "cameras": ["top"],
    "camera.top.topic": "camera/top",
    "camera_timeout": 0.3,
    "s_min": S_MIN,
    "seed": 1,
}


def arm_of(parameters: dict[str, Any], now_s: float, **options: Any) -> Arm:
    """Return an arm with the drivers that a controller's parameters name."""
    joints = parameters["joints"]
    drivers = [
        Driver(
            name,
            parameters[f"group.{name}.type"],
            [joints.index(j) for j in parameters[f"group.{name}.joints"]],
        )
        for name in parameters["command_groups"]
    ]
    return Arm(joints, drivers, **{"lag_s": LAG_S, "now_s": now_s, **options})


def topics_of(parameters: dict[str, Any]) -> dict[str, str]:
    """Return the command topic of each group."""
    return {g: parameters[f"group.{g}.topic"] for g in parameters["command_groups"]}


class FaultSystem:
    """An arm that obeys and can be made to fail; everything is watched all the time."""

    def __init__(
        self, folder: Path, rows: Rows | None = None, namespace: str = "",
        controller: dict[str, Any] | None = None, arm: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.namespace = folder, namespace
        # The robot's threads shall not wait for those that judge.
        sys.setswitchinterval(5e-4)
        self.word_file = folder / "fault"
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.parameters = {**CONTROLLER, **(controller or {})}
        joints = self.parameters["joints"]
        points = round(
            self.parameters.get("command_rate", 0.0) * self.parameters["control_period"]
        )
        self.watcher = Watcher(joints, rows, points)
        self.arm = arm_of(self.parameters, time.time(), **(arm or {}))
        self.diagnostics: dict[str, tuple[bytes, str]] = {}
        self.values: dict[str, dict[str, str]] = {}
        self.said: list[tuple[int, str, str]] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # What the cameras and clocks do wrong:
        self.frozen_image_stamp: Any = None
        self.cameras = rows is None  # a writer of rows that are known beforehand has none
        self.camera_period_s, self.camera_size = 0.05, (48, 64)
        self.camera_encoding = "rgb8"
        self.clock_ns: int | None = None
        self.clock_runs, self._clock_due_s = True, math.inf
        self.kills = 0
        # Drivers don't wait for what the test itself does.
        self._ours, self._drivers = (
            SingleThreadedExecutor(context=self.context) for _ in range(2)
        )
        self._nodes: list[Node] = []
        self.node = self._node("fault_system", self._ours)
        self._drive()
        self.invariants = Invariants(self.states, Promises.of(self.parameters, len(joints)))
        self._listen()
        self._threads = [
            threading.Thread(target=_spin, args=(executor,), daemon=True)
            for executor in (self._ours, self._drivers)
        ]
        for thread in self._threads:
            thread.start()

    def _node(self, name: str, executor: Executor) -> Node:
        node = Node(
            name, namespace=self.namespace, context=self.context, use_global_arguments=False
        )
        executor.add_node(node)
        self._nodes.append(node)
        return node

    # -- our side of the topics -------------------------------------------------------------

    def _listen(self) -> None:
        node, watcher, qos = self.node, self.watcher, QoSProfile(depth=500)
        node.create_subscription(JointTrajectory, "rtc_inference/chunk", watcher.on_chunk, qos)
        node.create_subscription(JointState, "rtc_controller/executed", self._on_executed, qos)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)

    def _on_executed(self, message: JointState, info: Any) -> None:
        number = info["publication_sequence_number"] or 0
        self.watcher.on_executed(message, number)
        sent_s = None if self.watcher.by_stamp else info["source_timestamp"] * 1e-9
        self.invariants.on_executed(message, sent_s, number)

    def _on_sent(self, sent: Sent) -> None:
        names = [self.arm.joints[c] for c in self.arm.drivers[sent.group].columns]
        self.watcher.on_command(names, sent.row.tolist())
        self.invariants.on_sent(sent)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            namespace, _, name = status.name.rpartition("/")
            if namespace == self.namespace:
                self.diagnostics[name] = (status.level, status.message)
                self.values[name] = {v.key: v.value for v in status.values}
                self.said.append((time.time_ns(), name, status.message))

    def _drive(self) -> None:
        self.driver = self._node("driver", self._drivers)
        known = self.states.published if hasattr(self, "states") else None
        self.states = ArmNode(
            self.driver, self.arm, topics_of(self.parameters), on_sent=self._on_sent
        )
        if known is not None:
            self.states.published.extend(known)
            self.invariants.node = self.states
        self._camera = self.driver.create_publisher(Image, "camera/top", 2)
        self._clock = self.driver.create_publisher(Clock, "/clock", 10)
        self._image_due = 0.0
        if self.cameras:
            self.driver.create_timer(0.01, self._publish)

    def restart_driver(self, away_s: float) -> None:
        """End the driver's node and start it anew; its arm stays where it is."""
        node, self.driver = self.driver, None
        self._drivers.remove_node(node)
        node.destroy_node()
        with self.disturbance("the driver restarts"):
            time.sleep(away_s)
            self._drive()

    @contextlib.contextmanager
    def disturbance(self, kind: str) -> Iterator[None]:
        """Let the watcher know of what the test does to the arm, its drivers or its states."""
        noted = self.invariants.disturb(kind, time.time())
        try:
            yield
        finally:
            noted[2] = time.time()

    def stamp(self) -> Any:
        return self.node.get_clock().now().to_msg()

    def _publish(self) -> None:
        if self.clock_ns is not None:
            if self.clock_runs:
                self.clock_ns += CLOCK_STEP_NS
                # This machine may have kept it, too.
                due_s, now_s = self._clock_due_s, time.time()
                self._clock_due_s = now_s + CLOCK_STEP_NS * 1e-9
                if now_s > due_s:
                    self.invariants.clock_stands.append((due_s, now_s))
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(self.clock_ns, 10**9)
            self._clock.publish(clock)
        now = time.monotonic()
        if now >= self._image_due:
            self._image_due = now + self.camera_period_s
            self._camera.publish(self.image())

    def image(self) -> Image:
        """Return an image as the camera sends it now."""
        height, width = self.camera_size
        depth = {"rgb8": 3, "bgr8": 3, "mono8": 1, "nonsense": 3}[self.camera_encoding]
        message = Image(
            height=height, width=width, encoding=self.camera_encoding, step=depth * width
        )
        message.data = bytes(depth * height * width)
        message.header.stamp = self.frozen_image_stamp or self.stamp()
        return message

    def second(self, kind: Any, topic: str, make: Callable[[], Any], hz: float) -> Node:
        """Add a publisher that shouldn't be there; destroy it with ``remove``."""
        node = self._node("stranger", self._drivers)
        publisher = node.create_publisher(kind, topic, 10)

        def known() -> set[bytes]:
            infos = self.node.get_publishers_info_by_topic(topic)
            return {bytes(i.endpoint_gid) for i in infos if i.node_name == "stranger"}

        # Before its first message: the watcher must not take it for the controller's.
        self.until(known, f"the second publisher of {topic}")
        self.states.strangers |= known()

        def send() -> None:
            message = make()
            self.states.theirs.append(message)
            publisher.publish(message)

        node.create_timer(1 / hz, send)
        return node

    def remove(self, node: Node) -> None:
        """Take a node away."""
        self._drivers.remove_node(node)
        node.destroy_node()

    # -- the processes ----------------------------------------------------------------------

    def start(self, what: str, **changes: Any) -> None:
        """Start rtc_controller or rtc_inference."""
        given = self.parameters if what == "rtc_controller" else INFERENCE
        self._launch(what, {**given, **changes})

    def _launch(self, what: str, parameters: dict[str, Any], **environment: str) -> None:
        """Start a node; rtc_inference with the policy that fails."""
        node = NodeToRun(what, self.namespace, parameters=parameters)
        module = "faulty_inference" if what == "rtc_inference" else node.module
        here = str(Path(__file__).parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
            "FAULT_FILE": str(self.word_file),
            "FAULT_JOINTS": str(len(JOINTS)),
            **environment,
        }
        with open(self.folder / f"{what}.log", "ab") as log:
            self.running[what] = subprocess.Popen(
                [sys.executable, "-m", module, *node.ros_arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def signal(self, what: str, number: int) -> None:
        """Send a process a signal; after SIGKILL it is gone when this returns."""
        process = self.running[what]
        if what == "rtc_controller" and number == signal.SIGSTOP:
            self.invariants.stall(True, time.time())
        process.send_signal(number)
        if what == "rtc_controller" and number == signal.SIGCONT:
            self.invariants.stall(False, time.time())
        if number == signal.SIGKILL:
            self.kills += 1
            process.wait(timeout=20)

    def fault(self, word: str) -> None:
        """Let the policy fail; an empty word ends it."""
        self.word_file.write_text(word)

    def up(self) -> None:
        """Start both nodes and wait for motion."""
        self.start("rtc_controller")
        self.start("rtc_inference")
        self.until_moving()

    # -- waiting ----------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = 30.0) -> None:
        """Wait until ``condition()`` holds."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"waited {patience_s} s for {what}; {self.diagnostics}{self.logs()}"
            )
            time.sleep(0.005)

    def until_moving(self, patience_s: float = 30.0) -> int:
        """Wait for a step executed from now on; return the ticks held until then."""
        begun = time.time_ns()
        self.until(lambda: self.executed_since(begun), "motion", patience_s)
        ticks = self.watcher.since(begun)
        return next(i for i, tick in enumerate(ticks) if tick.executes)

    def executed_since(self, begun: int) -> bool:
        """Tell whether a step was executed since then [ns]."""
        return any(tick.executes for tick in self.watcher.since(begun))

    def until_holding(self, reason: str, begun_ns: int) -> int:
        """Wait for a hold with this reason after ``begun_ns``; return the steps executed first."""

        def held() -> bool:
            return any(reason in tick.reason for tick in self.watcher.since(begun_ns))

        self.until(held, f"a hold because of {reason}")
        ticks = self.watcher.since(begun_ns)
        first = next(i for i, tick in enumerate(ticks) if reason in tick.reason)
        return sum(tick.executes for tick in ticks[:first])

    def until_said(self, entry: str, sentence: str, begun_ns: int) -> None:
        """Wait until an entry of /diagnostics holds ``sentence``, said after ``begun_ns``."""

        def told() -> bool:
            return any(
                at > begun_ns and name == entry and sentence in text
                for at, name, text in list(self.said)
            )

        self.until(told, f"{entry} to say {sentence!r}")

    def holds(self, begun_ns: int) -> list[tuple[str, int]]:
        """Return the holds since ``begun_ns`` with their ticks."""
        return [r for r in runs_of(self.watcher.since(begun_ns)) if r[0] != "execute"]

    def disturbed(self, begun_ns: int) -> list[tuple[str, int]]:
        """Return the holds since ``begun_ns`` but those of a machine that is too busy, if few."""
        late = (
            "hold: starved",
            f"s old (joint_state_timeout is {STALE_S:g} s)",
        )
        holds = self.holds(begun_ns)
        few = sum(ticks for reason, ticks in holds if reason.endswith(late)) <= 2 * SECOND
        return [r for r in holds if not (few and r[0].endswith(late))]

    def set_parameters(self, node: str, values: dict[str, Any]) -> Any:
        """Begin to set parameters, all or none; returns the future."""
        client = self._clients(SetParametersAtomically, f"{node}/set_parameters_atomically")
        parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        return client.call_async(SetParametersAtomically.Request(parameters=parameters))

    def change_inference(self, transition: int) -> bool:
        """Ask rtc_inference for a lifecycle transition; return whether it was done."""
        client = self._clients(ChangeState, "rtc_inference/change_state")
        request = ChangeState.Request()
        request.transition.id = transition
        future = client.call_async(request)
        self.until(future.done, f"transition {transition}")
        return bool(future.result().success)

    def call(self, name: str) -> Trigger.Response:
        """Call a service of the controller."""
        future = self._clients(Trigger, f"rtc_controller/{name}").call_async(Trigger.Request())
        self.until(future.done, name)
        return future.result()

    def _clients(self, kind: Any, name: str) -> Any:
        made = self.__dict__.setdefault("_made", {})
        new = name not in made
        if new:
            made[name] = self.node.create_client(kind, name)
        self.until(made[name].service_is_ready, name)
        if new:
            time.sleep(0.2)  # until it has found who asks: its answer would be lost
        return made[name]

    def logs(self) -> str:
        """Return what the processes printed."""
        logs = sorted(self.folder.glob("*.log"))
        return "".join(f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)

    def check(self) -> None:
        """Assert that everything held that must hold, whatever was broken.

        A process that dies may leave one chunk that was never published, and ticks that the
        network lost and couldn't ask it for any more.
        """
        self.settle()
        assert not self.invariants.problems, self.invariants.problems[:5]
        # The copy of a chunk, or a tick, may still be on its way: what a network lost is asked for
        # again after some seconds.
        for _ in range(200):
            self.watcher.settle()
            if not self.unexplained():
                break
            time.sleep(0.05)
        assert not self.watcher.problems, self.watcher.problems[:5]
        assert not self.unexplained()

    def unexplained(self) -> list[str]:
        """Return what was commanded, or executed, that nobody was heard to decide or write."""
        watcher, found = self.watcher, []
        if len(watcher.unknown_chunks) > watcher.lost + self.kills:
            found.append(f"chunks that nobody published: {list(watcher.unknown_chunks)[:5]}")
        if len(watcher.unknown_commands) > 2 * watcher.lost + STALL_TICKS * self.kills:
            found.append(f"commands of no tick: {watcher.unknown_commands[:5]}")
        return found

    def settle(self, quiet_s: float = 0.5) -> None:
        """Check the invariants up to now; on a busy machine what was sent comes late."""
        asked = time.time()
        while time.time() < asked + 20.0:
            time.sleep(0.1)
            # What moves goes on sending: then what was sent before has come, too.
            newest = max((s.at_s for s in list(self.invariants.waiting)), default=0.0)
            if newest > asked + 0.1 or time.time() > self.invariants.came_s + quiet_s:
                break
        self.invariants.settle()

    def down(self) -> None:
        """End everything that was started."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for executor in (self._ours, self._drivers):
            executor.shutdown(timeout_sec=2.0)
        for thread in self._threads:
            thread.join(timeout=5)
        # Whatever was left of them, other tests would find on the network.
        for node in self._nodes:
            node.destroy_node()
        self.context.try_shutdown()


def _spin(executor: Executor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        while True:
            try:
                return executor.spin()
            except InvalidHandle:
                continue  # a node was taken away while its timer was about to run


def warned(status: tuple[bytes, str]) -> bool:
    """Tell whether an entry of /diagnostics is worse than OK."""
    return status[0] != DiagnosticStatus.OK
