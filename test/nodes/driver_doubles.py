"""What listens on the command topics of real arms, by its documented rules, and a body that moves.

``forward_command_controller``, ``joint_trajectory_controller`` and Interbotix's ``xs_sdk`` as far
as a policy meets them: which messages they refuse, in which order they take numbers, what they
interpolate. Each notes what it refused, where the real one only logs it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for those who run pair_doubles.py

from arm_double import Course, Trajectory, seconds
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

UPDATE_S = 0.01
"""Of the controller_manager, and of xs_sdk's joint states: 100 Hz."""


class Body:
    """Joints by name that go where they are commanded, a little late."""

    def __init__(self, pose: dict[str, float]) -> None:
        self.position = dict(pose)
        self.command = dict(pose)
        self.log: list[dict[str, float]] = []
        """The commands of each update in which one changed."""

    def update(self) -> None:
        """Move for one update."""
        if not self.log or self.log[-1] != self.command:
            self.log.append(dict(self.command))
        for joint, wanted in self.command.items():
            self.position[joint] += 0.6 * (wanted - self.position[joint])


class Driver:
    """A node with parameters that a listener may ask for, and what it refused."""

    def __init__(self, context: Context, name: str, namespace: str, **parameters: Any) -> None:
        self.refused: list[str] = []
        self.accepted = 0
        self.taken: list[dict[str, float]] = []
        """The numbers of each message that was taken as it is, by joint."""
        self.node = Node(
            name,
            namespace=namespace,
            context=context,
            use_global_arguments=False,
            automatically_declare_parameters_from_overrides=True,
            parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
        )

    def update(self) -> None:
        """Do the work of one period."""


class ForwardController(Driver):
    """forward_command_controller: numbers by order; not finite or too few: dropped."""

    def __init__(
        self, context: Context, name: str, body: Body, joints: Sequence[str], *,
        namespace: str = "", bare: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__(
            context, name, namespace,
            joints=[bare(j) for j in joints], interface_name="position",
        )  # fmt: skip
        self._body, self._joints = body, joints
        self.node.create_subscription(Float64MultiArray, "~/commands", self._take, 10)

    def _take(self, message: Float64MultiArray) -> None:
        if len(message.data) != len(self._joints):
            self.refused.append(f"{len(message.data)} numbers for {len(self._joints)} joints")
        elif not all(map(math.isfinite, message.data)):
            self.refused.append("a number is not finite")
        else:
            self.accepted += 1
            self.taken.append(dict(zip(self._joints, message.data, strict=True)))
            self._body.command.update(self.taken[-1])


class TrajectoryController(Driver):
    """joint_trajectory_controller: checks a trajectory, replaces the old one, interpolates it."""

    def __init__(
        self, context: Context, name: str, body: Body, joints: Sequence[str], *,
        desired: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            context, name, "",
            joints=list(joints), interpolate_from_desired_state=desired,
            allow_partial_joints_goal=False, allow_nonzero_velocity_at_trajectory_end=False,
        )  # fmt: skip
        self._body, self._joints, self._desired = body, list(joints), desired
        self.lengths: list[int] = []
        """How many points each accepted trajectory had."""
        self._course = Course.rest(0.0, np.array([body.position[j] for j in joints]))
        self.node.create_subscription(JointTrajectory, "~/joint_trajectory", self._take, 10)

    def _now_s(self) -> float:
        return self.node.get_clock().now().nanoseconds * 1e-9

    def _take(self, message: JointTrajectory) -> None:
        stamp_s = seconds(message.header.stamp)
        try:
            points = Trajectory.of(message, self._joints)
            if stamp_s and stamp_s + points.times[-1] < self._now_s():
                raise ValueError("it ends in the past")
        except ValueError as problem:
            self.refused.append(str(problem))
            return
        self.accepted += 1
        self.lengths.append(len(points.times))
        now_s = self._now_s()
        before = self._course
        if not self._desired:
            measured = np.array([self._body.position[j] for j in self._joints])
            before = Course.rest(now_s, measured)
        later_s = (stamp_s or now_s) - now_s
        self._course = Course.after(before, now_s, replace(points, times=points.times + later_s))

    def _sample(self, at_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return position and velocity."""
        position, velocity, _ = self._course.at(np.array([at_s]))
        return position[0], velocity[0]

    def update(self) -> None:
        """Write the present point to the joints."""
        row, _ = self._sample(self._now_s())
        self._body.command.update(zip(self._joints, row.tolist(), strict=True))


class InterbotixArm(Driver):
    """xs_sdk of one ViperX: a group and a gripper by name, joint states without the arm's name."""

    ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")

    def __init__(self, context: Context, body: Body, namespace: str, prefix: str) -> None:
        from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand

        super().__init__(context, "xs_sdk", namespace)
        self._body, self._prefix = body, prefix
        node = self.node
        node.create_subscription(JointGroupCommand, "commands/joint_group", self._group, 10)
        node.create_subscription(JointSingleCommand, "commands/joint_single", self._single, 10)
        self._states = node.create_publisher(JointState, "joint_states", 10)

    def _group(self, message: Any) -> None:
        if message.name != "arm":
            self.refused.append(f"no group {message.name!r}")
        elif len(message.values) != len(self.ARM):
            self.refused.append(f"{len(message.values)} numbers for {len(self.ARM)} joints")
        else:
            self._write(dict(zip(self.ARM, message.values, strict=True)))

    def _single(self, message: Any) -> None:
        if message.name not in (*self.ARM, "gripper"):
            self.refused.append(f"no joint {message.name!r}")
        else:
            self._write({message.name: message.values[0]})

    def _write(self, commands: dict[str, float]) -> None:
        self.accepted += 1
        self.taken.append({self._prefix + k: float(v) for k, v in commands.items()})
        self._body.command.update(self.taken[-1])

    def update(self) -> None:
        """Publish the joint states, the fingers among them."""
        names = (*self.ARM, "gripper")
        positions = [self._body.position[self._prefix + name] for name in names]
        crank = 0.022 * math.sin(positions[-1])
        finger = crank + math.sqrt(0.036**2 - (0.022**2 - crank**2))
        message = JointState(
            name=[*names, "left_finger", "right_finger"], position=[*positions, finger, -finger]
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._states.publish(message)


class StateBroadcaster(Driver):
    """joint_state_broadcaster: all its joints in one message."""

    def __init__(
        self, context: Context, body: Body, joints: Sequence[str], *,
        namespace: str = "", bare: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__(context, "joint_state_broadcaster", namespace)
        self._body, self._joints, self._bare = body, list(joints), bare
        self._states = self.node.create_publisher(JointState, "joint_states", 10)

    def update(self) -> None:
        """Publish."""
        message = JointState(
            name=[self._bare(j) for j in self._joints],
            position=[self._body.position[j] for j in self._joints],
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._states.publish(message)
