"""The physics of the simulated robot: two ViperX arms and a cube on a table, in plain MuJoCo.

The model is the cube-transfer scene of the gym-aloha wheel. Two values are changed: the arm joints
get an armature of 0.005 kg m², without which random commands reach NaN, and the top camera's
field of view is narrowed to the table between the arms.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

ARMS = ("left", "right")
ARM_JOINTS = (
    "waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper",
)  # fmt: skip
JOINT_NAMES = tuple(f"{arm}_{joint}" for arm in ARMS for joint in ARM_JOINTS)
"""The 14 joints in the order of commands and states: radians, grippers 0 (closed) to 1 (open)."""

START_POSE = np.tile([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1], 2)
"""Where an episode starts; the same pose as gym-aloha's."""

GRIPPERS = (6, 13)
FINGER_CLOSED_M, FINGER_OPEN_M = 0.01844, 0.05800
CUBE_REGION_M = ((0.02, 0.18), (0.42, 0.58))
"""x and y between which the cube lies at the start, and between which it slides."""
CUBE_HALF_M = 0.02
TOP_CAMERA_FOV_DEG = 55.0
WRIST_CAMERA_FOV_DEG = 60.0
ARMATURE_KG_M2 = 0.005
_HELD_HEIGHT_M = 0.03
_STEP_S = 0.002


def model_path() -> Path:
    """Return the scene's XML file in the installed gym-aloha, without importing gym-aloha.

    Raises ModuleNotFoundError with the command to install it.
    """
    spec = importlib.util.find_spec("gym_aloha")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            'the simulated robot needs the model of gym-aloha: pip install "gym-aloha==0.1.5"'
        )
    return Path(spec.origin).parent / "assets" / "bimanual_viperx_transfer_cube.xml"


def load_model() -> mujoco.MjModel:
    """Compile the scene with the changes named at the top of this module."""
    model = mujoco.MjModel.from_xml_path(str(model_path()))
    for arm in ARMS:
        for joint in ARM_JOINTS[:-1]:
            model.dof_armature[model.joint(f"vx300s_{arm}/{joint}").dofadr[0]] = ARMATURE_KG_M2
        model.cam_fovy[model.camera(f"{arm}_wrist").id] = WRIST_CAMERA_FOV_DEG
    model.cam_fovy[model.camera("top").id] = TOP_CAMERA_FOV_DEG
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    return model


@dataclass(frozen=True)
class TaskState:
    """How the cube-passing task stands: ``holder`` is none, left, right or both.

    A hand holds the cube when a finger touches it and the table does not. ``done``: the left
    hand alone holds it. ``lies``: it is on the right of the table and no finger touches it.
    """

    cube_m: tuple[float, float, float]
    holder: str
    done: bool
    lies: bool


class AlohaCube:
    """Fourteen position-controlled joints and a cube, stepped at the model's 2 ms.

    ``seed`` fixes the sequence of episodes, ``cube_speed`` [m/s] lets the cube slide over the
    table, in a direction of the episode's, until a finger touches it.
    """

    def __init__(self, *, seed: int = 0, cube_speed: float = 0.0) -> None:
        if not 0.0 <= cube_speed <= 0.5:
            raise ValueError(f"cube_speed is {cube_speed} m/s; it must be from 0 to 0.5")
        self.model = load_model()
        self.model.opt.timestep = _STEP_S
        self.data = mujoco.MjData(self.model)
        self.cube_speed = cube_speed
        self._rng = np.random.default_rng(seed)
        joints = [f"vx300s_{n.replace('_', '/', 1)}" for n in JOINT_NAMES]
        joints = [n.replace("gripper", "left_finger") for n in joints]
        self._qpos = np.array([self.model.joint(n).qposadr[0] for n in joints])
        self._qvel = np.array([self.model.joint(n).dofadr[0] for n in joints])
        cube = self.model.joint("red_box_joint")
        self._cube_qpos, self._cube_qvel = int(cube.qposadr[0]), int(cube.dofadr[0])
        self._box = self.model.geom("red_box").id
        self._table = self.model.geom("table").id
        self._fingers = {
            arm: [
                self.model.geom(f"vx300s_{arm}/10_{side}_gripper_finger").id
                for side in ("left", "right")
            ]
            for arm in ARMS
        }
        self._target: np.ndarray = START_POSE.copy()
        self._slide_velocity = np.zeros(2)
        self._unstable = 0
        self.reset()

    @property
    def time_s(self) -> float:
        """Simulated seconds since the last reset."""
        return float(self.data.time)

    @property
    def unstable_steps(self) -> int:
        """Steps that MuJoCo found unstable (mjWARN_BADQACC …), after which the scene was reset."""
        return self._unstable

    def reset(
        self, seed: int | None = None, *, pose: Sequence[float] | np.ndarray | None = None
    ) -> None:
        """Start an episode: arms at ``pose`` (START_POSE), a new cube position and direction.

        ``seed`` restarts the sequence of episodes, so that the same seed gives the same episode.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self.command(START_POSE if pose is None else pose)
        self._place_arms(self._target)
        self.new_cube()

    def new_cube(self) -> None:
        """Lay the cube at a new place on the table; the arms stay as they are."""
        place = [self._rng.uniform(*CUBE_REGION_M[axis]) for axis in range(2)]
        heading = self._rng.uniform(0.0, 2.0 * np.pi)
        self.data.qpos[self._cube_qpos :] = [*place, CUBE_HALF_M, 1.0, 0.0, 0.0, 0.0]
        self.data.qvel[self._cube_qvel :] = 0.0
        self._slide_velocity[:] = (
            self.cube_speed * np.cos(heading),
            self.cube_speed * np.sin(heading),
        )
        mujoco.mj_forward(self.model, self.data)

    def move_cube(self, by: Sequence[float] | np.ndarray) -> None:
        """Move the cube over the table by x and y [m], within its region; not one that is held."""
        at = slice(self._cube_qpos, self._cube_qpos + 2)
        if self._touching() == {self._table}:
            low, high = np.transpose(CUBE_REGION_M)
            self.data.qpos[at] = np.clip(self.data.qpos[at] + np.asarray(by), low, high)
            mujoco.mj_forward(self.model, self.data)

    def command(self, targets: Sequence[float] | np.ndarray) -> None:
        """Set the 14 joint targets, which hold until the next call; limits are MuJoCo's.

        Raises ValueError for a wrong size or a value that is not finite.
        """
        row = np.asarray(targets, dtype=np.float64)
        if row.shape != (len(JOINT_NAMES),):
            raise ValueError(f"a command has {len(JOINT_NAMES)} values, got shape {row.shape}")
        if not np.isfinite(row).all():
            bad = [n for n, ok in zip(JOINT_NAMES, np.isfinite(row), strict=True) if not ok]
            raise ValueError(f"the command for {', '.join(bad)} is not finite")
        self._target = row.copy()
        self.data.ctrl[:] = _with_fingers(row)

    def step(self, count: int = 10) -> None:
        """Advance the physics by ``count`` steps of 2 ms."""
        for _ in range(count):
            self._steer()
            place = self.data.qpos[self._cube_qpos :][:2] + self._slide_velocity * _STEP_S
            mujoco.mj_step(self.model, self.data)
            if self._slide_velocity.any():  # the table's friction must not slow it
                self.data.qpos[self._cube_qpos :][:2] = place
        self._check()

    def positions(self) -> np.ndarray:
        """Return the 14 joint positions."""
        row = self.data.qpos[self._qpos].copy()
        for index in GRIPPERS:
            row[index] = (row[index] - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M)
        return row

    def velocities(self) -> np.ndarray:
        """Return the 14 joint velocities, per second."""
        row = self.data.qvel[self._qvel].copy()
        for index in GRIPPERS:
            row[index] /= FINGER_OPEN_M - FINGER_CLOSED_M
        return row

    def accelerations(self) -> np.ndarray:
        """Return the 14 joint accelerations of the last step, rad/s² (fingers: m/s²)."""
        return self.data.qacc[self._qvel].copy()

    def torques(self) -> np.ndarray:
        """Return what the actuators put on the 14 joints in the last step, Nm (fingers: N)."""
        return self.data.qfrc_actuator[self._qvel].copy()

    def targets(self) -> np.ndarray:
        """Return the 14 joint targets in force."""
        return self._target.copy()

    def cube(self) -> np.ndarray:
        """Return the cube's centre, float64[3] in metres."""
        return self.data.qpos[self._cube_qpos : self._cube_qpos + 3].copy()

    def task_state(self) -> TaskState:
        """Return who holds the cube and whether it was passed."""
        touching = self._touching()
        lifted = self._table not in touching and self.cube()[2] > _HELD_HEIGHT_M
        holders = [arm for arm in ARMS if lifted and touching.intersection(self._fingers[arm])]
        holder = "both" if len(holders) == 2 else holders[0] if holders else "none"
        x, y, z = map(float, self.cube())
        inside = all(
            low <= value <= high for value, (low, high) in zip((x, y), CUBE_REGION_M, strict=True)
        )
        lies = inside and touching == {self._table}
        return TaskState((x, y, z), holder, holder == "left", lies)

    def _touching(self) -> set[int]:
        pairs = self.data.contact.geom[: self.data.ncon]
        return {int(g) for pair in pairs if self._box in pair for g in pair} - {self._box}

    def _steer(self) -> None:
        """Turn a sliding cube back at the region's edge, and let go of it once it is touched."""
        if not self._slide_velocity.any():
            return
        if self._touching() & {g for ids in self._fingers.values() for g in ids}:
            self._slide_velocity[:] = 0.0
            return
        for axis, (low, high) in enumerate(CUBE_REGION_M):
            place, speed = self.cube()[axis], self._slide_velocity[axis]
            if (place < low and speed < 0.0) or (place > high and speed > 0.0):
                self._slide_velocity[axis] = -speed
        self.data.qvel[self._cube_qvel :][:2] = self._slide_velocity

    def _check(self) -> None:
        """Put the arms back where they are told to be when MuJoCo has reset an unstable scene."""
        kinds = (mujoco.mjtWarning.mjWARN_BADQACC, mujoco.mjtWarning.mjWARN_BADQPOS,
                 mujoco.mjtWarning.mjWARN_BADQVEL)  # fmt: skip
        found = sum(int(self.data.warning[int(kind)].number) for kind in kinds)
        if found:
            self._unstable += found
            self.reset(pose=self._target)

    def _place_arms(self, row: np.ndarray) -> None:
        controls = _with_fingers(row)
        low, high = self.model.actuator_ctrlrange.T
        self.data.qpos[: len(controls)] = np.clip(controls, low, high)


def _with_fingers(row: np.ndarray) -> np.ndarray:
    """Turn 14 joint values into 16: the second finger of a hand mirrors the first."""
    fingers = FINGER_CLOSED_M + row[list(GRIPPERS)] * (FINGER_OPEN_M - FINGER_CLOSED_M)
    left, right = row[:6], row[7:13]
    return np.concatenate([left, [fingers[0], -fingers[0]], right, [fingers[1], -fingers[1]]])
