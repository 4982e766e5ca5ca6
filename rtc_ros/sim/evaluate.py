"""`rtc_ros sim eval`: the policy, the controller and RTC in simulation.

Without ROS the inference loop and the controller of the nodes run on a virtual clock, with a given
delay, as fast as the machine can. With ``--nodes`` the driver and both nodes run as processes, in
real time; the delay is then what this machine gives. Lists of settings are combined, with the
same cubes for each and, without ROS, the same noise. With ``--results`` lines are kept in a folder
as they come: what is there isn't measured again, and the table is of all that is there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from rtc_ros.bench.results import Results
from rtc_ros.bringup import config_file
from rtc_ros.command_line import COUNT, real, whole
from rtc_ros.core.continuity import judge
from rtc_ros.core.continuity.run_logger import RunLogger
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import JACOBIANS, RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.parameter_files import read_sections, sections
from rtc_ros.paths import a_path, path_text
from rtc_ros.policy.checkpoint_files import WEIGHTS
from rtc_ros.policy.protocol import Guidance, Observation, Policy
from rtc_ros.policy.row_filter import row_filter
from rtc_ros.running.processes import RobotError
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
    until_done: bool = False,
) -> Result:
    """Run ``episodes`` episodes of ``steps`` control periods with d = ``delay`` ticks.

    With ``until_done`` an episode ends when the cube is passed.
    """
    from rtc_ros.sim.cameras import Cameras, choose_gl

    choose_gl()
    from rtc_ros.sim.demonstrations import POLICY_IMAGE
    from rtc_ros.sim.robot import JOINT_NAMES, AlohaCube

    robot = AlohaCube(seed=seed, cube_speed=cube_speed)
    done_at: list[float | None] = []
    # One recording of all, as the nodes' is: its figures are over all episodes.
    logger = RunLogger(JOINT_NAMES)
    with Cameras(robot.model, {"top": POLICY_IMAGE}) as cameras:
        for episode in range(episodes):
            robot.reset()  # a new cube
            noise, epoch = 1_000_000 * (seed + episode), episode + 1
            run = begin_episode(policy, settings, delay, robot, cameras, noise, logger, epoch)
            done_at.append(play(run, robot, steps, until_done))
    log = logger.log()
    return summarise({"delay": delay, **asdict(settings)}, log, judge(log), done_at)


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

    run, done_at = run_episodes(
        checkpoint, settings, folder, episodes=episodes, cube_speed=cube_speed, **options
    )
    report = judge(run)
    delays = [s.delay_observed for s in report.seams if s.delay_observed is not None]
    delay = round(float(np.median(delays))) if delays else None
    return summarise({"delay": delay, **asdict(settings)}, run, report, done_at)


def begin_episode(
    policy: Policy,
    settings: RtcSettings,
    delay: int,
    robot: Any,
    cameras: Any,
    noise: int,
    logger: RunLogger,
    epoch: int,
) -> VirtualRun:
    """Return the run of an episode that begins with arms and cube as they are."""
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

    spec = policy.spec
    loop = InferenceLoop(
        spec.horizon,
        DelayEstimator(10, delay),
        settings,
        trained_delay=spec.trained_delay,
        row_filter=row_filter(PERIOD_S),
    )
    period_ns, pose = round(PERIOD_S * 1e9), robot.positions()
    return VirtualRun(
        controller(),
        loop,
        infer,
        lambda _: delay,
        period_ns,
        JOINT_NAMES,
        pose,
        epoch=epoch,
        logger=logger,
    )


def play(run: VirtualRun, robot: Any, steps: int, until_done: bool) -> float | None:
    """Move the robot; return when the cube was passed [s], None where it wasn't."""
    passed_at = None
    for tick in range(steps):
        command = run.tick()
        if command.target is not None:
            robot.command(command.target)
        robot.step()
        if passed_at is None and robot.task_state().done:
            passed_at = (tick + 1) * PERIOD_S
            if until_done:
                break
    return passed_at


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
    ("ensemble_decay", float, [0.0]),
)
_QUICK_STEPS = 75


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print a table; 0, or 2 where an option can't be used or a node fails."""
    options = _options(argv)
    # With the nodes the delay is what the machine gives, and the latency on top of it.
    timing = "inject_latency_ms" if options.nodes else "delay"
    lists = {
        "cube_speed": options.cube_speed,
        timing: options.latency_ms if options.nodes else options.delay,
        **{name: getattr(options, name) for name, _, _ in _LISTS},
    }
    combinations = [dict(zip(lists, v, strict=True)) for v in itertools.product(*lists.values())]

    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path
    try:
        checkpoint = checkpoint_path(options.checkpoint)
        policy = FlowAdapter.load(checkpoint, torch_threads=1)
        for values in combinations:
            settings, spec = _settings(values), policy.spec
            delay = values.get("delay", 0)
            problems = settings.problems(spec.horizon, delay, trained_delay=spec.trained_delay)
            problems = problems or list(filter(None, [spec.cannot(settings.strategy)]))
            if problems:
                raise ValueError("; ".join(problems))
        if options.json is not None:
            options.json.open("ab").close()  # not only found out when all is measured
        failed: dict[str, str] = {}
        with contextlib.ExitStack() as stack:
            kept = None
            if options.results is not None:
                kept = stack.enter_context(Results(options.results, _conditions(options)))
                # What wasn't a setting yet had its default.
                kept.rows = {_key(_values(row, kept.path)): row for row in kept.rows.values()}
                # Not only found out when all is measured.
                _ordered([_result(row, kept.path) for row in kept.rows.values()])
            results = list(_results(policy, checkpoint, combinations, kept, failed, options))
        if kept is not None:
            results = [_result(row, kept.path) for row in kept.rows.values()]
        if results:
            print(markdown(*_ordered(results)), end="")
        if options.json:
            options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    except (OSError, ValueError) as error:
        print(f"sim eval: {error}", file=sys.stderr)
        return 2
    for line, why in failed.items():
        print(f"sim eval: {line}: {why}", file=sys.stderr)
    return 2 if failed else 0


def _key(values: Mapping[str, Any]) -> str:
    """Name a line by the weights and all its settings."""
    return json.dumps({**{name: default[0] for name, _, default in _LISTS}, **values})


def _values(row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(row["key"]).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds a line that isn't from this command") from error


def _result(row: Mapping[str, Any], path: Path) -> Result:
    """Return a kept line; ValueError where it is something else."""
    try:
        result = Result(**row["result"])
        markdown(*_ordered([result]))
        for name in ("delay", "cube_speed", "inject_latency_ms"):  # what lines are ordered by
            if not isinstance(value := result.settings.get(name) or 0, int | float):
                raise ValueError(f"{name} is {value!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a line that isn't from this command: {error}") from error
    return result


def _settings(values: Mapping[str, Any]) -> RtcSettings:
    return RtcSettings(**{k: v for k, v in values.items() if k not in ("delay", "cube_speed")})


def _conditions(options: argparse.Namespace) -> dict[str, object]:
    """Return what lines in one folder have in common: the cubes, and how they are met."""
    names = ("seed", "episodes", "steps", "until_done", "nodes", "quick")
    return {name: getattr(options, name) for name in names}


def _ordered(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """Return the results and what varies in them: slow cubes, least delays and rtc first."""
    names = ("cube_speed", "inject_latency_ms", "delay", "checkpoint", *(n for n, _, _ in _LISTS))
    varied = [n for n in names if len({r.settings.get(n) for r in results}) > 1]
    order = [n for n in names[:3] if n in varied]
    # With the nodes the delay is an observation.
    results = sorted(
        results,
        key=lambda r: (
            *(r.settings.get(n) or 0 for n in order),
            list(STRATEGIES).index(r.settings["strategy"]),
            JACOBIANS.index(r.settings["jacobian"]),
        ),
    )
    return results, varied or ["strategy", "delay"]


def _results(
    policy: Policy,
    checkpoint: Path,
    combinations: Sequence[dict[str, Any]],
    kept: Results | None,
    failed: dict[str, str],
    options: Any,
) -> Iterator[Result]:
    """Evaluate each combination that isn't in ``kept`` yet; ``failed`` gets why one can't be."""
    same = {"episodes": options.episodes, "seed": options.seed}
    weights = hashlib.sha256((checkpoint / WEIGHTS).read_bytes()).hexdigest()[:8]
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(Console(stderr=True).status(""))
        out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, values in enumerate(combinations, 1):
            key = _key({"weights": weights, **values})
            if kept is not None and key in kept.rows:
                continue
            what = ", ".join(f"{k} {v}" for k, v in values.items())
            status.update(f"{number} of {len(combinations)}: {what}")
            steps = options.steps
            settings, speed = _settings(values), values["cube_speed"]
            if options.nodes:
                folder = out / str(number)
                seconds = steps * PERIOD_S
                try:
                    found = evaluate_nodes(
                        checkpoint,
                        settings,
                        folder,
                        cube_speed=speed,
                        seconds=seconds,
                        say=status.update,
                        **same,
                    )
                except RobotError as error:
                    failed[what] = str(error)
                    continue
            else:
                found = evaluate(
                    policy,
                    settings,
                    values["delay"],
                    steps=steps,
                    cube_speed=speed,
                    until_done=options.until_done,
                    **same,
                )
            told = {"checkpoint": f"{checkpoint.name} {weights}", "cube_speed": speed}
            found = replace(found, settings={**found.settings, **told})
            if kept is not None:
                kept.keep({"key": key, "result": asdict(found)})
            yield found


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what would have no effect is refused."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.latency_ms and not options.nodes:
        parser.error("--latency-ms is for --nodes: without them --delay says d")
    if options.until_done and options.nodes:
        parser.error("--until-done is for runs without --nodes: with them an episode ends so")
    if options.out is not None and not options.nodes:
        parser.error("--out is for --nodes: without them nothing is recorded")
    if options.quick and (options.episodes or options.steps):
        parser.error("--quick is one episode of 1.5 s: it takes no --episodes and no --steps")
    options.delay = options.delay or [12]
    options.latency_ms = options.latency_ms or [0.0]
    options.episodes = options.episodes or (1 if options.quick else 20)
    options.steps = options.steps or (_QUICK_STEPS if options.quick else 350)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rtc_ros sim eval", description=__doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", type=path_text, default="package:aloha_cube")
    timing = parser.add_mutually_exclusive_group()
    timing.add_argument("--delay", nargs="+", type=whole(0), help="without --nodes (12)")
    timing.add_argument("--nodes", action="store_true", help="through both nodes, in real time")
    for name, kind, default in _LISTS:
        add(f"--{name.replace('_', '-')}", nargs="+", type=kind, default=default)
    add("--latency-ms", nargs="+", type=real(), help="injected, with --nodes (0)")
    add("--episodes", type=COUNT, help="(20)")
    add("--steps", type=COUNT, help="periods of 20 ms that an episode may take (350)")
    add("--seed", type=whole(0), default=9000, help="of the cubes' places")
    add("--cube-speed", nargs="+", type=float, default=[0.0], help="m/s")
    add("--until-done", action="store_true", help="without --nodes: end when the cube is passed")
    add("--json", type=a_path, help="write the results here, too")
    add("--results", type=a_path, help="keep lines in this folder, and go on from what is there")
    add("--out", type=a_path, help="with --nodes: keep bags and logs in this folder")
    add("--quick", action="store_true", help="one episode of 1.5 s, to see that it works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
