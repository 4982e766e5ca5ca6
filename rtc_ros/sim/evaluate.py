"""`rtc_ros sim eval`: the policy, the controller and RTC in simulation, without ROS.

The inference loop and the controller of the nodes run on a virtual clock, with a given delay, as
fast as the machine can. Lists of settings are combined, with the same cubes and the same
noise for each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from rtc_ros.bringup import config_file
from rtc_ros.core.continuity import ContinuityReport, judge
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.proportion import wilson
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.policy.protocol import Guidance, Observation, Policy

PERIOD_S = 0.02


@dataclass(frozen=True)
class Result:
    """What one combination of settings did in all episodes.

    ``interval`` is Wilson's 95 % of the proportion passed, ``done_s`` the median time to it.
    Seams are pooled: ``seam_rad`` how far the largest joint departs from the motion around the
    seam (median, p95, max), ``seam_ratio`` the same in fast ordinary steps.
    """

    settings: dict[str, Any]
    episodes: int
    passed: int
    interval: tuple[float, float]
    done_s: float | None
    starved: int
    misplaced: int
    seams: int
    seam_rad: tuple[float, float, float]
    seam_ratio: tuple[float, float, float]


def evaluate(
    policy: Policy,
    settings: RtcSettings,
    delay: int,
    *,
    episodes: int,
    seed: int,
    steps: int = 350,
    cube_speed: float = 0.0,
) -> Result:
    """Run ``episodes`` episodes of ``steps`` control periods with d = ``delay`` ticks."""
    from rtc_ros.sim.cameras import Cameras, choose_gl

    choose_gl()
    from rtc_ros.sim.demonstrations import POLICY_IMAGE
    from rtc_ros.sim.robot import AlohaCube

    robot = AlohaCube(seed=seed, cube_speed=cube_speed)
    done_at: list[float] = []
    reports = []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        for episode in range(episodes):
            noise = 1_000_000 * (seed + episode)
            report, passed_at = _episode(policy, settings, delay, robot, cameras, steps, noise)
            reports.append(report)
            if passed_at is not None:
                done_at.append(passed_at)
    seams = [s for report in reports for s in report.seams]
    return Result(
        {"delay": delay, **asdict(settings)},
        episodes,
        len(done_at),
        wilson(len(done_at), episodes),
        float(np.median(done_at)) if done_at else None,
        sum(r.starved_ticks for r in reports),
        sum(r.misplaced_steps for r in reports),
        len(seams),
        _spread([s.excess_max for s in seams]),
        _spread([s.excess_ratio for s in seams]),
    )


def _episode(
    policy: Policy,
    settings: RtcSettings,
    delay: int,
    robot: Any,
    cameras: Any,
    steps: int,
    noise: int,
) -> tuple[ContinuityReport, float | None]:
    """Return the continuity of one episode, and when the cube was passed [s]."""
    from rtc_ros.sim.demonstrations import TASK
    from rtc_ros.sim.robot import JOINT_NAMES

    def infer(request: InferenceRequest, seq: int) -> np.ndarray:
        cameras.look(robot.data.qpos)
        images = {"observation.images.top": cameras.picture("top")}
        return policy.infer(
            Observation(robot.positions(), images, TASK),
            Guidance.of(settings, request.prev, request.weights),
            num_steps=settings.num_steps or None,
            seed=noise + seq,
        ).actions

    robot.reset()
    loop = InferenceLoop(policy.spec.horizon, DelayEstimator(10, delay), settings)
    period_ns, pose = round(PERIOD_S * 1e9), robot.positions()
    run = VirtualRun(_controller(), loop, infer, lambda _: delay, period_ns, JOINT_NAMES, pose)
    passed_at = None
    for tick in range(steps):
        command = run.tick()
        if command.target is not None:
            robot.command(command.target)
        robot.step()
        if passed_at is None and robot.task_state().done:
            passed_at = (tick + 1) * PERIOD_S
    return judge(run.log()), passed_at


def _controller() -> Controller:
    """Return the controller as config/sim.yaml sets it up."""
    text = Path(config_file("sim.yaml")).read_text(encoding="utf-8")
    p = yaml.safe_load(text)["/**/rtc_controller"]["ros__parameters"]
    limits = JointLimits.from_velocity(
        p["position_lower"], p["position_upper"], p["max_velocity"], PERIOD_S
    )
    return Controller(len(p["position_lower"]), limits, round(p["soft_start"] / PERIOD_S))


def _spread(values: Sequence[float | None]) -> tuple[float, float, float]:
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return (np.nan, np.nan, np.nan)
    return (float(np.median(known)), float(np.percentile(known, 95)), float(known.max()))


def markdown(results: Sequence[Result], varied: Sequence[str]) -> str:
    """Return a table, a line for each result, with the settings that were varied."""
    head = [*varied, "passed", "95 %", "time [s]", "starved", "seam [rad]: median, p95, max",
            "seam [ordinary steps]: median, p95, max"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in results:
        low, high = (100 * x for x in r.interval)
        cells = [str(r.settings[name]) for name in varied]
        cells += [
            f"{r.passed}/{r.episodes}",
            f"{low:.0f}–{high:.0f} %",
            "–" if r.done_s is None else f"{r.done_s:.1f}",
            str(r.starved),
            ", ".join(f"{x:.3f}" for x in r.seam_rad),
            ", ".join(f"{x:.2f}" for x in r.seam_ratio),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_LISTS: tuple[tuple[str, Callable[[str], Any], list[Any]], ...] = (
    ("strategy", str, ["rtc"]),
    ("delay", int, [12]),
    ("s_min", int, [15]),
    ("beta", float, [10.0]),
    ("sigma_d", float, [0.4]),
    ("schedule", str, ["linear"]),
    ("jacobian", str, ["vjp"]),
    ("num_steps", int, [0]),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print a table; 0, or 2 where an option can't be used."""
    parser = argparse.ArgumentParser(prog="rtc_ros sim eval", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="package:aloha_cube")
    for name, kind, default in _LISTS:
        parser.add_argument(f"--{name.replace('_', '-')}", nargs="+", type=kind, default=default)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=9000, help="of the cubes' places")
    parser.add_argument("--cube-speed", type=float, default=0.0, help="m/s")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    options = parser.parse_args(argv)

    from rtc_ros.policy.shipped import checkpoint_path
    from rtc_ros.policy.smolvla import SmolVLAAdapter

    console = Console(stderr=True)
    try:
        policy = SmolVLAAdapter.load(checkpoint_path(options.checkpoint), torch_threads=1)
    except (OSError, ValueError) as error:
        print(f"sim eval: {error}", file=sys.stderr)
        return 2
    lists = {name: getattr(options, name) for name, _, _ in _LISTS}
    combinations = [dict(zip(lists, v, strict=True)) for v in itertools.product(*lists.values())]
    for values in combinations:
        delay = values["delay"]
        settings = RtcSettings(**{k: v for k, v in values.items() if k != "delay"})
        problems = settings.problems(policy.spec.horizon, delay)
        if problems:
            print(f"sim eval: {'; '.join(problems)}", file=sys.stderr)
            return 2
    results = []
    for number, values in enumerate(combinations, 1):
        delay = values.pop("delay")
        with console.status(f"{number} of {len(combinations)}: d = {delay}, {values}"):
            results.append(
                evaluate(policy, RtcSettings(**values), delay, episodes=options.episodes,
                         seed=options.seed, cube_speed=options.cube_speed)
            )  # fmt: skip
    varied = [name for name, values in lists.items() if len(values) > 1] or ["strategy", "delay"]
    print(markdown(results, varied), end="")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
