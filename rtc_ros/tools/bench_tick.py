"""`rtc_ros bench tick`: how late the control tick is, by deadline loop and by rclpy timer.

Each variant is the real controller node in its own process, moving nothing, beside processes
that keep every core busy; the figures are the controller's own, from /diagnostics.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from rtc_ros.bringup import NodeToRun
from rtc_ros.tools.processes import Processes

_PARAMETERS = {
    "joints": ["a", "b"],
    "position_lower": [-1.0],
    "position_upper": [1.0],
    "max_velocity": [1.0],
    "command_groups": ["all"],
    "group.all.topic": "commands",
    "group.all.type": "joint_state",
    "group.all.joints": ["a", "b"],
    "handoff_name": "rtc_ros_bench_tick",
}


def _burn() -> None:
    while True:
        sum(range(10000))


def measure(source: str, priority: int, seconds: float, folder: Path) -> dict[str, float]:
    """Run one controller for ``seconds``; return its own lateness figures [ms]."""
    parameters = {**_PARAMETERS, "tick_source": source, "realtime_priority": priority}
    node = rclpy.create_node("bench_tick")
    figures: dict[str, float] = {}

    def take(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "rtc_controller: tick":
                values = {v.key: v.value for v in status.values}
                for key in ("late p50 [ms]", "late p99 [ms]", "late max [ms]", "missed", "ticks"):
                    figures[key] = float(values[key])
                figures["fifo"] = float(values["realtime"] == "SCHED_FIFO")

    node.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
    states = node.create_publisher(JointState, "joint_states", 10)
    begin = node.create_client(Trigger, "rtc_controller/start")
    with Processes(folder) as processes:
        processes.start([NodeToRun("rtc_controller", parameters=parameters)])
        deadline = time.monotonic() + seconds
        asked = 0.0
        while time.monotonic() < deadline:
            states.publish(JointState(name=["a", "b"], position=[0.0, 0.0]))
            if begin.service_is_ready() and time.monotonic() - asked > 1.0:
                begin.call_async(Trigger.Request())
                asked = time.monotonic()
            rclpy.spin_once(node, timeout_sec=0.01)
    node.destroy_node()
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each variant in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(prog="rtc_ros bench tick", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="per variant and run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    variants = [("deadline", 0), ("timer", 0), ("deadline", 50), ("timer", 50)]
    results: dict[str, list[dict[str, float]]] = {}
    burners = [
        multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
        for _ in range(os.cpu_count() or 1)
    ]
    for burner in burners:
        burner.start()
    rclpy.init()
    try:
        with TemporaryDirectory() as folder:
            for _ in range(options.runs):
                for source, priority in variants:
                    figures = measure(source, priority, options.seconds, Path(folder))
                    results.setdefault(f"{source}, FIFO {priority}", []).append(figures)
    finally:
        rclpy.shutdown()
        for burner in burners:
            burner.kill()
    table = Table("tick source", "late p50 [ms]", "p99 [ms]", "max [ms]", "missed", "ticks")
    for name, runs in results.items():
        row = [
            f"{statistics.median(r.get(key, float('nan')) for r in runs):.3f}"
            for key in ("late p50 [ms]", "late p99 [ms]", "late max [ms]")
        ]
        row += [f"{sum(r.get(key, 0) for r in runs):.0f}" for key in ("missed", "ticks")]
        table.add_row(name, *row)
    Console().print(
        f"controller beside {len(burners)} busy processes, medians of {options.runs} runs"
    )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0
