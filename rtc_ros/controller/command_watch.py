"""Who else is on the command topics: nobody who listens, or a second one who commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rclpy.node import Node

from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report

_SPECTATORS = ("rtc_recorder", "rtc_monitor", "rosbag2_recorder")


def commands_an_arm(listener: str) -> bool:
    """Tell whether a node of this name that listens to commands may do so for an arm.

    Recorders, monitors and command-line tools look on.
    """
    return listener not in _SPECTATORS and not listener.startswith("_ros2cli")


class CommandWatch:
    """Looks at the graph, once for each report; the arm can't be protected from the other one."""

    def __init__(self, node: Node, topics: Sequence[str]) -> None:
        self._node = node
        self._topics = [node.resolve_topic_name(topic) for topic in topics]

    def obstacle(self) -> str:
        """Say why nothing may be commanded now: a second commander, a topic without driver."""
        if other := self._second_commander():
            return f"{other}: stop it first"
        silent = _silent(self._listeners())
        return f"{silent}: start and activate the driver's controller" if silent else ""

    def _listeners(self) -> dict[str, int]:
        found = {t: self._node.get_subscriptions_info_by_topic(t) for t in self._topics}
        return {t: sum(commands_an_arm(e.node_name) for e in ends) for t, ends in found.items()}

    def report(self) -> Report:
        """Return ERROR where somebody else publishes commands, WARN where nobody listens."""
        listeners = self._listeners()
        values: dict[str, object] = {f"{t} listeners": n for t, n in listeners.items()}
        if other := self._second_commander():
            return Report(ERROR, f"{other}: the arm jumps between two wills", values)
        if silent := _silent(listeners):
            return Report(WARN, silent, values)
        return Report(OK, "every command topic has a listener, and no other commander", values)

    def _second_commander(self) -> str:
        for topic, ours in Counter(self._topics).items():
            if others := self._others(topic, ours):
                return f"{', '.join(others)} publishes on {topic} too"
        return ""

    def _others(self, topic: str, ours: int) -> list[str]:
        """Return who else publishes on a topic that this many of our groups publish on."""
        names = [
            f"{e.node_namespace.rstrip('/')}/{e.node_name}"
            for e in self._node.get_publishers_info_by_topic(topic)
        ]
        own = self._node.get_fully_qualified_name()
        for _ in range(min(ours, names.count(own))):
            names.remove(own)  # not all: another node of our name is another one
        return sorted(set(names))


def _silent(listeners: Mapping[str, int]) -> str:
    silent = [topic for topic, count in listeners.items() if not count]
    return f"nobody listens on {', '.join(silent)}" if silent else ""
