"""Who else is on the command topics: nobody who listens, or a second one who commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rclpy.node import Node

from rtc_ros.nodes.diagnostics import ERROR, OK, WARN, Report


class CommandWatch:
    """Looks at the graph, once for each report; the arm can't be protected from the other one."""

    def __init__(self, node: Node, groups: Sequence[str]) -> None:
        self._node = node
        names = [node.get_parameter(f"group.{name}.topic").value for name in groups]
        self._topics = [node.resolve_topic_name(name) for name in names]

    def report(self) -> Report:
        """Return ERROR where somebody else publishes commands, WARN where nobody listens."""
        listeners = {topic: self._node.count_subscribers(topic) for topic in self._topics}
        values: dict[str, object] = {f"{t} listeners": n for t, n in listeners.items()}
        for topic, ours in Counter(self._topics).items():
            others = self._others(topic, ours)
            if others:
                named = ", ".join(others)
                sentence = f"{named} publishes on {topic} too: the arm jumps between two wills"
                return Report(ERROR, sentence, values)
        silent = [topic for topic, count in listeners.items() if not count]
        if silent:
            return Report(WARN, f"nobody listens on {', '.join(silent)}", values)
        return Report(OK, "every command topic has a listener, and no other commander", values)

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
