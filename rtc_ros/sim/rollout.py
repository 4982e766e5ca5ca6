"""`rtc_ros sim rollout`: score a policy in the simulator without ROS and without delay.

Each chunk is waited for. This scores a checkpoint by itself; how chunks are joined while the robot
moves on is the business of `rtc_ros sim eval`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rtc_ros.command_line import COUNT
from rtc_ros.core.proportion import wilson
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.protocol import Observation, Policy
from rtc_ros.sim.cameras import Cameras, choose_gl

choose_gl()

from rtc_ros.sim.demonstrations import POLICY_IMAGE  # noqa: E402
from rtc_ros.sim.kinematics import Kinematics  # noqa: E402
from rtc_ros.sim.robot import ARMS, AlohaCube  # noqa: E402
from rtc_ros.sim.tasks import PASS, PUT_BACK  # noqa: E402


@dataclass(frozen=True)
class Episode:
    """What a policy did in one episode.

    ``passed``: at some time the left hand alone held the cube; ``grasped``: the right hand did;
    ``put_back``: it was passed, the sentence changed, and at the end it lay on the right.
    ``travel_rad`` is the path length of each arm's six joints together, ``closest_m`` the least
    distance between the two grasp points, ``lowest_m`` the right one's least height.
    """

    passed: bool
    grasped: bool
    put_back: bool
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
    put_back: bool = False,
    until_done: bool = False,
) -> Episode:
    """Reset the robot and let the policy move it for ``steps`` control periods of 20 ms.

    A chunk's first ``execute`` rows are executed, then a new one is made; ``seed`` fixes the
    noise. The cameras must have one called "top". With ``put_back`` a cube that was passed is to
    be put back, after the left hand had it for 100 steps, in as many steps again. With
    ``until_done`` the episode ends when the task is done.
    """
    robot.reset()
    kinematics = Kinematics(robot.model)
    passed = grasped = False
    closest = lowest = np.inf
    rows = [robot.positions()]
    chunk = np.empty((0, len(rows[0])))
    held, step, end, task = 0, 0, steps, PASS
    while step < end:
        row = step % execute
        if row == 0:
            cameras.look(robot.data.qpos)
            images = {"observation.images.top": cameras.picture("top")}
            chunk = policy.infer(
                Observation(robot.positions(), images, task), None, seed=seed + step
            ).actions
        robot.command(chunk[row])
        robot.step()
        step += 1
        rows.append(robot.positions())
        state = robot.task_state()
        passed |= state.done
        grasped |= state.holder == "right"
        held = held + 1 if state.done else 0
        if put_back and held == 1:
            end = max(end, step + 100)
        if put_back and held == 100 and task == PASS:
            task, end = PUT_BACK, step + steps
        if until_done and (state.lies if task == PUT_BACK else passed and not put_back):
            end = step
        left, right = (kinematics.pose(a, rows[-1][i * 7 :]).point for i, a in enumerate(ARMS))
        closest = min(closest, float(np.linalg.norm(left - right)))
        lowest = min(lowest, float(right[2]))
    moves = np.abs(np.diff(rows, axis=0)).sum(0)
    travel = (float(moves[:6].sum()), float(moves[7:13].sum()))
    back = task == PUT_BACK and robot.task_state().lies
    return Episode(passed, grasped, back, travel, closest, lowest)


def score(
    policy: Policy,
    episodes: int,
    *,
    seed: int = 0,
    execute: int = 25,
    cube_speed: float = 0.0,
    put_back: bool = False,
    until_done: bool = False,
    report: Callable[[int, Episode], None] | None = None,
) -> list[Episode]:
    """Run ``episodes`` episodes with the cubes of ``seed``; ``report`` hears of each."""
    robot = AlohaCube(seed=seed, cube_speed=cube_speed)
    done = []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        for number in range(episodes):
            done.append(
                run_episode(
                    policy,
                    robot,
                    cameras,
                    execute=execute,
                    seed=1000 * number,
                    put_back=put_back,
                    until_done=until_done,
                )
            )
            if report:
                report(number, done[-1])
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """Score a checkpoint in the simulator, without ROS and without delay."""
    import torch

    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path
    from rtc_ros.policy.image_positions import AUTO, CHOICES

    parser = argparse.ArgumentParser(prog="rtc_ros sim rollout", description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", type=path_text, default="package:aloha_cube")
    parser.add_argument("--episodes", type=COUNT, default=20)
    parser.add_argument("--execute", type=COUNT, default=10, help="rows of each chunk to execute")
    parser.add_argument("--seed", type=int, default=9000, help="of the cubes' positions")
    parser.add_argument("--cube-speed", type=float, default=0.0, help="m/s")
    parser.add_argument("--put-back", action="store_true", help="then have the cube put back")
    parser.add_argument("--image-positions", choices=CHOICES, default=AUTO,
                        help="show the policy displaced pictures, or right ones")  # fmt: skip
    parser.add_argument("--json", type=a_path, help="write the episodes here, too")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        policy = FlowAdapter.load(
            checkpoint_path(args.checkpoint), image_positions=args.image_positions
        )
    except (OSError, ValueError) as error:
        print(f"sim rollout: {error}", file=sys.stderr)
        return 2
    done = score(policy, args.episodes, seed=args.seed, execute=args.execute,
                 cube_speed=args.cube_speed, put_back=args.put_back, until_done=True,
                 report=lambda n, episode: print(f"{n:3d} {episode}", flush=True))  # fmt: skip
    print(f"lifted by the right hand: {_share(sum(e.grasped for e in done), len(done))}")
    passed = sum(e.passed for e in done)
    print(f"passed: {_share(passed, len(done))}")
    if args.put_back:
        print(f"of those put back: {_share(sum(e.put_back for e in done), passed)}")
    if args.json:
        args.json.write_text(json.dumps([asdict(e) for e in done], indent=1) + "\n")
    return 0


def _share(count: int, total: int) -> str:
    if not total:
        return "none of none"
    low, high = wilson(count, total)
    return f"{count} of {total}, 95 % from {100 * low:.0f} to {100 * high:.0f} %"


if __name__ == "__main__":
    raise SystemExit(main())
