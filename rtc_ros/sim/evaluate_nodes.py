"""Episodes through the real thing: driver, both nodes and the ring, as processes, in real time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bringup import NodeToRun, nodes_to_run
from rtc_ros.core.continuity import RunLog
from rtc_ros.core.settings import RtcSettings
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient
from rtc_ros.sim.evaluate import PERIOD_S

LOADING_S = 120.0
_CAMERA = "camera/top/image_raw"
NAMESPACE = "rtc_ros_sim_eval"
"""Nobody else's robot: what is commanded here stays here."""


def nodes_of(
    checkpoint: Path, settings: RtcSettings, *, seed: int, cube_speed: float, record: Path
) -> list[NodeToRun]:
    """Return the processes: `config/sim.yaml`, a cube when asked for, a namespace of its own."""
    arguments = {
        "namespace": NAMESPACE,
        "policy_path": str(checkpoint),
        "start_when_ready": "false",
        "seed": str(seed),
        "cube_speed": str(cube_speed),
        "record": str(record),
        "record_cameras": "true",
        "record_with": "rtc_recorder",
    }
    more: dict[str, dict[str, Any]] = {
        "rtc_sim": {"new_cube_after_s": 0.0, "cameras": ["top"]},
        "rtc_inference": {
            **asdict(settings), "seed": seed, "initial_delay": _first_forecast(settings)
        },  # fmt: skip
    }
    nodes = nodes_to_run(arguments, simulated=True)
    return [
        replace(node, parameters={**node.parameters, **more.get(node.executable, {})})
        for node in nodes
    ]


def run_episodes(
    checkpoint: Path,
    settings: RtcSettings,
    folder: Path,
    *,
    episodes: int,
    seed: int,
    seconds: float = 7.0,
    cube_speed: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[RunLog, list[float | None]]:
    """Run ``episodes`` episodes; return their recording and when each cube was passed [s].

    The cubes are those of ``evaluate`` in its process with the same ``seed``. ``folder`` gets the
    bag (``bag``, with the policy's camera) and the nodes' ``logs``. Raises RobotError with a
    node's last words where one fails.
    """
    logs, bag = folder / "logs", folder / "bag"
    nodes = nodes_of(checkpoint, settings, seed=seed, cube_speed=cube_speed, record=bag)
    with own_handoff(), Processes(logs) as processes:
        processes.start(nodes)
        with RobotClient(processes.check, NAMESPACE) as robot:
            say("starting the nodes")
            robot.until(lambda: _ready(robot), "the nodes", LOADING_S)
            done_at: list[float | None] = []
            for number in range(1, episodes + 1):
                say(
                    f"episode {number} of {episodes}, {sum(d is not None for d in done_at)} passed"
                )
                done_at.append(_episode(robot, seconds))
        processes.finish()
    return read_run(bag), done_at


def _first_forecast(settings: RtcSettings) -> int:
    """Return the first d [steps]; Q learns the rest.

    The node's own guess is a single inference while everything starts up, on a busy machine slow
    enough to refuse the strategy.
    """
    return math.ceil(settings.inject_latency_ms * 1e-3 / PERIOD_S) + 5


def _episode(robot: RobotClient, seconds: float) -> float | None:
    """Reset the scene, open the gate for a while; return when the cube was passed [s] or None.

    The driver tells the task's state ten times a second, so the time is that exact.
    """
    robot.task.clear()
    robot.trigger("rtc_sim/reset")
    robot.until(lambda: robot.task.get("holder") == "none", "the new cube", 5.0)
    robot.start_motion()
    begun = float(robot.task["simulated_s"])
    passes = int(robot.task["passes"])
    while (now := float(robot.task["simulated_s"]) - begun) < seconds:
        if int(robot.task["passes"]) > passes:
            break
        robot.spin(0.02)
    robot.trigger("rtc_controller/stop")
    return now if int(robot.task["passes"]) > passes else None


def _ready(robot: RobotClient) -> bool:
    """Tell whether robot, policy and recorder are there; raise where the policy never will be."""
    recorded = robot.subscribers("rtc_controller/executed") and robot.subscribers(_CAMERA) > 1
    return robot.ready() and bool(recorded)
