"""`rtc_ros demo`: the main job in simulation, with RTC and without, and what to think of it.

Starts the simulated robot, the inference node and the controller, as processes of their own,
and lets a policy move the arms for a while with each strategy, all at the same injected latency.
``rtc_trained`` has the shipped policy that was trained for it: the inference node is started anew
for its turn. Whenever the cube was passed the task sentence changes, and the policy puts it back;
then it passes it again. Leaves a folder: for each strategy a bag, its continuity report (JSON,
PNG) and a film, and one picture of all.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rtc_ros.bags.reader import BagError
from rtc_ros.bringup import NodeToRun, launch_arguments, nodes_to_run
from rtc_ros.command_line import SECONDS, real
from rtc_ros.core.set_points import ratio
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.paths import a_path, path_text
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient, RobotError
from rtc_ros.running.two_machines import NAMES, ON, two_machines
from rtc_ros.sim.tasks import Turns
from rtc_ros.tools.demo_report import Phase, write_reports

FILM_TOPIC = "camera/film/image_raw"
RECORDED = ("rtc_controller/executed", "rtc_inference/chunk", FILM_TOPIC)
"""Topics of which nothing may be missing in a recording."""
NAMESPACE = "rtc_demo"
"""Nobody else's robot: what is commanded here stays here."""
PERIOD_S = 0.02
"""Δt of config/sim.yaml."""
TRAINED_POLICY = "package:aloha_cube_prefix"
_LOADING_S = 120.0
_NEW_CUBE_AFTER_S = 8.0
"""Longer than it takes to put a cube back; a cube that got lost is replaced, too."""
_AWAY_S, _LOSS = 0.03, 0.01
"""With ``--remote``: the delay of each way, and the share of packets that is lost."""
_FAILED = 1
_UNUSABLE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0: the first strategy passes cubes, smoothly, 1: it doesn't, 2: can't run."""
    options = _parser().parse_args(argv)
    # Where there is no terminal, nothing wraps at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        ratio(options.command_rate, PERIOD_S)
    except ValueError as error:
        print(f"demo: {error}", file=sys.stderr)
        return _UNUSABLE
    out = options.out or Path(f"rtc_demo_{datetime.now():%Y%m%d_%H%M%S}")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        print(f"demo: {out} is there already; give another --out", file=sys.stderr)
        return _UNUSABLE
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        phases, failed = _run(options, out, console)
        passed = write_reports(phases, options.latency_ms, console)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"demo: interrupted; what was recorded is in {out}", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT
    except (RobotError, BagError, OSError) as error:
        print(f"demo: {error}\nThe nodes' logs are in {out / 'logs'}.", file=sys.stderr)
        return _UNUSABLE
    console.print(f"{time.monotonic() - begun:.0f} s in all. Look at:")
    for path in sorted(out.glob("*.png")) + sorted(out.glob("*.mp4")):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print(f"  rtc_ros continuity {phases[0].bag}", highlight=False, soft_wrap=True)
    for strategy, why in failed.items():
        print(f"demo: {strategy} had no turn: {why}", file=sys.stderr)
    return _UNUSABLE if failed else 0 if passed else _FAILED


def _run(
    options: argparse.Namespace, out: Path, console: Console
) -> tuple[list[Phase], dict[str, str]]:
    """Start the nodes, let each strategy have its turn, end the nodes.

    Returns the turns, and why a strategy after the first one had none.
    """
    launch = {
        "namespace": NAMESPACE,
        "start_when_ready": "false",
        "seed": str(options.seed),
        "new_cube_after_s": str(_NEW_CUBE_AFTER_S),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_handoff())
        on = stack.enter_context(_machines(console)) if options.remote else None
        processes = stack.enter_context(Processes(out / "logs"))

        def start(machine: str, policy: str, *executables: str) -> None:
            """Start the nodes of a machine ("": of all), or those of them that are named."""
            there = launch_arguments(simulated=True, machine=machine)
            values = {a.name: launch[a.name] for a in there if a.name in launch}
            values |= {a.name: policy for a in there if a.name == "policy_path" and policy}
            nodes = nodes_to_run(values, simulated=True, machine=machine)
            nodes = [n for n in nodes if n.executable in executables or not executables]
            with on(machine) if on else contextlib.nullcontext():
                processes.start(at_command_rate(nodes, options.command_rate))

        policies = [_policy(strategy, options.policy) for strategy in options.strategies]
        for machine in NAMES if on else ("",):
            start(machine, policies[0])
        if on:
            stack.enter_context(on("robot"))
        phases: list[Phase] = []
        failed: dict[str, str] = {}
        with RobotClient(processes.check, NAMESPACE) as robot:
            loaded = policies[0]
            for strategy, policy in zip(options.strategies, policies, strict=True):
                try:
                    with console.status("starting the simulated robot, loading the policy"):
                        if policy != loaded:
                            processes.finish("rtc_inference")
                            robot.settings, loaded = {}, policy
                            start("gpu" if on else "", policy, "rtc_inference")
                        robot.until(robot.ready, "the nodes", _LOADING_S)
                    phases.append(_phase(robot, processes, strategy, options, out, console))
                except RobotError as error:
                    if not phases:
                        raise
                    failed[strategy] = str(error)  # what was recorded is judged all the same
                    with contextlib.suppress(RobotError):
                        robot.trigger("rtc_controller/stop")
                    with contextlib.suppress(KeyError):  # it may not have got that far
                        processes.stop("rtc_recorder")
        with contextlib.suppress(*[RobotError] if failed else []):
            processes.finish()
    return phases, failed


def _policy(strategy: str, asked: str | None) -> str:
    """Return the checkpoint that a strategy's turn is with; "" is config/sim.yaml's."""
    return asked or (TRAINED_POLICY if strategy == "rtc_trained" else "")


def at_command_rate(nodes: Sequence[NodeToRun], rate_hz: float) -> list[NodeToRun]:
    """Return the ``nodes`` with set points at this rate, and a robot that takes each; 0: rows."""
    if not rate_hz:
        return list(nodes)
    more = {"rtc_controller": {"command_rate": rate_hz}, "rtc_sim": {"step_rate_hz": rate_hz}}
    return [
        replace(node, parameters={**node.parameters, **more.get(node.executable, {})})
        for node in nodes
    ]


@contextlib.contextmanager
def _machines(console: Console) -> Iterator[ON]:
    """Yield what puts a block onto a machine: the inference is on another than the robot."""
    with two_machines(delay_s=_AWAY_S, loss=_LOSS) as (on, how, network):
        console.print(f"the robot and the inference are {how}", highlight=False)
        if network is not None:
            console.print(f"between them: +{_AWAY_S * 1e3:g} ms each way, {_LOSS:.0%} lost")
        yield on


def _phase(
    robot: RobotClient,
    processes: Processes,
    strategy: str,
    options: argparse.Namespace,
    out: Path,
    console: Console,
) -> Phase:
    """Let the arms move from their start pose for a while, and record it."""
    robot.trigger("rtc_sim/reset")
    turns = Turns()
    settings = {"strategy": strategy, "inject_latency_ms": options.latency_ms}
    robot.set_parameters("rtc_inference", {**settings, "task": turns.sentence})
    parameters = {
        "output": str(out / strategy),
        "camera_topics": [FILM_TOPIC],
        "record_with": "rtc_recorder",  # the same everywhere
    }
    already = {topic: robot.subscribers(topic) for topic in RECORDED}
    processes.start([NodeToRun("rtc_recorder", NAMESPACE, parameters=parameters)])
    robot.until(
        lambda: all(robot.subscribers(t) > n for t, n in already.items()), "the recorder", 30.0
    )
    before = _cubes(robot)
    robot.start_motion()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[now]}"), console=console) as progress:
        bar = progress.add_task(f"{strategy:12}", total=options.seconds, now="")
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < options.seconds:
            progress.update(bar, completed=elapsed, now=_now(robot, before))
            robot.spin(0.2)
            if turns.hear(robot.task):
                robot.set_parameters("rtc_inference", {"task": turns.sentence})
        progress.update(bar, completed=options.seconds, now=_now(robot, before))
    robot.trigger("rtc_controller/stop")
    robot.spin(0.3)
    processes.finish("rtc_recorder")
    passes, put_backs = _cubes(robot, before)
    return Phase(strategy, out, options.seconds, passes, put_backs)


def _cubes(robot: RobotClient, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Return how often a cube was passed and put back since ``before``."""
    return int(robot.task["passes"]) - before[0], int(robot.task["put_backs"]) - before[1]


def _now(robot: RobotClient, before: tuple[int, int]) -> str:
    """Say what the robot is doing, in a few words."""
    motion = robot.said("rtc_controller: motion")
    delay = robot.said("rtc_inference: delay")
    passes, put_backs = _cubes(robot, before)
    return (
        f"{motion.get('mode', '…').lower()}, chunk {motion.get('chunk', '–')}, "
        f"d {motion.get('last observed delay [steps]', '–')}, s {delay.get('s', '–')}, "
        f"passed {passes}, put back {put_backs}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtc_ros demo",
        description="Let a small SmolVLA pass a cube between two simulated arms over ROS 2, with "
        "Real-Time Chunking (guided, and by a policy trained for it) and with naive switching; "
        "record and judge all.",
    )
    add = parser.add_argument
    add("--out", type=a_path, metavar="DIR", help="new folder (default rtc_demo_<date>_<time>)")
    add("--seconds", type=SECONDS, default=40.0, help="of motion per strategy (%(default)g)")
    add(
        "--latency-ms",
        type=real(),
        default=200.0,
        help="latency injected into each inference (%(default)g)",
    )
    add(
        "--strategies",
        nargs="+",
        choices=tuple(STRATEGIES),
        default=["rtc", "rtc_trained", "naive_async"],
        metavar="NAME",
        help=f"of {', '.join(STRATEGIES)} (default: rtc rtc_trained naive_async); the first one "
        "is judged",
    )
    add(
        "--policy",
        type=path_text,
        metavar="CHECKPOINT",
        help=f"for all (default: config/sim.yaml's, and {TRAINED_POLICY} for rtc_trained)",
    )
    add(
        "--remote",
        action="store_true",
        help="the inference on another machine (a network namespace), 30 ms away, 1 %% lost",
    )
    add(
        "--command-rate",
        type=float,
        default=0.0,
        metavar="HZ",
        help="set points between the rows, so many a second; 250 for instance (default: none)",
    )
    add("--seed", type=int, default=0, help="of the cubes' places (%(default)d)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
