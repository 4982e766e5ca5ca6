"""rtc_link and rtc_link_gpu: the two segments, mirrored to and from the other machine."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import UInt8MultiArray

from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.link.cameras import CameraSender
from rtc_ros.link.demand import ImageDemand
from rtc_ros.link.peer import Identity
from rtc_ros.link.reports import LinkReport
from rtc_ros.link.side import GPU, ROBOT, Role, Side
from rtc_ros.ros.diagnostics import Diagnostics, logged
from rtc_ros.ros.parameters import ConfigurationError, declare_all, handoff_base, require
from rtc_ros.ros.runner import ask_for_realtime, run_node
from rtc_ros.running.entry import leave_after

TO_GPU, TO_ROBOT = "rtc_link/to_gpu", "rtc_link/to_robot"
_POLL_S = 0.001
_OFTEN_S, _LATE_S = 0.00025, 0.002
"""How often a tick is looked for where it is expected, and until how long after that."""
_PUMP_S = 0.01
"""How often it is looked for what is due without a new slot: beats, what was lost, images."""
# A UInt8MultiArray without layout in CDR: the encapsulation, no dimension, no offset, the length.
_HEAD = bytes((0, 1, 0, 0)) + bytes(8)
_AT = len(_HEAD) + 4


def packed(data: bytes) -> bytes:
    """Return ``data`` as a serialized UInt8MultiArray."""
    return _HEAD + len(data).to_bytes(4, "little") + data


def unpacked(message: bytes) -> bytes:
    """Return what a serialized UInt8MultiArray holds; b"" where it has a layout."""
    if message[: len(_HEAD)] != _HEAD:
        return b""
    return message[_AT : _AT + int.from_bytes(message[_AT - 4 : _AT], "little")]


class LinkNode(Node):
    """Either side of the link; ``role`` says which."""

    def __init__(self, name: str, role: Role) -> None:
        super().__init__(name)
        p: dict[str, Any] = declare_all(self, name)
        require(p, "joints")
        self.executor_priority: int = p["realtime_priority"]
        base = handoff_base(self, p["handoff_name"])
        try:
            own = Identity.here(p["robot_name"] or base)
        except ValueError as error:
            raise ConfigurationError(f"parameter robot_name: {error}") from error
        spec = HandoffSpec(tuple(p["joints"]), p["control_period"])
        self._side = Side(role, own, base, spec, beat_ns=round(p["beat_interval"] * 1e9))
        self._lock = threading.Lock()
        self._ended = False
        self._period_ns = spec.period_ns
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._traffic = {"sent": 0, "received": 0}
        self._requests, self._chunk = 0, (0, 0)
        robot = role is ROBOT
        self._demand = None if robot else ImageDemand(round(p["image_interval"] * 1e9))
        names = p["cameras"] if robot else []
        self._images = CameraSender(self, names, p["image_format"], p["jpeg_quality"])
        # The link itself sends again what wasn't acknowledged: newest first, nothing queues up.
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = self.create_publisher(
            UInt8MultiArray, TO_GPU if robot else TO_ROBOT, qos
        )
        # Several at once are no older ones: of two senders both are to be heard.
        several = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(
            UInt8MultiArray, TO_ROBOT if robot else TO_GPU, self._receive, several, raw=True
        )
        self._report = LinkReport(self._side, self._traffic, self._images.cameras)
        self._diagnostics = Diagnostics(self, {"link": logged(self, self._reported, lambda: True)})

    def _reported(self) -> Any:
        with self._lock:
            self._traffic["images"] = sum(c.sent_bytes for c in self._images.cameras)
            return self._report()

    def _receive(self, message: bytes) -> None:
        now_ns, data = time.monotonic_ns(), unpacked(message)
        self._traffic["received"] += len(message)
        with self._lock:
            taken = self._side.take(data, now_ns)
            if taken is None:
                return
            clock = self._side.clock
            if clock.known:
                theirs_ns = now_ns + clock.offset_ns - taken.sent_ns + taken.wall_ns
                self._report.walls_apart_s = (theirs_ns - self._wall_ns()) * 1e-9
            if taken.image_request != self._requests:
                self._requests = taken.image_request
                self._images.ask()
            urgent = self._side.urgent
        if urgent:
            self._pump()

    def _wall_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _run(self) -> None:
        ask_for_realtime(self.executor_priority)
        source, pumped_s = self._side.source, 0.0
        while not self._ended:
            self._pause()
            now_s = time.monotonic()
            if source.news or now_s - pumped_s >= _PUMP_S:
                pumped_s = now_s
                self._pump()

    def _pause(self) -> None:
        """Wait until something new may be there: a chunk wakes, a tick comes a period later."""
        source = self._side.source
        if self._side.role is not ROBOT:
            source.wait(_PUMP_S)
            return
        # A cursor's writer wakes nobody, so it is looked for about when it is expected.
        ahead_s = (source.found_ns + self._period_ns - time.monotonic_ns()) * 1e-9 - _OFTEN_S
        if ahead_s > 0:
            time.sleep(min(ahead_s, _PUMP_S))
        else:
            time.sleep(_OFTEN_S if ahead_s > -_LATE_S else _POLL_S)

    def _pump(self) -> None:
        """Send what is due, if anything is."""
        now_ns = time.monotonic_ns()
        with self._lock:  # also while it is published: numbers go out in order
            self._ask_for_images(now_ns)
            data = self._side.message(now_ns, self._wall_ns)
            if data is not None and not self._ended:
                self._publisher.publish(packed(data))
                self._traffic["sent"] += len(data) + _AT

    def _ask_for_images(self, now_ns: int) -> None:
        if self._demand is None:
            return
        side = self._side
        chunk = side.source.run, side.source.seq
        if chunk != self._chunk:
            self._chunk = chunk
            self._demand.began(side.source.start_ns)
        if self._demand.due(now_ns, side.clock.round_trip_ns if side.clock.known else 0):
            side.image_request += 1
            side.urgent = True

    def run(self) -> None:
        """Begin to mirror."""
        self._thread.start()
        self._images.start()
        side = self._side
        self.get_logger().info(
            f"ready: the {side.role.here} of {side.own.robot}, waiting for the {side.role.there}"
        )

    def close(self) -> None:
        """End; the nodes on this machine see that the other has left."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        self._images.close()
        with self._lock:
            self._side.close()


def main() -> None:
    """Run the robot's side until a signal asks to end."""
    run_node(lambda: LinkNode("rtc_link", ROBOT), alone_as="rtc_link")


def main_gpu() -> None:
    """Run the GPU machine's side until a signal asks to end."""
    run_node(lambda: LinkNode("rtc_link_gpu", GPU), alone_as="rtc_link_gpu")


if __name__ == "__main__":
    leave_after(main)
