"""One point of `rtc_ros bench robot`: episodes of the simulated robot through the real nodes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bench.robot_figures import PERIOD_S, Measured, Point, figures
from rtc_ros.bringup import NodeToRun, nodes_to_run
from rtc_ros.core.continuity import judge
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient

NAMESPACE = "rtc_ros_bench_robot"
"""Nobody else's robot: what is commanded here stays here."""

LOADING_S = 180.0
WARM_UP_S = 3.0
_INFERENCE = f"{NAMESPACE}/rtc_inference: inference"
_SERVICE_S = 10.0
_RECORDED = tuple(
    f"rtc_{t}" for t in ("controller/executed", "controller/swap", "inference/chunk")
)


def measure(
    point: Point,
    *,
    checkpoint: str,
    episodes: int,
    seconds: float,
    seed: int,
    folder: Path,
    warm_up: bool = True,
    on_episode: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Start the nodes, run the episodes, judge the recording; ``folder`` gets bag and logs.

    Every point has the same cubes and the same noise from its beginning on. One episode before,
    not counted, fills Q and tells how long an inference takes.

    Raises:
        RobotError: a node refused the settings or ended; the message says which and why.
    """
    begun, logs, bag = time.monotonic(), folder / "logs", folder / "bag"
    *nodes, recorder = nodes_of(point, checkpoint, seed, bag)
    with own_handoff(), Processes(logs) as processes:
        processes.start(nodes)
        with RobotClient(processes.check, NAMESPACE) as robot:
            robot.until(robot.ready, "the nodes", LOADING_S)
            own = [_warm_up(robot, point)] if warm_up else []
            heard = {t: robot.subscribers(t) for t in _RECORDED}
            processes.start([recorder])
            robot.until(
                lambda: all(robot.subscribers(t) > n for t, n in heard.items()),
                "the recorder",
                30.0,
            )
            ends: list[tuple[bool, float]] = []
            for number in range(episodes):
                ends.append(_episode(robot, seconds))
                own.append(_own_ms(robot))
                on_episode(number + 1)
        processes.finish()
    run = read_run(bag)
    return figures(point, ends, run, judge(run), statistics.median(own), time.monotonic() - begun)


def nodes_of(point: Point, checkpoint: str, seed: int, bag: Path) -> list[NodeToRun]:
    """Return the processes, the recorder last: config/sim.yaml, a cube when asked for.

    Faster than real time the driver's clock is everybody's (``use_sim_time``): states and images
    come as often per simulated second as they would.
    """
    arguments = {
        "namespace": NAMESPACE,
        "policy_path": checkpoint,
        "strategy": point.strategy,
        "inject_latency_ms": repr(point.latency_ms / point.factor),
        "start_when_ready": "false",
        "seed": str(seed),
        "record": str(bag),
        "record_with": "rtc_recorder",
    }
    more: dict[str, dict[str, Any]] = {
        "rtc_sim": {"cameras": ["top"], "new_cube_after_s": 0.0},
        "rtc_inference": {"seed": seed, "initial_delay": _first_forecast(point.latency_ms)},
        "rtc_recorder": {"topics": [*_RECORDED, "rtc_inference/settings"]},
    }
    if point.factor != 1.0:
        arguments["use_sim_time"] = "true"
        more["rtc_sim"] |= {
            "publish_clock": True,
            "realtime_factor": point.factor,
            "state_rate_hz": 100.0 * point.factor,
            "camera.top.rate_hz": 20.0 * point.factor,
        }
    return [
        replace(node, parameters={**node.parameters, **more.get(node.executable, {})})
        for node in nodes_to_run(arguments, simulated=True)
    ]


def _first_forecast(latency_ms: float) -> int:
    """Return the first d: Q learns the rest in the warm-up.

    The node's own guess is a single inference while everything starts up, on a busy machine slow
    enough to refuse the strategy.
    """
    return math.ceil(latency_ms * 1e-3 / PERIOD_S) + 5


def _warm_up(robot: RobotClient, point: Point) -> float:
    """Run an episode that isn't counted, then set the latency to inject; return ``_own_ms``.

    The inference's own time T passes ``factor`` times as fast as well, which is more than it
    would be on the robot. What is injected makes up for it, as far as there is something to take
    off: an inference is to take latency + T simulated, so (latency + T) / factor really.
    """
    _episode(robot, WARM_UP_S)
    own = _own_ms(robot)
    inject = max(0.0, (point.latency_ms + own) / point.factor - own)
    robot.set_parameters("rtc_inference", {"inject_latency_ms": inject})
    return own


def _own_ms(robot: RobotClient) -> float:
    """Return how long the policy took for the last chunk that it told of [ms, real time]."""
    said = robot.said(_INFERENCE)
    parts = ("preprocess", "prefix", "denoise", "postprocess", "candidates")
    return sum(float(said.get(f"{part} [ms]", 0.0)) for part in parts)


def _episode(robot: RobotClient, seconds: float) -> tuple[bool, float]:
    """Lay a new cube, open the gate; return whether it was passed, and after how long [s]."""
    robot.task.clear()
    robot.trigger("rtc_sim/reset")
    robot.until(lambda: robot.task, "the robot's state", _SERVICE_S)
    robot.start_motion()
    begun, passes = float(robot.task["simulated_s"]), int(robot.task["passes"])
    while (now := float(robot.task["simulated_s"]) - begun) < seconds:
        if int(robot.task["passes"]) > passes:
            break
        robot.spin(0.01)
    robot.trigger("rtc_controller/stop")
    return int(robot.task["passes"]) > passes, min(now, seconds)
