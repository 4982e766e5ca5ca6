"""Record demonstrations of the expert: what the policy learns from.

The expert's targets are the labels. What the arms are told differs from them by a smooth random
error, so that the demonstrations also show the way back from where a policy's errors lead (DART,
arXiv 1703.09327). Episodes in which the cube isn't passed are thrown away and made anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from rtc_ros.sim.cameras import Cameras, choose_gl

choose_gl()

from rtc_ros.sim.expert import EPISODE_STEPS, Expert  # noqa: E402
from rtc_ros.sim.robot import GRIPPERS, START_POSE, AlohaCube  # noqa: E402

CONTROL_PERIOD_S = 0.02
POLICY_IMAGE = (96, 96)
"""Height and width of the picture that the policy sees, which the driver publishes as it is."""
TASK = "pass the cube to the left hand"
_ERROR_CORRELATION = 0.9  # from one control period to the next: 0.2 s
_MAX_ERROR_RAD = 0.02


@dataclass(frozen=True)
class Demonstrations:
    """E episodes of T steps and the N frames that were seen in them.

    ``actions`` float32[E, T, 14] are the expert's targets; ``states`` float32[N, 14], ``images``
    uint8[N, h, w, 3] and ``cubes`` float32[N, 3] (metres) were observed before the action of
    step ``steps[N]`` in episode ``episodes[N]``.
    """

    actions: np.ndarray
    episodes: np.ndarray
    steps: np.ndarray
    states: np.ndarray
    cubes: np.ndarray
    images: np.ndarray

    def save(self, path: Path) -> None:
        """Write one compressed npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, folder: Path) -> Demonstrations:
        """Read and join every npz file of a folder. Raises FileNotFoundError when it has none."""
        paths = sorted(Path(folder).glob("*.npz"))
        if not paths:
            raise FileNotFoundError(f"{folder} has no demonstrations (*.npz); record some first")
        parts: dict[str, list[np.ndarray]] = {f.name: [] for f in fields(cls)}
        count = 0
        for path in paths:
            with np.load(path) as file:
                for name, arrays in parts.items():
                    arrays.append(file[name] + count if name == "episodes" else file[name])
                count += len(parts["actions"][-1])
        return cls(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


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


def record_episode(
    robot: AlohaCube, cameras: Cameras, rng: np.random.Generator, *, every: int
) -> Mapping[str, np.ndarray] | None:
    """Record one episode with a frame each ``every`` steps; None where the cube wasn't passed."""
    start = start_pose(rng)
    robot.reset(pose=start)
    expert = Expert(robot.model, start, rng)
    worst = rng.uniform(0.0, _MAX_ERROR_RAD)
    fresh = worst * np.sqrt(1.0 - _ERROR_CORRELATION**2)
    error = np.zeros(len(start))
    phase = int(rng.integers(every))
    actions, steps, states, cubes, images = [], [], [], [], []
    for step in range(EPISODE_STEPS):
        if step % every == phase:
            cameras.look(robot.data.qpos)
            steps.append(step)
            states.append(robot.positions())
            cubes.append(robot.cube())
            images.append(cameras.picture("top"))
        actions.append(expert.act(robot.cube()))
        error = _ERROR_CORRELATION * error + rng.normal(0.0, 1.0, len(error)) * fresh
        error[list(GRIPPERS)] = 0.0
        robot.command(actions[-1] + error)
        robot.step()
    if not robot.task_state().done:
        return None
    return {
        "actions": np.array(actions, np.float32)[None],
        "steps": np.array(steps, np.int32),
        "states": np.array(states, np.float32),
        "cubes": np.array(cubes, np.float32),
        "images": np.array(images),
    }


def record(
    episodes: int, *, seed: int, every: int = 5, size: tuple[int, int] = POLICY_IMAGE
) -> Demonstrations:
    """Record ``episodes`` successful episodes. Prints how many of the tries succeeded."""
    robot, rng = AlohaCube(seed=seed), np.random.default_rng([seed, 1])
    made: list[Mapping[str, np.ndarray]] = []
    tries = 0
    with Cameras(robot.model, {"top": size}) as cameras:
        while len(made) < episodes:
            tries += 1
            episode = record_episode(robot, cameras, rng, every=every)
            if episode is not None:
                made.append(episode)
            if tries % 50 == 0 or len(made) == episodes:
                print(f"{len(made)} of {tries} episodes passed the cube", flush=True)
    joined = {name: np.concatenate([m[name] for m in made]) for name in made[0]}
    counts = [len(m["steps"]) for m in made]
    return Demonstrations(episodes=np.repeat(np.arange(len(made)), counts), **joined)


def main(argv: Sequence[str] | None = None) -> int:
    """Record demonstrations into a folder, one file per seed."""
    parser = argparse.ArgumentParser(prog="rtc_ros sim record", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the npz file goes")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="also names the file")
    parser.add_argument("--every", type=int, default=5, help="steps from one frame to the next")
    args = parser.parse_args(argv)
    demonstrations = record(args.episodes, seed=args.seed, every=args.every)
    path = args.folder / f"demonstrations_{args.seed}.npz"
    demonstrations.save(path)
    print(f"{len(demonstrations.steps)} frames of {args.episodes} episodes in {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
