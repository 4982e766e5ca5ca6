"""The driver as its own process, and a node of the tests' own that talks with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Driver:
    """A running rtc_sim and what it publishes; every wait is generous and ends in a failure."""

    def __init__(self, *parameters: str) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticStatus
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CompressedImage, Image, JointState
        from std_msgs.msg import Float64MultiArray
        from std_srvs.srv import Trigger

        arguments = [part for value in parameters for part in ("-p", value)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtc_ros.sim.node", "--ros-args", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._context = rclpy.Context()
        self._context.init()
        self.node = rclpy.create_node("driver_test", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.seen: dict[str, list[Any]] = {}
        for kind, topic in (
            (JointState, "/joint_states"),
            (Image, "/camera/top/image_raw"),
            (CompressedImage, "/camera/top/image_raw/compressed"),
            (Image, "/camera/film/image_raw"),
        ):
            self.node.create_subscription(kind, topic, self._keep(topic), qos_profile_sensor_data)
        topic = "/rtc_sim/task_state"
        self.node.create_subscription(DiagnosticStatus, topic, self._keep(topic), 10)
        self._publishers = {
            arm: self.node.create_publisher(Float64MultiArray, f"/{arm}_arm/commands", 1)
            for arm in ("left", "right")
        }
        self._array = Float64MultiArray
        self._client = self.node.create_client(Trigger, "/rtc_sim/reset")
        self._request = Trigger.Request

    def _keep(self, topic: str) -> Callable[[Any], None]:
        return self.seen.setdefault(topic, []).append

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Spin until the condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"no {what} within {timeout_s} s"
            assert self.process.poll() is None, f"the driver ended: {self.process.stdout.read()}"
            self._executor.spin_once(timeout_sec=0.05)

    def next(self, topic: str, count: int = 1) -> Any:
        """Return the last of the next ``count`` messages of a topic."""
        have = len(self.seen[topic])
        self.until(lambda: len(self.seen[topic]) >= have + count, f"message on {topic}")
        return self.seen[topic][-1]

    def positions(self) -> list[float]:
        """Return the next joint positions."""
        return list(self.next("/joint_states").position)

    def task(self) -> dict[str, str]:
        """Return the values of the next task state."""
        return {v.key: v.value for v in self.next("/rtc_sim/task_state").values}

    def command(self, arm: str, values: list[float]) -> None:
        """Publish a command once the driver listens."""
        publisher = self._publishers[arm]
        self.until(lambda: publisher.get_subscription_count() > 0, "subscription to commands")
        publisher.publish(self._array(data=values))

    def reset(self) -> Any:
        """Call the reset service and return its response."""
        self.until(self._client.service_is_ready, "reset service")
        future = self._client.call_async(self._request())
        self.until(future.done, "answer to reset")
        return future.result()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End the driver with a signal; return its exit code and what it said."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said

    def close(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=30)
        # Off the executor before it goes: what it still waits for must not be freed beneath it.
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        self._executor.shutdown()
        self._context.try_shutdown()


@pytest.fixture
def start_driver() -> Iterator[Callable[..., Driver]]:
    """Start drivers with the given ``name:=value`` parameters; all are ended with the test."""
    drivers: list[Driver] = []

    def start(*parameters: str) -> Driver:
        drivers.append(Driver(*parameters))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()
