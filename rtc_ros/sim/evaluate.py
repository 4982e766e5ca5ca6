"""`rtc_ros sim eval`: the policy, the controller and RTC in simulation.

Without ROS the inference loop and the controller of the nodes run on a virtual clock, with a given
delay, as fast as the machine can. With ``--nodes`` the driver and both nodes run as processes, in
real time; the delay is then what this machine gives. Lists of settings are combined, with the
same cubes for each and, without ROS, the same noise.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from rtc_ros.bringup import config_file
from rtc_ros.core.continuity import ContinuityReport, judge
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.parameter_files import read_sections, sections
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.protocol import Guidance, Observation, Policy
from rtc_ros.policy.row_filter import row_filter
from rtc_ros.sim.evaluation import Result, markdown, summarise

PERIOD_S = 0.02


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
    done_at: list[float | None] = []
    reports = []
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        for episode in range(episodes):
            noise = 1_000_000 * (seed + episode)
            report, passed_at = _episode(policy, settings, delay, robot, cameras, steps, noise)
            reports.append(report)
            done_at.append(passed_at)
    return summarise({"delay": delay, **asdict(settings)}, reports, done_at)


def evaluate_nodes(
    checkpoint: Path,
    settings: RtcSettings,
    folder: Path,
    *,
    episodes: int,
    cube_speed: float = 0.0,
    **options: Any,
) -> Result:
    """Run episodes through the nodes (``evaluate_nodes.run_episodes``), a bag in ``folder``.

    The ``delay`` of the result is the median of those observed.
    """
    from rtc_ros.sim.evaluate_nodes import run_episodes

    report, done_at = run_episodes(
        checkpoint, settings, folder, episodes=episodes, cube_speed=cube_speed, **options
    )
    delays = [s.delay_observed for s in report.seams if s.delay_observed is not None]
    delay = round(float(np.median(delays))) if delays else None
    return summarise({"delay": delay, **asdict(settings)}, [report], done_at)


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
    from rtc_ros.sim.robot import JOINT_NAMES
    from rtc_ros.sim.tasks import PASS

    def infer(request: InferenceRequest, seq: int) -> np.ndarray:
        cameras.look(robot.data.qpos)
        images = {"observation.images.top": cameras.picture("top")}
        return policy.infer(
            Observation(robot.positions(), images, PASS),
            Guidance.of(settings, request.prev, request.weights),
            num_steps=settings.num_steps or None,
            seed=noise + seq,
        ).actions

    robot.reset()
    spec = policy.spec
    loop = InferenceLoop(
        spec.horizon,
        DelayEstimator(10, delay),
        settings,
        trained_delay=spec.trained_delay,
        row_filter=row_filter(PERIOD_S),
    )
    period_ns, pose = round(PERIOD_S * 1e9), robot.positions()
    run = VirtualRun(controller(), loop, infer, lambda _: delay, period_ns, JOINT_NAMES, pose)
    passed_at = None
    for tick in range(steps):
        command = run.tick()
        if command.target is not None:
            robot.command(command.target)
        robot.step()
        if passed_at is None and robot.task_state().done:
            passed_at = (tick + 1) * PERIOD_S
    return judge(run.log()), passed_at


def controller() -> Controller:
    """Return the controller as config/sim.yaml sets it up."""
    p = dict(sections(read_sections(config_file("sim.yaml"))))["/**/rtc_controller"]
    limits = JointLimits.from_velocity(
        p["position_lower"], p["position_upper"], p["max_velocity"], PERIOD_S
    )
    return Controller(limits, round(p["soft_start"] / PERIOD_S))


_LISTS: tuple[tuple[str, Callable[[str], Any], list[Any]], ...] = (
    ("strategy", str, ["rtc"]),
    ("s_min", int, [15]),
    ("beta", float, [10.0]),
    ("sigma_d", float, [0.4]),
    ("schedule", str, ["linear"]),
    ("jacobian", str, ["vjp"]),
    ("num_steps", int, [0]),
)
_QUICK_STEPS = 75


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print a table; 0, or 2 where an option can't be used or a node fails."""
    options = _parser().parse_args(argv)
    lists = {name: getattr(options, name) for name, _, _ in _LISTS}
    # With the nodes the delay is what the machine gives, and the latency on top of it.
    timing = "inject_latency_ms" if options.nodes else "delay"
    lists = {timing: options.latency_ms if options.nodes else options.delay, **lists}
    combinations = [dict(zip(lists, v, strict=True)) for v in itertools.product(*lists.values())]

    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path
    from rtc_ros.running.robot_client import RobotError

    try:
        checkpoint = checkpoint_path(options.checkpoint)
        policy = FlowAdapter.load(checkpoint, torch_threads=1)
        for values in combinations:
            settings = RtcSettings(**{k: v for k, v in values.items() if k != "delay"})
            spec, delay = policy.spec, values.get("delay", 0)
            problems = settings.problems(spec.horizon, delay, trained_delay=spec.trained_delay)
            problems += filter(None, [spec.cannot(settings.strategy)])
            if problems:
                raise ValueError("; ".join(problems))
        results = list(_results(policy, checkpoint, combinations, options))
    except (OSError, ValueError, RobotError) as error:
        print(f"sim eval: {error}", file=sys.stderr)
        return 2
    varied = [name for name, values in lists.items() if len(values) > 1] or ["strategy", "delay"]
    print(markdown(results, varied), end="")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


def _results(
    policy: Policy, checkpoint: Path, combinations: Sequence[dict[str, Any]], options: Any
) -> Iterator[Result]:
    """Evaluate each combination."""
    same = {"episodes": 1 if options.quick else options.episodes, "seed": options.seed,
            "cube_speed": options.cube_speed}  # fmt: skip
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(Console(stderr=True).status(""))
        out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, values in enumerate(combinations, 1):
            what = ", ".join(f"{k} {v}" for k, v in values.items())
            status.update(f"{number} of {len(combinations)}: {what}")
            steps = _QUICK_STEPS if options.quick else options.steps
            settings = RtcSettings(**{k: v for k, v in values.items() if k != "delay"})
            if options.nodes:
                folder = out / str(number)
                seconds = steps * PERIOD_S
                yield evaluate_nodes(
                    checkpoint, settings, folder, seconds=seconds, say=status.update, **same
                )
            else:
                yield evaluate(policy, settings, values["delay"], steps=steps, **same)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rtc_ros sim eval", description=__doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", type=path_text, default="package:aloha_cube")
    timing = parser.add_mutually_exclusive_group()
    timing.add_argument("--delay", nargs="+", type=int, default=[12], help="d, without --nodes")
    timing.add_argument("--nodes", action="store_true", help="through both nodes, in real time")
    for name, kind, default in _LISTS:
        add(f"--{name.replace('_', '-')}", nargs="+", type=kind, default=default)
    add("--latency-ms", nargs="+", type=float, default=[0.0], help="injected, with --nodes")
    add("--episodes", type=int, default=20)
    add("--steps", type=int, default=350, help="control periods of 20 ms that an episode may take")
    add("--seed", type=int, default=9000, help="of the cubes' places")
    add("--cube-speed", type=float, default=0.0, help="m/s")
    add("--json", type=a_path, help="write the results here, too")
    add("--out", type=a_path, help="with --nodes: keep bags and logs in this folder")
    add("--quick", action="store_true", help="one episode of 1.5 s, to see that it works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
