"""One point of `rtc_ros bench robot`: episodes of the simulated robot through the real nodes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bringup import NodeToRun, nodes_to_run
from rtc_ros.core.continuity import ContinuityReport, RunLog, judge
from rtc_ros.core.proportion import wilson
from rtc_ros.tools.processes import Processes, explain, own_handoff
from rtc_ros.tools.robot_client import RobotClient, RobotError

NAMESPACE = "rtc_ros_bench_robot"
"""Nobody else's robot: what is commanded here stays here."""

LOADING_S = 180.0
WARM_UP_S = 3.0
PERIOD_S = 0.02
"""Δt in config/sim.yaml."""

SOFT_START_STEPS = 25
"""Of config/sim.yaml: until then the limits are meant to act."""

_INFERENCE = f"{NAMESPACE}/rtc_inference: inference"
_GRIPPER = "gripper"
_SERVICE_S = 10.0
_RECORDED = tuple(
    f"rtc_{t}" for t in ("controller/executed", "controller/swap", "inference/chunk")
)


@dataclass(frozen=True)
class Point:
    """A strategy at an injected latency [simulated ms], ``factor`` times as fast as real time."""

    strategy: str
    latency_ms: float
    factor: float = 1.0

    @property
    def key(self) -> str:
        """What this point is, in one line: where it is found again in the results."""
        return f"{self.strategy} +{self.latency_ms:g} ms x{self.factor:g}"


@dataclass(frozen=True)
class Measured:
    """One point's figures; times in simulated s and ms, angles in rad.

    ``done`` of ``episodes`` with Wilson's 95 % interval; ``per_minute`` is done over the episodes'
    time, to the end of each; ``time_s`` the median time to it (None: never). ``delay`` [steps] and
    ``latency_ms_seen`` are medians of what was observed, ``own_ms`` is the inference itself in
    real time. ``jump``, ``excess`` (in ordinary steps) and ``acceleration`` [rad/s²] are of the
    seams: median, p95 and largest; ``ordinary_acceleration`` the p95 elsewhere. ``stops`` counts
    the times the controller's limits began to act on an arm after the soft start,
    ``stopped_episodes`` the episodes with one; ``gripper_limits`` the same of the grippers, which
    the policy closes faster than they may go. ``ticks_kept`` is the share of the control ticks
    that there was time for: less than 1 means that the machine didn't keep up and the arms paused.
    """

    key: str
    strategy: str
    latency_ms: float
    factor: float
    episodes: int
    done: int
    low: float
    high: float
    per_minute: float
    time_s: float | None
    simulated_s: float
    delay: float | None
    delay_max: int | None
    latency_ms_seen: float | None
    own_ms: float
    seams: int
    jump: tuple[float, float, float] | None
    excess: tuple[float, float, float] | None
    acceleration: tuple[float, float, float] | None
    ordinary_acceleration: float | None
    stops: int
    stopped_episodes: int
    gripper_limits: int
    starved_ticks: int
    misplaced_steps: int
    ticks_kept: float
    load: float
    wall_s: float


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

        def check() -> None:
            for name, code in processes.ended().items():
                raise RobotError(explain(name, code, logs))

        processes.start(nodes)
        with RobotClient(check, NAMESPACE) as robot:
            robot.until(lambda: _ready(robot), "the nodes", LOADING_S)
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
        failed = {name: code for name, code in processes.stop().items() if code}
    if failed:
        raise RobotError("; ".join(explain(n, c, logs) for n, c in failed.items()))
    run = read_run(bag)
    return _figures(point, ends, run, judge(run), statistics.median(own), time.monotonic() - begun)


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
        "rtc_inference": {"seed": seed},
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


def _ready(robot: RobotClient) -> bool:
    """Tell whether policy and robot are there; raise where the policy never will be."""
    state = robot.said(_INFERENCE).get("message", "")
    if state.startswith("can't"):
        raise RobotError(f"rtc_inference {state}")
    return "horizon" in robot.settings and bool(robot.task)


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
    begun, passes = float(robot.task["simulated_s"]), int(robot.task["passes"])
    robot.trigger("rtc_controller/start")
    while (now := float(robot.task["simulated_s"]) - begun) < seconds:
        if int(robot.task["passes"]) > passes:
            break
        robot.spin(0.01)
    robot.trigger("rtc_controller/stop")
    return int(robot.task["passes"]) > passes, min(now, seconds)


def limit_events(
    run: RunLog, joints: Sequence[str], after_step: int = SOFT_START_STEPS
) -> dict[int, int]:
    """Return, by run of the step count, how often the limits began to act on one of ``joints``.

    A driver with these limits would have stopped there. Ticks in a row are one event; steps
    before ``after_step`` are the soft start's.
    """
    log, origin = run.commands, run.commands.provenance
    assert origin is not None and log.wanted is not None
    columns = [log.joints.index(j) for j in joints]
    cut = (log.command != log.wanted)[:, columns].any(axis=1)
    acts = cut & (origin.row >= 0) & (origin.step >= after_step)
    same = np.concatenate([[False], origin.step_epoch[1:] == origin.step_epoch[:-1]])
    begins = acts & ~(same & np.concatenate([[False], acts[:-1]]))
    return {
        int(e): int(begins[origin.step_epoch == e].sum()) for e in np.unique(origin.step_epoch)
    }


def ticks_kept(run: RunLog) -> float:
    """Return the ticks in ``run`` over the control periods that passed in its sections."""
    log, origin = run.commands, run.commands.provenance
    assert origin is not None
    epochs = np.unique(origin.step_epoch)
    spans = [np.ptp(log.stamp_ns[origin.step_epoch == e]) * 1e-9 / PERIOD_S + 1 for e in epochs]
    return len(log) / sum(spans)


def _figures(
    point: Point,
    ends: list[tuple[bool, float]],
    run: RunLog,
    report: ContinuityReport,
    own_ms: float,
    wall_s: float,
) -> Measured:
    times = [seconds for passed, seconds in ends if passed]
    total, done = sum(seconds for _, seconds in ends), len(times)
    delays = [s.delay_observed for s in report.seams]
    latencies = [(c.end_ns - c.start_ns) * 1e-6 * point.factor for c in run.chunks or ()]
    grippers = [j for j in run.commands.joints if j.endswith(_GRIPPER)]
    events = limit_events(run, [j for j in run.commands.joints if j not in grippers])

    def spread(of: Any) -> tuple[float, float, float] | None:
        return None if of is None else (of.median, of.p95, of.max)

    ordinary = report.ordinary_acceleration
    return Measured(
        point.key,
        point.strategy,
        point.latency_ms,
        point.factor,
        len(ends),
        done,
        *wilson(done, len(ends)),
        60.0 * done / total,
        statistics.median(times) if times else None,
        total,
        statistics.median(delays) if delays else None,
        max(delays, default=None),
        statistics.median(latencies) if latencies else None,
        own_ms,
        report.seam_count,
        spread(report.seam_jump),
        spread(report.seam_excess_ratio),
        spread(report.seam_acceleration),
        None if ordinary is None else ordinary.p95,
        sum(events.values()),
        sum(n > 0 for n in events.values()),
        sum(limit_events(run, grippers).values()),
        report.starved_ticks,
        report.misplaced_steps,
        ticks_kept(run),
        os.getloadavg()[0],
        wall_s,
    )
