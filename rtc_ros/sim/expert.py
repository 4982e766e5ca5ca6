"""A scripted expert for both tasks: pass the cube to the left hand, put it back on the right.

It reads the cube's true position, which the policy never sees, but not its velocity, which a
policy that sees one picture can't know: the right hand follows a sliding cube where it is. So what
the expert wants next, ``plan``, follows from one moment. The script is a list of hand
poses over time; between two of them the hand moves with least jerk, and every pose becomes joint
targets through damped least squares. Nothing in it waits without a hand or a gripper moving, so
that the joints alone nearly always tell how far the motion has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from rtc_ros.sim.kinematics import HandPose, Kinematics
from rtc_ros.sim.robot import ARMS, CUBE_HALF_M, GRIPPERS, START_POSE
from rtc_ros.sim.tasks import PASS

PICK_PITCH_RAD = 1.05
MEETING_M = np.array([0.0, 0.5, 0.25])
PLACE_M = np.array([0.1, 0.5])
"""Where the cube is put back: x and y."""
REST_STEPS = 40
"""Control periods of 20 ms that an episode goes on at home."""
_HOVERS_M = ((0.0, 0.0, 0.09), (0.045, 0.0, 0.09))
"""Two ways to approach, from the cube: straight from above, and along the slanting hand."""
_REACH_STEPS = 52
_FOLLOW_M = 0.005
"""What the hand follows the cube by in a step: 0.25 m/s."""
_LOW_STEP, _GRASPED_STEP, _HELD_STEP = 60, 92, 150
_LOST_M = 0.035
_LIFTED_M = 0.08


@dataclass(frozen=True)
class Waypoint:
    """The hand's pose at a control step; ``on_cube`` counts the point from the cube's centre."""

    step: float
    point: tuple[float, float, float]
    pitch: float
    roll: float = 0.0
    on_cube: bool = False


@dataclass(frozen=True)
class Script:
    """Hand paths and gripper openings [step, 0..1] of both arms, and the step it begins at."""

    paths: dict[str, list[Waypoint]]
    grippers: dict[str, list[tuple[float, float]]]
    first_step: float = 0.0

    @property
    def last_step(self) -> float:
        """The step from which nothing moves."""
        return max(path[-1].step for path in self.paths.values())


class Expert:
    """Makes the joint targets of one episode, step by step.

    ``start`` is the row of 14 joint values that the arms start from. ``rng`` varies the way to
    approach, the meeting point by 1 cm and the pace by 7 %; None gives the script itself.
    ``task`` is one of TASKS; to put back a cube that lies on the table the arms go home.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        start: Sequence[float] | np.ndarray = START_POSE,
        rng: np.random.Generator | None = None,
        task: str = PASS,
    ) -> None:
        self._kinematics = Kinematics(model)
        self._meeting = MEETING_M + (0.0 if rng is None else rng.uniform(-0.01, 0.01, 3))
        self._place = PLACE_M + (0.0 if rng is None else rng.uniform(-0.01, 0.01, 2))
        self._pace = 1.0 if rng is None else float(rng.uniform(0.93, 1.07))
        self._hover = _HOVERS_M[0 if rng is None else int(rng.integers(len(_HOVERS_M)))]
        self._home = self._poses(START_POSE)
        self._task = task
        self._row = np.array(start, dtype=np.float64)
        self._cube: np.ndarray | None = None
        self.retries = 0
        self._script: Script | None = None
        self._step = 0.0

    @property
    def finished(self) -> bool:
        """Tell whether both arms are home again."""
        return self._script is not None and self._step >= self._script.last_step

    @property
    def reaching(self) -> bool:
        """Tell whether the right hand is still on its way to the cube."""
        return self._task == PASS and self._step < _GRASPED_STEP

    def act(self, cube: np.ndarray) -> np.ndarray:
        """Return the 14 joint targets of the next step, given where the cube is [m]."""
        return self._advance(self._look(cube), cube)

    def plan(self, cube: np.ndarray, rows: int) -> np.ndarray:
        """Return the targets of the next steps, float64[rows, 14], if the cube stays there."""
        script = self._look(cube)
        state = self._row, self._cube, self._step
        planned = np.array([self._advance(script, cube) for _ in range(rows)])
        self._row, self._cube, self._step = state
        return planned

    def _look(self, cube: np.ndarray) -> Script:
        """Return the script; it begins anew where the cube is not where the hand took it to be."""
        if self._script is None:
            self._script = self._first(cube)
        elif self._task == PASS and _LOW_STEP <= self._step < _HELD_STEP and self._lost(cube):
            self.retries += 1
            hand = self._poses(self._row)["right"].point
            far = float(np.linalg.norm(cube + self._hover - hand))
            self._script = self._pass(reach=float(np.clip(130.0 * far, 24.0, _REACH_STEPS)))
            self._step, self._cube = self._script.first_step, None
        return self._script

    def _first(self, cube: np.ndarray) -> Script:
        on_table = cube[2] < 1.5 * CUBE_HALF_M
        return self._pass() if self._task == PASS else self._put_back(nothing_to_do=on_table)

    def _lost(self, cube: np.ndarray) -> bool:
        """Tell whether the cube was moved away from under the hand, or the hand closed beside."""
        if self._step < _GRASPED_STEP:
            return self._cube is not None and _aside(cube, self._cube) > _LOST_M
        hand = self._poses(self._row)["right"].point
        above = hand[2] > cube[2] + _LIFTED_M
        return bool(cube[2] < 1.5 * CUBE_HALF_M and (above or _aside(cube, hand) > _LOST_M))

    def _advance(self, script: Script, cube: np.ndarray) -> np.ndarray:
        """Return the next row. A cube that slides or is moved is followed until it is grasped."""
        if self._cube is None:
            self._cube = cube.copy()
        elif self._step < _GRASPED_STEP:
            move = cube - self._cube
            far = float(np.linalg.norm(move))
            self._cube = self._cube + move * min(1.0, _FOLLOW_M / max(far, 1e-9))
        row = np.empty(14)
        for index, arm in enumerate(ARMS):
            pose = _along(script.paths[arm], self._step, self._cube)
            part = slice(index * 7, index * 7 + 6)
            row[part] = self._kinematics.solve(arm, pose, self._row[part])
            times, values = zip(*script.grippers[arm], strict=True)
            row[index * 7 + 6] = np.interp(self._step, times, values)
        self._row = row
        self._step += 1.0 / self._pace
        return row.copy()

    def _poses(self, row: np.ndarray) -> dict[str, HandPose]:
        return {a: self._kinematics.pose(a, row[i * 7 :][:7]) for i, a in enumerate(ARMS)}

    def _pass(self, reach: float = _REACH_STEPS) -> Script:
        """Return the script from where the arms are, above the cube after ``reach`` steps."""
        x, y, z = (float(v) for v in self._meeting)
        first, pitch, roll, begin = self._poses(self._row), PICK_PITCH_RAD, np.pi / 2, 52.0 - reach
        right = [
            _at(begin, first["right"]),
            Waypoint(52, self._hover, pitch, on_cube=True),
            Waypoint(82, (0.0, 0.0, -0.004), pitch, on_cube=True),
            Waypoint(94, (0.0, 0.0, -0.004), pitch, on_cube=True),
            Waypoint(148, (x, y, z), pitch),
            Waypoint(184, (x, y, z), pitch),
            Waypoint(212, (x + 0.09, y, z + 0.08), pitch),
            _at(270, self._home["right"]),
        ]
        left = [
            _at(begin, first["left"]),
            _at(begin + 15, first["left"]),
            Waypoint(100, (x - 0.13, y, z - 0.01), 0.0, roll),
            Waypoint(138, (x - 0.11, y, z - 0.01), 0.0, roll),
            Waypoint(164, (x - 0.01, y, z - 0.01), 0.0, roll),
            Waypoint(190, (x - 0.01, y, z - 0.01), 0.0, roll),
            Waypoint(212, (x - 0.08, y, z - 0.02), 0.0, roll),
            _at(275, self._home["left"]),
        ]
        grippers = {
            "right": [(begin, self._row[13]), (begin + reach / 2, 1.0), (85, 1.0), (93, 0.0),
                      (181, 0.0), (189, 1.0), (215, 1.0), (260, 0.1)],
            "left": [(begin, self._row[6]), (40, self._row[6]), (75, 1.0), (167, 1.0), (175, 0.0)],
        }  # fmt: skip
        return Script({"right": right, "left": left}, grippers, begin)

    def _put_back(self, *, nothing_to_do: bool) -> Script:
        """Return the script that hands the cube back and puts it down at ``_place``."""
        if nothing_to_do:
            return self._go_home()
        x, y, z = (float(v) for v in self._meeting)
        down = (float(self._place[0]), float(self._place[1]), CUBE_HALF_M)
        first, pitch, roll = self._poses(self._row), PICK_PITCH_RAD, np.pi / 2
        above = (down[0], down[1], 0.11)
        right = [
            _at(0, first["right"]),
            Waypoint(70, (x + 0.09, y, z + 0.08), pitch),
            Waypoint(105, (x, y, z), pitch),
            Waypoint(136, (x, y, z), pitch),
            Waypoint(190, above, pitch),
            Waypoint(214, down, pitch),
            Waypoint(226, down, pitch),
            Waypoint(250, above, pitch),
            _at(300, self._home["right"]),
        ]
        left = [
            _at(0, first["left"]),
            Waypoint(50, (x - 0.08, y, z - 0.02), 0.0, roll),
            Waypoint(85, (x - 0.01, y, z - 0.01), 0.0, roll),
            Waypoint(132, (x - 0.01, y, z - 0.01), 0.0, roll),
            Waypoint(160, (x - 0.11, y, z - 0.01), 0.0, roll),
            _at(225, self._home["left"]),
        ]
        grippers: dict[str, list[tuple[float, float]]] = {
            "right": [(0, self._row[13]), (30, 1.0), (107, 1.0), (115, 0.0), (216, 0.0),
                      (224, 1.0), (252, 1.0), (290, 0.1)],
            "left": [(0, 0.0), (120, 0.0), (128, 1.0), (165, 1.0), (215, 0.1)],
        }  # fmt: skip
        return Script({"right": right, "left": left}, grippers)

    def _go_home(self) -> Script:
        first, home = self._poses(self._row), self._home
        openings = {a: float(self._row[i]) for a, i in zip(ARMS, GRIPPERS, strict=True)}
        return Script(
            {arm: [_at(0, first[arm]), _at(50, home[arm])] for arm in ARMS},
            {arm: [(0.0, opening), (40.0, 0.1)] for arm, opening in openings.items()},
        )


def _aside(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.linalg.norm((one - two)[:2]))


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
