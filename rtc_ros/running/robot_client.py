"""Drives the running nodes from outside: services, parameters, and what they say of themselves.

Whatever goes into the middleware does so within a ``call``, so that it can't last for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameterTypes, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from rtc_ros.running.processes import RobotError as RobotError
from rtc_ros.running.watch import call

_KNOWN_S = 0.2
"""A service that hasn't yet found who asks loses its answer, and nothing tells when it has."""
_NODE_S, _SERVICE_S = 10.0, 20.0
"""A node that isn't there is told soon; a service may be found over a link that loses packets."""


class RobotClient:
    """One ROS node on a context of its own, spun only while a method waits.

    ``check`` is called while waiting: it may raise, so that a node's death ends the wait. Names of
    topics and services are in ``namespace``.
    """

    def __init__(self, check: Callable[[], None], namespace: str = "") -> None:
        self._check = check
        self.settings: dict[str, Any] = {}
        self.task: dict[str, str] = {}
        self._status: dict[str, dict[str, str]] = {}
        self._context = Context()
        with call("the start of a node"):
            no_signals = SignalHandlerOptions.NO
            # The command's own words aren't the middleware's: name:=value is a remapping there.
            rclpy.init(args=[], context=self._context, signal_handler_options=no_signals)
            self._node = Node("rtc_client", context=self._context, namespace=namespace)
            self._executor = SingleThreadedExecutor(context=self._context)
            self._executor.add_node(self._node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.listen(String, "rtc_inference/settings", self._on_settings, latched)
        self.listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, 20)
        self.listen(DiagnosticStatus, "rtc_sim/task_state", self._on_task, 10)

    def _on_settings(self, message: String) -> None:
        self.settings = json.loads(message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {v.key: v.value for v in status.values}
            self._status[status.name] = {**values, "message": status.message}

    def _on_task(self, message: DiagnosticStatus) -> None:
        self.task = {v.key: v.value for v in message.values}

    def said(self, name: str) -> Mapping[str, str]:
        """Return the last values, and the ``message``, of one node's entry of /diagnostics."""
        namespace = self._node.get_namespace().strip("/")
        return self._status.get("/".join(filter(None, [namespace, name])), {})

    def ready(self) -> bool:
        """Tell whether the policy and the simulated robot are there.

        Raises:
            RobotError: the policy never will be.
        """
        state = self.said("rtc_inference: inference").get("message", "")
        if state.startswith("can't"):
            raise RobotError(f"rtc_inference {state}")
        return "horizon" in self.settings and bool(self.task)

    def listen(
        self, kind: Any, topic: str, take: Callable[[Any], None], qos: QoSProfile | int = 500
    ) -> None:
        """Hand each message of a topic to ``take``."""
        with call(f"create_subscription({topic})"):
            self._node.create_subscription(kind, topic, take, qos)

    def subscribers(self, topic: str) -> int:
        """Count the subscriptions of a topic."""
        with call(f"count_subscribers({topic})"):
            return self._node.count_subscribers(topic)

    def only(self, node: str) -> None:
        """Raise RobotError where several nodes have this name: each would answer."""

        def count() -> int:
            with call("get_node_names_and_namespaces"):
                known = self._node.get_node_names_and_namespaces()
            return int(known.count((node, self._node.get_namespace())))

        self.until(lambda: count() > 0, f"a node {node}", _NODE_S)
        self.spin(_KNOWN_S)
        if (found := count()) > 1:
            raise RobotError(
                f"{found} nodes are called {node} here: end all but one, or name a --namespace"
            )

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            with call("spin_once"):
                self._executor.spin_once(timeout_sec=min(left, 0.1))

    def until(self, condition: Callable[[], Any], what: str, patience_s: float) -> None:
        """Take messages until ``condition()`` holds.

        Raises:
            RobotError: it does not hold after ``patience_s``.
        """
        end = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end:
                raise RobotError(f"waited {patience_s:g} s for {what}, in vain")
            self.spin(0.05)

    def trigger(self, service: str) -> str:
        """Call a std_srvs/Trigger service; return its message.

        Raises:
            RobotError: it refused or didn't answer.
        """
        response = self._call(Trigger, service, Trigger.Request())
        if not response.success:
            raise RobotError(f"{service} refused: {response.message}")
        return str(response.message)

    def start_motion(self, patience_s: float = 10.0) -> None:
        """Open the motion gate, once the controller has found the driver and its joint states.

        Raises:
            RobotError: it still refuses after ``patience_s``.
        """
        end = time.monotonic() + patience_s
        while True:
            try:
                self.trigger("rtc_controller/start")
                return
            except RobotError:
                if time.monotonic() > end:
                    raise
            self.spin(0.1)

    def parameter_types(self, node: str, names: Sequence[str]) -> dict[str, int]:
        """Return the parameters' types (rcl_interfaces/ParameterType; 0: there is none so named).

        Raises:
            RobotError: the node didn't answer.
        """

        def ask(some: Sequence[str]) -> list[int]:
            name, request = f"{node}/get_parameter_types", GetParameterTypes.Request(names=some)
            return list(self._call(GetParameterTypes, name, request).types)

        types = ask(names)
        if len(types) < len(names):  # one that isn't there leaves out all of them
            types = [(ask([name]) or [0])[0] for name in names]
        return dict(zip(names, types, strict=True))

    def set_parameters(
        self, node: str, values: Mapping[str, Any], kinds: Mapping[str, int] | None = None
    ) -> None:
        """Set parameters of a node, all or none; ``kinds`` as ParameterType, where they are known.

        An empty list tells no type by itself.

        Raises:
            RobotError: the node refused, with its sentence.
        """
        request = SetParametersAtomically.Request(
            parameters=[
                Parameter(
                    name, Parameter.Type(kinds[name]) if kinds else None, value
                ).to_parameter_msg()
                for name, value in values.items()
            ]
        )
        name = f"{node}/set_parameters_atomically"
        result = self._call(SetParametersAtomically, name, request).result
        if not result.successful:
            raise RobotError(f"{node} refused {dict(values)}: {result.reason}")

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        def ready() -> bool:
            with call(f"service_is_ready({name})"):
                return bool(client.service_is_ready())

        with call(f"create_client({name})"):
            client = self._node.create_client(kind, name)
        try:
            self.until(ready, f"the service {name}", _SERVICE_S)
            self.spin(_KNOWN_S)
            with call(f"call_async({name})"):
                future = client.call_async(request)
            self.until(future.done, f"an answer of {name}", _SERVICE_S)
            return future.result()
        finally:
            with call(f"destroy_client({name})"):
                self._node.destroy_client(client)

    def __enter__(self) -> RobotClient:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the node and its context."""
        with call("the end of a node"):
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.try_shutdown()
