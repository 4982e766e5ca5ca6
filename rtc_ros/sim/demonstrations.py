"""Record demonstrations of the expert: what the policy learns from, as a LeRobotDataset.

What the arms are told differs from the expert's targets by a smooth random error, so that the
demonstrations also show the way back from where a policy's errors lead (DART, arXiv 1703.09327).
In a part of the episodes the cube slides, or is moved on a sudden, and the expert, who looks as
seldom as a policy that executes 1 to 15 rows of a chunk, follows it or tries again.
Episodes in which the task isn't done are left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtc_ros.command_line import COUNT
from rtc_ros.paths import a_path
from rtc_ros.sim.cameras import Cameras, choose_gl

choose_gl()

from rtc_ros.sim.expert import REST_STEPS, Expert  # noqa: E402
from rtc_ros.sim.robot import GRIPPERS, JOINT_NAMES, START_POSE, AlohaCube  # noqa: E402
from rtc_ros.sim.tasks import PASS, PUT_BACK  # noqa: E402

CONTROL_RATE_HZ = 50
POLICY_IMAGE = (96, 96)
"""Height and width of the picture that the policy sees, which the driver publishes as it is."""
HORIZON = 50
"""H, the rows of a plan and of the policy's chunks."""
IMAGE, STATE, ACTION = "observation.images.top", "observation.state", "action"
PLAN, CUBE = "plan", "cube"
FEATURES = {
    IMAGE: ((*POLICY_IMAGE, 3), None),
    STATE: ((len(JOINT_NAMES),), JOINT_NAMES),
    ACTION: ((len(JOINT_NAMES),), JOINT_NAMES),
    PLAN: ((HORIZON, len(JOINT_NAMES)), None),
    CUBE: ((3,), ("x", "y", "z")),
}
"""``action`` is what the expert wants at the frame's time, ``plan`` that and its next targets at
50 Hz, as if the cube stayed where it is until the hand has it; ``cube`` [m] is its true place."""
_ERROR_CORRELATION = 0.9  # from one control period to the next: 0.2 s
_MAX_ERROR_RAD = 0.02
_LONGEST_STEPS = 600
_MAX_SPEED_MPS = 0.10
_STILL, _MOVED, _PUT_BACK, _NOTHING_TO_DO = 0.4, 0.25, 0.35, 0.15
"""Shares of the trials: the cube lies still; it is moved on a sudden; it is put back after the
pass; the arms are told to put it back while they reach for it or rest, and go home."""
_LOOKS = (1, 5, 10, 15)
_MOVE_M = 0.04


@dataclass
class Recording:
    """What is seen in an episode, frame by frame, and the rows that the expert wanted."""

    phase: int
    frames: dict[str, list[Any]]
    rows: list[np.ndarray]
    steps: list[int]

    def complete(self) -> dict[str, np.ndarray]:
        """Return the frames; a plan that is missing is what the expert did next."""
        rows = np.array(self.rows, np.float32)
        after = np.array(self.steps)[:, None] + np.arange(HORIZON)
        done = rows[after.clip(max=len(rows) - 1)]
        plans = [d if p is None else p for p, d in zip(self.frames[PLAN], done, strict=True)]
        frames = {name: np.array(v) for name, v in self.frames.items() if name != PLAN}
        frames[ACTION], frames[PLAN] = rows[self.steps], np.array(plans, np.float32)
        return frames


class Recorder:
    """Makes episodes of a seed: the same seed, the same episodes.

    ``every``: control steps of 20 ms from one frame to the next.
    """

    def __init__(self, seed: int, cameras: Cameras, robot: AlohaCube, *, every: int = 5) -> None:
        self.tries = 0
        self._robot, self._cameras, self._every = robot, cameras, every
        self._rng = np.random.default_rng([seed, 1])

    def trial(self) -> Iterator[tuple[dict[str, np.ndarray], str]]:
        """Try each of an episode's tasks with a new cube; yield frames and task of those done."""
        rng, robot = self._rng, self._robot
        self.tries += 1
        still, moved = rng.random() < _STILL, rng.random() < _MOVED
        robot.cube_speed = 0.0 if still else rng.uniform(0.0, _MAX_SPEED_MPS)
        start = start_pose(rng)
        robot.reset(pose=start)
        worst = rng.uniform(0.0, _MAX_ERROR_RAD)
        if rng.random() < _NOTHING_TO_DO:
            expert = Expert(robot.model, start, rng)
            for _ in range(int(rng.integers(80))):
                start = expert.act(robot.cube())
                robot.command(start)
                robot.step()
            frames, start = self._episode(Expert(robot.model, start, rng, PUT_BACK), worst, -1)
            yield frames, PUT_BACK
        at = int(rng.integers(30, 105)) if moved else -1
        looks = 1 if still else int(rng.choice(_LOOKS))
        expert = Expert(robot.model, start, rng)
        follow = moved or not still
        frames, start = self._episode(expert, worst, at, looks=looks, follow=follow)
        if not robot.task_state().done:
            return
        yield frames, PASS
        if rng.random() < _PUT_BACK:
            expert = Expert(robot.model, start, rng, PUT_BACK)
            frames, _ = self._episode(expert, worst, -1)
            if robot.task_state().lies:
                yield frames, PUT_BACK

    def _episode(
        self, expert: Expert, worst: float, moved_at: int, *, looks: int = 1, follow: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Let the expert do its task; return the frames and the last row of targets.

        The expert sees the cube each ``looks`` steps; ``follow``: where it is may change.
        """
        robot, rng = self._robot, self._rng
        names = [name for name in FEATURES if name != ACTION]
        seen = Recording(int(rng.integers(self._every)), {n: [] for n in names}, [], [])
        error, fresh = np.zeros(len(JOINT_NAMES)), worst * np.sqrt(1.0 - _ERROR_CORRELATION**2)
        rest, place = 0, robot.cube()
        while rest < REST_STEPS and len(seen.rows) < _LONGEST_STEPS:
            step = len(seen.rows)
            if step == moved_at:
                robot.move_cube(rng.normal(0.0, _MOVE_M, 2))
            if step % self._every == seen.phase:
                cube = robot.cube()
                self._cameras.look(robot.data.qpos)
                seen.steps.append(step)
                seen.frames[STATE].append(robot.positions().astype(np.float32))
                seen.frames[CUBE].append(cube.astype(np.float32))
                seen.frames[IMAGE].append(self._cameras.picture("top"))
                plan = expert.plan(cube, HORIZON) if follow and expert.reaching else None
                seen.frames[PLAN].append(plan)
            place = robot.cube() if step % looks == 0 else place
            seen.rows.append(expert.act(place))
            error = _ERROR_CORRELATION * error + rng.normal(0.0, 1.0, len(error)) * fresh
            error[list(GRIPPERS)] = 0.0
            robot.command(seen.rows[-1] + error)
            robot.step()
            rest += expert.finished
        return seen.complete(), seen.rows[-1]


def start_pose(rng: np.random.Generator) -> np.ndarray:
    """Draw where the arms of a demonstration start: at home, nearly, or where an episode ends.

    The left gripper may start open, closed or anywhere between, as a missed pass leaves it.
    """
    pose = START_POSE.copy()
    spread = rng.choice([0.01, 0.05, 0.15], p=[0.5, 0.3, 0.2])
    pose += rng.normal(0.0, spread, len(pose))
    for index in GRIPPERS:
        pose[index] = 0.1
    if rng.random() < 0.4:
        pose[GRIPPERS[0]] = rng.choice([0.0, rng.random()])
    return pose


def record(folder: Path, trials: int, *, seed: int, every: int = 5) -> dict[str, int]:
    """Record ``trials`` trials into a new LeRobotDataset; return the episodes of each task.

    Raises FileExistsError where the folder is there already.
    """
    from rtc_ros.policy.lerobot_data import create_dataset, write_episode

    robot = AlohaCube(seed=seed)
    fps = CONTROL_RATE_HZ // every
    dataset = create_dataset(folder, FEATURES, fps=fps, robot="gym-aloha bimanual ViperX")
    made = {PASS: 0, PUT_BACK: 0}
    began = time.monotonic()
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[rate]}"))  # fmt: skip
    with (
        Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        recorder = Recorder(seed, cameras, robot, every=every)
        bar = progress.add_task("trials", total=trials, rate="")
        for _ in range(trials):
            for frames, task in recorder.trial():
                write_episode(dataset, frames, task)
                made[task] += 1
            rate = 60.0 * sum(made.values()) / (time.monotonic() - began)
            progress.update(bar, advance=1, rate=f"{rate:.0f} episodes/min")
    dataset.finalize()
    minutes = (time.monotonic() - began) / 60.0
    total = sum(made.values())
    counts = ", ".join(f"{count} × {task!r}" for task, count in made.items())
    print(f"{total} episodes in {minutes:.1f} min, {total / minutes:.0f} a minute: {counts}")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Record demonstrations of both tasks into a new LeRobotDataset; 2 where that can't be."""
    parser = argparse.ArgumentParser(prog="rtc_ros sim record", description=main.__doc__)
    parser.add_argument("folder", type=a_path, help="of the data set; must not be there yet")
    parser.add_argument("--trials", type=COUNT, default=1200, help="1 to 3 episodes each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=5, choices=(1, 2, 5, 10),
                        help="control steps of 20 ms from one frame to the next")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="4 trials, to see that it works")
    args = parser.parse_args(argv)
    try:
        record(args.folder, 4 if args.quick else args.trials, seed=args.seed, every=args.every)
    except (ImportError, OSError, ValueError) as error:
        print(f"sim record: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
