"""rtc_monitor: the continuity figures of the last minute, on /diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bags.topics import Topics, states_of
from rtc_ros.core.continuity import Thresholds
from rtc_ros.report.facts import facts
from rtc_ros.report.live_run import LiveRun, LiveState, nothing_yet
from rtc_ros.ros.diagnostics import OK, WARN, Diagnostics, Report
from rtc_ros.ros.parameters import declare_all
from rtc_ros.ros.runner import run_node
from rtc_ros.running.entry import leave_after

SILENT_S = 1.0
"""Without a tick for longer than this, nothing moves: that is said."""

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Best effort matches every publisher, also those of a recording that is played.
_LISTEN = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)


class MonitorNode(Node):
    """Listens to the topics of the controller and the inference node; sends nothing to them."""

    executor_priority = 0

    def __init__(self, name: str = "rtc_monitor", **node_options: Any) -> None:
        super().__init__(name, **node_options)
        p = declare_all(self, "rtc_monitor")
        full = self.resolve_topic_name
        executed, swap, chunk, settings = (
            full("rtc_controller/executed"),
            full("rtc_controller/swap"),
            full("rtc_inference/chunk"),
            full("rtc_inference/settings"),
        )
        self._states = {full("joint_states"): ""}
        topics = Topics(executed, swap, chunk, self._states, settings)
        limits = Thresholds(
            p["max_starved"],
            p["max_misplaced"],
            p["max_seam_excess"],
            p["max_lateness_ms"] * 1e-3,
        )
        self.live = LiveRun(topics, p["window"], limits)
        types = {
            executed: JointState,
            swap: DiagnosticStatus,
            chunk: JointTrajectory,
            settings: String,
        }
        self._settings = settings
        self._listening = {t: self._listen(t, kind, _LISTEN) for t, kind in types.items()}
        self._listening_to_states = {t: self._listen(t, JointState, _LISTEN) for t in self._states}
        self._listen(settings, String, _LATCHED)
        self.state = LiveState()
        self._diagnostics: Diagnostics | None = None

    def _listen(self, topic: str, kind: type, qos: QoSProfile) -> Subscription[Any]:
        def receive(data: bytes) -> None:
            self.live.add(topic, self.get_clock().now().nanoseconds, data)
            if topic == self._settings:
                self._follow(states_of([data]))

        return self.create_subscription(kind, topic, receive, qos, raw=True)

    def _follow(self, named: Mapping[str, str]) -> None:
        """Listen to the joint states that the inference node names, with their prefixes."""
        for topic in [t for t in self._states if named and t not in named]:
            del self._states[topic]
            self.destroy_subscription(self._listening_to_states.pop(topic))
        for topic, prefix in named.items():
            self._states[topic] = prefix
            if topic not in self._listening_to_states:
                self._listening_to_states[topic] = self._listen(topic, JointState, _LISTEN)

    def absent(self) -> tuple[str, ...]:
        """Return the topics of the two nodes that nobody publishes whom this one found yet."""
        return tuple(t for t, s in self._listening.items() if not s.get_publisher_count())

    def run(self) -> None:
        """Begin to publish."""
        parts: dict[str, Callable[[], Report]] = {
            "continuity": self._continuity,
            "motion": self._motion,
        }
        self._diagnostics = Diagnostics(self, parts)

    def close(self) -> None:
        """End."""

    def _continuity(self) -> Report:
        self.state = self.live.state()
        report = self.state.report
        if report is None:
            return Report(OK, self.state.problem or nothing_yet(self.absent()))
        values = {name: value for name, value, _ in facts(report)}
        level = WARN if report.verdict.passed is False else OK
        return Report(level, f"{report.verdict.word}: {'; '.join(report.verdict.why)}", values)

    def _motion(self) -> Report:
        state = self.state
        if state.silent_s is None:
            return Report(OK, "no tick seen yet")
        values = now_values(state)
        if state.silent_s > SILENT_S:
            return Report(WARN, f"no tick for {state.silent_s:.1f} s", values)
        return Report(OK, state.reason, values)


def now_values(state: LiveState) -> dict[str, object]:
    """Return what holds now, by name."""
    chunk, swap, settings = state.chunk, state.swap, state.settings
    values: dict[str, object] = {"step": state.step, "row": state.row}
    if chunk is not None:
        values |= {
            "chunk": f"{chunk.epoch}:{chunk.seq}",
            "H": chunk.horizon,
            "rows left": max(0, chunk.rows - 1 - state.row) if state.row >= 0 else 0,
            "d forecast [steps]": chunk.delay,
            "s": chunk.stride,
            "guided": int(chunk.guided),
        }
    if swap is not None:
        values["d observed [steps]"] = swap.delay_observed
    for name in ("strategy", "s_min", "beta", "schedule"):
        if name in settings:
            values[name] = settings[name]
    values |= {f"{name} in all": count for name, count in sorted(state.totals.items())}
    values["tick lateness [ms]"] = state.lateness_ms
    return values


def main() -> None:
    """Run the node until a signal asks to end."""
    run_node(MonitorNode, alone_as="rtc_monitor")


if __name__ == "__main__":
    leave_after(main)
