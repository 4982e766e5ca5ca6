"""A scripted expert: the right hand takes the cube, the left takes it over, both go home.

It reads the cube's true position, which the policy never sees. The script is a list of hand poses
over time; between two of them the hand moves with least jerk, and every pose becomes joint
targets through damped least squares. Nothing in it waits without a hand or a gripper moving, so
that the joints alone nearly always tell how far the motion has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from rtc_ros.sim.kinematics import HandPose, Kinematics
from rtc_ros.sim.robot import ARMS, START_POSE

EPISODE_STEPS = 330
"""Control periods of 20 ms that one episode takes: the motion and some rest at home."""
PICK_PITCH_RAD = 1.05
MEETING_M = np.array([0.0, 0.5, 0.25])
_LEAD_S = 0.16
"""How far ahead of a sliding cube the hand aims: what the arms lag behind their targets."""
_GRASPED_STEP = 92


@dataclass(frozen=True)
class Waypoint:
    """The hand's pose at a control step; ``on_cube`` counts the point from the cube's centre."""

    step: float
    point: tuple[float, float, float]
    pitch: float
    roll: float = 0.0
    on_cube: bool = False


class Expert:
    """Makes the joint targets of one episode, step by step.

    ``start`` is the row of 14 joint values that the arms start from. ``rng`` varies the meeting
    point and the pace by a few per cent; None gives the script itself.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        start: Sequence[float] | np.ndarray = START_POSE,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._kinematics = Kinematics(model)
        start = np.array(start, dtype=np.float64)
        shift = np.zeros(3) if rng is None else rng.uniform(-0.01, 0.01, 3)
        self._pace = 1.0 if rng is None else float(rng.uniform(0.95, 1.05))
        home = {a: self._kinematics.pose(a, START_POSE[i * 7 :][:7]) for i, a in enumerate(ARMS)}
        first = {a: self._kinematics.pose(a, start[i * 7 :][:7]) for i, a in enumerate(ARMS)}
        self._paths = {
            "right": _right_path(first["right"], home["right"], MEETING_M + shift),
            "left": _left_path(first["left"], home["left"], MEETING_M + shift),
        }
        self._grippers = {
            "right": [(0, start[13]), (25, 1.0), (85, 1.0), (93, 0.0), (181, 0.0), (189, 1.0),
                      (215, 1.0), (260, 0.1)],
            "left": [(0, start[6]), (40, start[6]), (75, 1.0), (167, 1.0), (175, 0.0)],
        }  # fmt: skip
        self._row = start
        self._cube: np.ndarray | None = None
        self._step = 0

    def act(self, cube: np.ndarray, cube_velocity: np.ndarray | None = None) -> np.ndarray:
        """Return the 14 joint targets of the next step, given where the cube is [m], [m/s]."""
        step = self._step / self._pace
        self._step += 1
        if self._cube is None or step < _GRASPED_STEP:
            lead = np.zeros(3) if cube_velocity is None else _LEAD_S * cube_velocity
            self._cube = cube + lead
        row = np.empty(14)
        for index, arm in enumerate(ARMS):
            pose = _along(self._paths[arm], step, self._cube)
            part = slice(index * 7, index * 7 + 6)
            row[part] = self._kinematics.solve(arm, pose, self._row[part])
            times, values = zip(*self._grippers[arm], strict=True)
            row[index * 7 + 6] = np.interp(step, times, values)
        self._row = row
        return row.copy()


def _right_path(first: HandPose, home: HandPose, meeting: np.ndarray) -> list[Waypoint]:
    x, y, z = (float(v) for v in meeting)
    pitch = PICK_PITCH_RAD
    return [
        _at(0, first),
        Waypoint(52, (0.0, 0.0, 0.09), pitch, on_cube=True),
        Waypoint(82, (0.0, 0.0, -0.004), pitch, on_cube=True),
        Waypoint(94, (0.0, 0.0, -0.004), pitch, on_cube=True),
        Waypoint(148, (x, y, z), pitch),
        Waypoint(184, (x, y, z), pitch),
        Waypoint(212, (x + 0.09, y, z + 0.08), pitch),
        _at(270, home),
    ]


def _left_path(first: HandPose, home: HandPose, meeting: np.ndarray) -> list[Waypoint]:
    x, y, z = (float(v) for v in meeting)
    roll = np.pi / 2
    return [
        _at(0, first),
        _at(15, first),
        Waypoint(100, (x - 0.13, y, z - 0.01), 0.0, roll),
        Waypoint(138, (x - 0.11, y, z - 0.01), 0.0, roll),
        Waypoint(164, (x - 0.01, y, z - 0.01), 0.0, roll),
        Waypoint(190, (x - 0.01, y, z - 0.01), 0.0, roll),
        Waypoint(212, (x - 0.08, y, z - 0.02), 0.0, roll),
        _at(275, home),
    ]


def _at(step: float, pose: HandPose) -> Waypoint:
    x, y, z = (float(v) for v in pose.point)
    return Waypoint(step, (x, y, z), pose.pitch, pose.roll)


def _along(path: list[Waypoint], step: float, cube: np.ndarray) -> HandPose:
    """Return the pose at ``step``: least jerk from one waypoint to the next."""
    after = next((i for i, w in enumerate(path) if w.step > step), None)
    if after is None:
        return _pose(path[-1], cube)
    a, b = path[after - 1], path[after]
    u = (step - a.step) / (b.step - a.step)
    u = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    one, two = _pose(a, cube), _pose(b, cube)
    return HandPose(
        (1.0 - u) * one.point + u * two.point,
        (1.0 - u) * one.pitch + u * two.pitch,
        (1.0 - u) * one.roll + u * two.roll,
    )


def _pose(waypoint: Waypoint, cube: np.ndarray) -> HandPose:
    point = np.array(waypoint.point)
    return HandPose(point + cube if waypoint.on_cube else point, waypoint.pitch, waypoint.roll)
