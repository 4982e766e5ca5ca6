"""/diagnostics without diagnostic_updater, which not every installation has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Report:
    """One status: a level, one sentence, and figures."""

    level: bytes
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


def status(name: str, report: Report, hardware_id: str = "") -> DiagnosticStatus:
    """Return ``report`` as a message."""
    return DiagnosticStatus(
        level=report.level,
        name=name,
        message=report.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=str(k), value=_text(v)) for k, v in report.values.items()],
    )


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _made(report: Callable[[], Report]) -> Report:
    """Return the report, or that it can't be made: a node doesn't end because of one."""
    try:
        return report()
    except Exception as error:  # noqa: BLE001 - of a device, for instance; it is said
        return Report(ERROR, f"this report can't be made: {type(error).__name__}: {error}")


def logged(
    node: Node, report: Callable[[], Report], when: Callable[[], bool]
) -> Callable[[], Report]:
    """Return a report that logs what keeps the node from its work, once each time.

    Not while ``when()`` is false: a node that doesn't work yet says itself why.
    """
    told, log = "", node.get_logger()

    def make() -> Report:
        nonlocal told
        made = report()
        # A number that grows is no news.
        now = "" if made.level == OK or not when() else re.sub(r"\d+(\.\d+)?", "", made.message)
        if now and now != told:
            log.warning(made.message)
        elif told and not now:
            log.info(f"goes on: {made.message}")
        told = now
        return made

    return make


class Diagnostics:
    """Publishes a node's reports once a second."""

    def __init__(self, node: Node, parts: Mapping[str, Callable[[], Report]]) -> None:
        self._node = node
        self._parts = parts
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A group of its own: it goes on while a transition or a service takes long.
        group = MutuallyExclusiveCallbackGroup()
        # Also while a simulator's clock stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0, self.publish, callback_group=group, clock=clock)

    def publish(self) -> None:
        """Publish all parts now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        message.status = [
            status(f"{name}: {part}", _made(report), name) for part, report in self._parts.items()
        ]
        self._publisher.publish(message)
