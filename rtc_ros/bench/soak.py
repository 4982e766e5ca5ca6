"""`rtc_ros bench soak`: the whole system for an hour: whether memory grows or the tick drifts.

Starts the simulated robot, the inference node with the shipped policy and the controller, in a
namespace of their own, and lets the arms move. Every tick's own lateness comes from ~/executed;
the memory of each process is its resident set. Printed by windows of time, with what grows:
the memory's slope over the second half, and how many periods the ticks fell behind the clock.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sensor_msgs.msg import JointState

from rtc_ros.bringup import nodes_to_run
from rtc_ros.command_line import COUNT, SECONDS, tool
from rtc_ros.inference.memory import resident_mib
from rtc_ros.paths import a_path
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient, RobotError

_NAMESPACE = f"rtc_ros_bench_soak_{os.getpid()}"
"""Two at once, in one ROS domain, would command each other's arms."""
_PATIENCE_S = 120.0
_PERIOD_S = 0.02
_NODES = ("rtc_sim", "rtc_inference", "rtc_controller")


@dataclass(frozen=True)
class Window:
    """What was seen in a window that ended ``end_s`` after the first tick.

    ``late_ms`` are p50, p99 and the maximum of the ticks' lateness; ``lag`` is how many periods
    the clock has run ahead of the ticks since the beginning; ``memory_mib`` is at the end;
    ``held`` counts the ticks that executed no step by their reasons, whose numbers are left out.
    """

    end_s: float
    ticks: int
    executed: int
    late_ms: tuple[float, float, float]
    missed: int
    lag: float
    memory_mib: Mapping[str, float]
    load: float
    held: Mapping[str, int] = field(default_factory=dict)


class TickLog:
    """The ticks of a window, from ~/executed."""

    def __init__(self, period_s: float) -> None:
        self.executed = 0
        self.held: Counter[str] = Counter()
        self._period_s = period_s
        self._late_ms: list[float] = []
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def take(self, message: JointState) -> None:
        """Note one tick."""
        fields = dict(zip(message.name, message.position, strict=True))
        stamp = message.header.stamp
        self._last = (int(fields["rtc/tick"]), stamp.sec + stamp.nanosec * 1e-9)
        self._first = self._first or self._last
        self._late_ms.append(fields["rtc/lateness_us"] * 1e-3)
        reason = message.header.frame_id
        if reason == "execute":
            self.executed += 1
        else:
            self.held[re.sub(r"\d+(\.\d+)?", "…", reason)] += 1

    def begin(self) -> None:
        """Forget what was before."""
        self._first, self._late_ms, self.executed = None, [], 0
        self.held.clear()

    def window(self) -> tuple[int, int, tuple[float, float, float], float]:
        """Return ticks, steps, lateness [ms] and the lag since ``begin``; open the next one."""
        ticks, executed = len(self._late_ms), self.executed
        late = np.percentile(self._late_ms or [np.nan], (50, 99, 100))
        first = self._first or self._last
        counted, passed_s = (now - then for now, then in zip(self._last, first, strict=True))
        self._late_ms, self.executed = [], 0
        p50, p99, top = (float(x) for x in late)
        return ticks, executed, (p50, p99, top), passed_s / self._period_s - counted


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table; 1 if ``--check`` finds growth or drift, 2 if it can't be run."""
    parser = tool("bench soak", __doc__)
    parser.add_argument("--minutes", type=SECONDS, default=60.0, help="how long the arms move")
    parser.add_argument("--windows", type=COUNT, default=12, help="rows of the table")
    parser.add_argument("--json", type=a_path, help="write every window here")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a process's memory "
                        "grows by more than --growth,\nor the ticks fell behind")  # fmt: skip
    parser.add_argument("--growth", type=float, default=20.0, help="MiB an hour that are allowed")
    options = parser.parse_args(argv)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with own_handoff(), TemporaryDirectory() as logs:
        try:
            seen = soak(60.0 * options.minutes, options.windows, Path(logs))
        except RobotError as error:
            print(f"bench soak: {error}", file=sys.stderr)
            return 2
    if options.json:
        made = [asdict(window) for window in seen]
        options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {seen[-1].end_s / 60:.1f} minutes:", "",
          markdown(seen), "", *findings(seen), sep="\n")  # fmt: skip
    grown = max(slopes(seen).values()) > options.growth
    return int(options.check and (grown or seen[-1].lag > seen[-1].missed + 1))


def soak(seconds: float, windows: int, logs: Path) -> list[Window]:
    """Return the windows of one run; raises RobotError where a node ends or says nothing."""
    nodes = nodes_to_run({"namespace": _NAMESPACE}, simulated=True)
    with Processes(logs) as processes:
        processes.start(nodes)
        with RobotClient(processes.check, _NAMESPACE) as client:
            log = TickLog(_PERIOD_S)
            client.listen(JointState, "rtc_controller/executed", log.take)
            client.until(lambda: log.executed, "motion", _PATIENCE_S)
            log.begin()
            begun, seen = time.monotonic(), []
            for i in range(windows):
                client.spin(max(0.0, begun + seconds * (i + 1) / windows - time.monotonic()))
                missed = client.said("rtc_controller: tick").get("missed", "0")
                memory = {name: resident_mib(processes.pid(name)) for name in _NODES}
                ticks, executed, late_ms, lag = log.window()
                spent = time.monotonic() - begun
                load = os.getloadavg()[1]
                held = dict(log.held)
                log.held.clear()
                seen.append(
                    Window(spent, ticks, executed, late_ms, int(missed), lag, memory, load, held)
                )
        processes.finish()
    return seen


def slopes(seen: Sequence[Window]) -> dict[str, float]:
    """Return how fast each process's memory grew in the second half [MiB an hour]."""
    half = seen[len(seen) // 2 :] if len(seen) > 2 else seen
    hours = np.array([w.end_s / 3600 for w in half])
    if len(half) < 2:
        return dict.fromkeys(_NODES, 0.0)
    return {
        name: float(np.polyfit(hours, [w.memory_mib[name] for w in half], 1)[0]) for name in _NODES
    }


def findings(seen: Sequence[Window]) -> list[str]:
    """Return the sentences below the table."""
    grown = ", ".join(f"{name} {slope:+.1f}" for name, slope in slopes(seen).items())
    ticks, executed = (sum(getattr(w, k) for w in seen) for k in ("ticks", "executed"))
    held = sum((Counter(w.held) for w in seen), Counter[str]())
    return [
        f"Memory's slope over the second half [MiB an hour]: {grown}.",
        f"{ticks} ticks, {executed} of them executed a step; the clock ran "
        f"{seen[-1].lag:.1f} periods ahead of them, {seen[-1].missed} deadlines were missed.",
        *(f"{count} ticks: {reason}." for reason, count in held.most_common(8)),
    ]


def markdown(seen: Sequence[Window]) -> str:
    """Return a row per window."""
    lines = [
        "| minutes | ticks | executed | late p50 ms | p99 ms | max ms | missed | "
        + " | ".join(f"{name} MiB" for name in _NODES)
        + " | load |",
        "|---" * (8 + len(_NODES)) + "|",
    ]
    for w in seen:
        late = " | ".join(f"{x:.3f}" for x in w.late_ms)
        memory = " | ".join(f"{w.memory_mib[name]:.1f}" for name in _NODES)
        lines.append(
            f"| {w.end_s / 60:.0f} | {w.ticks} | {w.executed} | {late} | {w.missed} | {memory} | "
            f"{w.load:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
