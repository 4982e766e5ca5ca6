"""Let a policy move the simulated robot without ROS and without delay: each chunk is waited for.

This scores a checkpoint by itself. How chunks are joined while the robot moves on is the business
of the nodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtc_ros.policy.protocol import Observation, Policy
from rtc_ros.sim.cameras import Cameras, choose_gl

choose_gl()

from rtc_ros.sim.demonstrations import POLICY_IMAGE, TASK  # noqa: E402
from rtc_ros.sim.kinematics import Kinematics  # noqa: E402
from rtc_ros.sim.robot import ARMS, AlohaCube  # noqa: E402


@dataclass(frozen=True)
class Episode:
    """What a policy did in one episode.

    ``passed``: at some time the left hand alone held the cube; ``grasped``: the right hand did.
    ``travel_rad`` is the path length of each arm's six joints together, ``closest_m`` the least
    distance between the two grasp points, ``lowest_m`` the right one's least height.
    """

    passed: bool
    grasped: bool
    travel_rad: tuple[float, float]
    closest_m: float
    lowest_m: float


def run_episode(
    policy: Policy,
    robot: AlohaCube,
    cameras: Cameras,
    *,
    steps: int = 350,
    execute: int = 25,
    seed: int = 0,
) -> Episode:
    """Reset the robot and let the policy move it for ``steps`` control periods of 20 ms.

    A chunk's first ``execute`` rows are executed, then a new one is made; ``seed`` fixes the
    noise. The cameras must have one called "top".
    """
    robot.reset()
    kinematics = Kinematics(robot.model)
    passed = grasped = False
    closest = lowest = np.inf
    rows = [robot.positions()]
    chunk = np.empty((0, len(rows[0])))
    for step in range(steps):
        row = step % execute
        if row == 0:
            cameras.look(robot.data.qpos)
            images = {"observation.images.top": cameras.picture("top")}
            observation = Observation(robot.positions(), images, TASK)
            chunk = policy.infer(observation, None, seed=seed + step).actions
        robot.command(chunk[row])
        robot.step()
        rows.append(robot.positions())
        state = robot.task_state()
        passed |= state.done
        grasped |= state.holder == "right"
        left, right = (kinematics.pose(a, rows[-1][i * 7 :]).point for i, a in enumerate(ARMS))
        closest = min(closest, float(np.linalg.norm(left - right)))
        lowest = min(lowest, float(right[2]))
    moves = np.abs(np.diff(rows, axis=0)).sum(0)
    travel = (float(moves[:6].sum()), float(moves[7:13].sum()))
    return Episode(passed, grasped, travel, closest, lowest)


def score(policy: Policy, episodes: int, *, seed: int = 0, execute: int = 25) -> list[Episode]:
    """Run ``episodes`` episodes with unseen cubes and print each."""
    robot = AlohaCube(seed=seed)
    done = []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        for number in range(episodes):
            done.append(run_episode(policy, robot, cameras, execute=execute, seed=1000 * number))
            print(f"{number:3d} {done[-1]}", flush=True)
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """Score a checkpoint in the simulator, without ROS and without delay."""
    import torch

    from rtc_ros.policy.smolvla import SmolVLAAdapter

    parser = argparse.ArgumentParser(prog="rtc_ros sim rollout", description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--execute", type=int, default=25, help="rows of each chunk to execute")
    parser.add_argument("--seed", type=int, default=9000, help="of the cubes' positions")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    policy = SmolVLAAdapter.load(args.checkpoint)
    done = score(policy, args.episodes, seed=args.seed, execute=args.execute)
    passed, grasped = sum(e.passed for e in done), sum(e.grasped for e in done)
    print(f"cube passed in {passed}, lifted by the right hand in {grasped} of {len(done)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
