"""The simulated bimanual robot as a ROS 2 driver node: joint commands in, joints and images out.

It behaves like the driver of a real robot: it holds the last command for ever and knows nothing
of chunks, policies or control periods. One thread steps the physics against the monotonic clock,
one renders, and the executor's thread takes commands and calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, Header
from std_srvs.srv import Trigger

from rtc_ros.ros.parameters import ConfigurationError, declare, declare_all
from rtc_ros.ros.runner import run_node
from rtc_ros.running.entry import leave_after
from rtc_ros.sim.cameras import Cameras, choose_gl
from rtc_ros.sim.driver_messages import (
    image_message,
    joint_state,
    jpeg_message,
    task_message,
)
from rtc_ros.sim.driver_parameters import camera_parameters

_PHYSICS_STEP_S = 0.002
_MOST_BEHIND_S = 0.1
_TASK_STATE_PERIOD_S = 0.1


class SimDriver(Node):
    """The node ``rtc_sim``. ``run`` starts the robot, ``close`` stops it."""

    executor_priority = 0

    def __init__(self, **options: Any) -> None:
        super().__init__("rtc_sim", **options)
        values = declare_all(self, "rtc_sim")
        self._values = values
        self._sizes, self._rates = {}, {}
        for name in values["cameras"]:
            camera = declare(self, camera_parameters(name), f"camera.{name}.")
            self._sizes[name] = (camera["height"], camera["width"])
            self._rates[name] = camera["rate_hz"]
        try:
            if self._sizes:
                choose_gl()
            from rtc_ros.sim.episodes import EpisodeRule
            from rtc_ros.sim.robot import ARM_JOINTS, ARMS, JOINT_NAMES, AlohaCube

            self._robot = AlohaCube(seed=values["seed"], cube_speed=values["cube_speed"])
            if self._sizes:  # in this thread only to see whether it works
                Cameras(self._robot.model, self._sizes).close()
        except (RuntimeError, ModuleNotFoundError, ValueError) as error:
            raise ConfigurationError(f"rtc_sim: {error}") from error
        self._names = list(JOINT_NAMES)
        self._width = len(ARM_JOINTS)
        self._rule = EpisodeRule(values["episode_length_s"], values["new_cube_after_s"])
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._simulated_s = 0.0
        self._refused, self._dropped_s = 0, 0.0
        self._last_said: dict[str, float] = {}

        self._joint_states = self.create_publisher(
            JointState, "joint_states", qos_profile_sensor_data
        )
        self._task_state = self.create_publisher(DiagnosticStatus, "~/task_state", 10)
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", 10) if values["publish_clock"] else None
        )
        self._images = {
            name: self.create_publisher(Image, f"camera/{name}/image_raw", qos_profile_sensor_data)
            for name in self._sizes
        }
        self._jpegs = {
            name: self.create_publisher(
                CompressedImage, f"camera/{name}/image_raw/compressed", qos_profile_sensor_data
            )
            for name in (self._sizes if values["compressed"] else ())
        }
        for index, arm in enumerate(ARMS):
            self.create_subscription(
                Float64MultiArray, f"{arm}_arm/commands", partial(self._command, arm, index),
                QoSProfile(depth=1),
            )  # fmt: skip
        self.create_service(Trigger, "~/reset", self._reset)
        self._threads = [
            threading.Thread(target=self._guard, args=(self._physics,), name="physics")
        ]
        if self._sizes:
            self._threads.append(
                threading.Thread(target=self._guard, args=(self._render,), name="cameras")
            )

    def run(self) -> None:
        """Start the physics and the cameras."""
        for thread in self._threads:
            thread.start()
        cameras = ", ".join(
            f"{n} {w}x{h} at {self._rates[n]:g} Hz" for n, (h, w) in self._sizes.items()
        )
        self.get_logger().info(f"simulated robot ready; cameras: {cameras or 'none'}")

    def close(self) -> None:
        """Stop both threads; returns once they have ended."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=5.0)

    # ------------------------------------------------------------------------- in

    def _command(self, arm: str, index: int, message: Float64MultiArray) -> None:
        values = np.array(message.data, dtype=np.float64)
        problem = ""
        if values.shape != (self._width,):
            problem = f"{len(values)} values; it takes {self._width}"
        elif not np.isfinite(values).all():
            problem = f"values that are not finite: {values.tolist()}"
        if problem:
            self._refused += 1
            self._say("refused", f"refused a command on {arm}_arm/commands with {problem}")
            return
        with self._lock:
            row = self._robot.targets()
            row[index * self._width :][: self._width] = values
            self._robot.command(row)

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._robot.reset()
            self._rule.restart(self._simulated_s)
            response.message = f"episode {self._rule.episodes}: arms at the start pose, a new cube"
        response.success = True
        return response

    # ------------------------------------------------------------------------ out

    def _physics(self) -> None:
        factor = self._values["realtime_factor"]
        state_hz: float = self._values["state_rate_hz"]
        period = 1.0 / max(state_hz, self._values["step_rate_hz"])
        count = max(1, round(period * factor / _PHYSICS_STEP_S))
        period = count * _PHYSICS_STEP_S / factor
        every = max(1, round(1.0 / (state_hz * period)))  # steps to a joint state
        origin, ticks, next_task = time.monotonic(), 0, 0.0
        while not self._stop.wait(max(0.0, origin + ticks * period - time.monotonic())):
            behind = time.monotonic() - (origin + ticks * period)
            due = 1 + int(min(behind, _MOST_BEHIND_S) / period)
            if behind > _MOST_BEHIND_S:
                lost = behind - _MOST_BEHIND_S
                origin += lost
                self._dropped_s += lost
                self._say("slow", f"the physics lags: {self._dropped_s:.2f} s given up so far")
            with self._lock:
                self._robot.step(due * count)
                self._simulated_s += due * count * _PHYSICS_STEP_S
                state = self._robot.task_state()
                what = self._rule.due(self._simulated_s, state)
                if what:
                    self._robot.reset() if what == "reset" else self._robot.new_cube()
                    self._rule.restart(self._simulated_s)
                positions, velocities = self._robot.positions(), self._robot.velocities()
            stated, ticks = ticks // every, ticks + due
            stamp = self._stamp()
            if self._clock_publisher is not None:
                self._clock_publisher.publish(Clock(clock=stamp))
            if ticks // every == stated:
                continue
            message = joint_state(self._names, positions, velocities, stamp)
            self._joint_states.publish(message)
            if self._simulated_s >= next_task:
                next_task = self._simulated_s + _TASK_STATE_PERIOD_S * factor
                self._task_state.publish(self._task_message(state))

    def _render(self) -> None:
        with Cameras(self._robot.model, self._sizes) as cameras:
            due = dict.fromkeys(self._sizes, time.monotonic())
            while not self._stop.wait(max(0.0, min(due.values()) - time.monotonic())):
                with self._lock:
                    qpos = self._robot.data.qpos.copy()
                    stamp = self._stamp()
                cameras.look(qpos)
                now = time.monotonic()
                for name in [n for n, at in due.items() if at <= now]:
                    due[name] = max(due[name] + 1.0 / self._rates[name], now)
                    self._publish_image(name, cameras.picture(name), stamp)

    def _publish_image(self, name: str, image: np.ndarray, stamp: Time) -> None:
        header = Header(stamp=stamp, frame_id=f"{name}_camera")
        self._images[name].publish(image_message(image, header))
        if name in self._jpegs:
            self._jpegs[name].publish(jpeg_message(image, header))

    def _task_message(self, state: Any) -> DiagnosticStatus:
        return task_message(
            state,
            episode=self._rule.episodes,
            passes=self._rule.passes,
            put_backs=self._rule.put_backs,
            simulated_s=f"{self._simulated_s:.2f}",
            refused_commands=self._refused,
            unstable_steps=self._robot.unstable_steps,
            lag_given_up_s=f"{self._dropped_s:.3f}",
        )

    def _stamp(self) -> Time:
        if self._clock_publisher is None:
            return self.get_clock().now().to_msg()
        nanoseconds = round(self._simulated_s * 1e9)
        return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

    def _say(self, kind: str, text: str) -> None:
        """Warn, at most every 5 s of one kind."""
        now = time.monotonic()
        if now - self._last_said.get(kind, -10.0) >= 5.0:
            self._last_said[kind] = now
            self.get_logger().warning(text)

    def _guard(self, work: Callable[[], None]) -> None:
        """End the node with a sentence when a thread fails: half a robot is worse than none."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the node
            if not self._stop.is_set():
                name = threading.current_thread().name
                self.get_logger().fatal(f"{name} thread stopped: {type(error).__name__}: {error}")
                self.context.try_shutdown()


def main() -> None:
    """Run the driver until a signal asks to end."""
    run_node(SimDriver, alone_as="rtc_sim")


if __name__ == "__main__":
    leave_after(main)
