"""Where the hands are, and damped least-squares inverse kinematics for them.

Waist, shoulder, elbow and wrist angle place the point between the fingers and the hand's pitch;
the forearm does not roll and the wrist's rotation is given, so the solution is unique near the
start pose. Rows are the 14 joint values of ``JOINT_NAMES``.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from rtc_ros.sim.robot import ARM_JOINTS, ARMS

GRASP_POINT_M = 0.13
"""From the gripper link along its x axis to the point between the finger tips."""
_PLACED = ("waist", "shoulder", "elbow", "wrist_angle")
_PLACED_INDEX = np.array([ARM_JOINTS.index(name) for name in _PLACED])
_PITCH_JACOBIAN = np.array([0.0, 1.0, 1.0, 1.0])
_ROLL_INDEX = ARM_JOINTS.index("wrist_rotate")
_FOREARM_INDEX = ARM_JOINTS.index("forearm_roll")


@dataclass(frozen=True)
class HandPose:
    """A hand: the point between its fingers [m], pitch below the horizon and roll [rad]."""

    point: np.ndarray
    pitch: float
    roll: float


class Kinematics:
    """Forward and inverse kinematics on an MjData of its own."""

    def __init__(self, model: mujoco.MjModel, *, damping: float = 0.02) -> None:
        self._model, self._data, self._damping = model, mujoco.MjData(model), damping
        self._body = {arm: model.body(f"vx300s_{arm}/gripper_link").id for arm in ARMS}
        self._adr, self._dof, self._range = {}, {}, {}
        for arm in ARMS:
            joints = [model.joint(f"vx300s_{arm}/{name}") for name in ARM_JOINTS[:-1]]
            self._adr[arm] = np.array([j.qposadr[0] for j in joints])
            self._dof[arm] = np.array([j.dofadr[0] for j in joints])[_PLACED_INDEX]
            self._range[arm] = np.array([j.range for j in joints])[_PLACED_INDEX]

    def pose(self, arm: str, joints: np.ndarray) -> HandPose:
        """Return where the hand of ``arm`` is with its joints[6 or 7]."""
        self._data.qpos[self._adr[arm]] = joints[:6]
        mujoco.mj_kinematics(self._model, self._data)
        pitch = float(joints[_PLACED_INDEX] @ _PITCH_JACOBIAN)
        return HandPose(self._point(arm), pitch, float(joints[_ROLL_INDEX]))

    def solve(
        self, arm: str, target: HandPose, start: np.ndarray, *, iterations: int = 4
    ) -> np.ndarray:
        """Return joints[6] near ``start`` that bring the hand to ``target``, or close to it."""
        joints = np.array(start[:6], dtype=np.float64)
        joints[_FOREARM_INDEX] = 0.0
        joints[_ROLL_INDEX] = target.roll
        jacobian = np.zeros((3, self._model.nv))
        for _ in range(iterations):
            self._data.qpos[self._adr[arm]] = joints
            mujoco.mj_kinematics(self._model, self._data)
            mujoco.mj_comPos(self._model, self._data)
            point = self._point(arm)
            mujoco.mj_jac(self._model, self._data, jacobian, None, point, self._body[arm])
            full = np.vstack([jacobian[:, self._dof[arm]], 0.3 * _PITCH_JACOBIAN])
            pitch = joints[_PLACED_INDEX] @ _PITCH_JACOBIAN
            error = np.append(target.point - point, 0.3 * (target.pitch - pitch))
            square = full @ full.T + self._damping**2 * np.eye(4)
            moved = joints[_PLACED_INDEX] + full.T @ np.linalg.solve(square, error)
            low, high = self._range[arm].T
            joints[_PLACED_INDEX] = np.clip(moved, low, high)
        return joints

    def _point(self, arm: str) -> np.ndarray:
        body = self._body[arm]
        axis = self._data.xmat[body].reshape(3, 3)[:, 0]
        return np.array(self._data.xpos[body] + GRASP_POINT_M * axis)
