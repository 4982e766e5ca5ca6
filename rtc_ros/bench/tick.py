"""`rtc_ros bench tick`: how late the control tick is, by deadline loop and by rclpy timer.

The simulated robot with its cameras and the inference node run all the time, beside processes that
keep every core busy. Each variant of the real controller node gets turns between them, moves the
arms and reports its own lateness in /diagnostics: how long after a tick was due it began. `bare`
is the deadline loop in a process without ROS and without work: what the machine itself allows. The
order of the variants changes from round to round. With --command-rate the drivers are sent set
points between the rows, and how late those were is reported, too. The cost is the processor time
that the tick's thread took. All runs in a namespace of its own.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rtc_ros.bringup import NodeToRun, nodes_to_run
from rtc_ros.command_line import COUNT, real, tool, whole
from rtc_ros.controller.ticker import DeadlineTicker
from rtc_ros.core.set_points import ratio
from rtc_ros.paths import a_path
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient, RobotError

GOAL_MS = 0.5
BARE = "bare"
VARIANTS = (
    ("deadline", 50), ("timer", 50), (BARE, 50), ("deadline", 0), ("timer", 0), (BARE, 0)
)  # fmt: skip
"""Tick source, and SCHED_FIFO priority of the controller (0: none)."""

LATE = ("late p50 [ms]", "late p99 [ms]", "late max [ms]")
POINTS = tuple(f"set points {name}" for name in LATE)
COST = tuple(f"cost per {what} {p} [µs]" for what in ("tick", "set point") for p in ("p50", "p99"))
UNSENT = "set points not sent in time"

_NAMESPACE = f"rtc_ros_bench_tick_{os.getpid()}"
_PERIOD_S = 0.02
_PATIENCE_S = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table; 1 if ``--check`` finds the goal missed, 2 if it can't run."""
    parser = tool("bench tick", __doc__)
    parser.add_argument("--ticks", type=COUNT, default=750, help="per variant and turn, at 50 Hz")
    parser.add_argument("--rounds", type=COUNT, default=4, help="turns of each variant")
    parser.add_argument("--busy", type=whole(0), default=os.cpu_count() or 1,
                        help="processes that only compute (one for each core)")  # fmt: skip
    parser.add_argument("--command-rate", type=real(), default=0.0, metavar="HZ",
                        help="set points between the rows, so many a second")  # fmt: skip
    parser.add_argument("--json", type=a_path, help="write the figures of every turn here")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the deadline loop's "
                        f"p99 is above {GOAL_MS} ms\nunder SCHED_FIFO, or that of its set "
                        "points")  # fmt: skip
    options = parser.parse_args(argv)
    try:
        ratio(options.command_rate, _PERIOD_S)
    except ValueError as error:
        print(f"bench tick: {error}", file=sys.stderr)
        return 2
    # Nobody else's robot: the namespace keeps topics apart, and this keeps off the network.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with own_handoff(), TemporaryDirectory() as logs:
        try:
            turns = measure(options.rounds, options.ticks, options.busy, Path(logs),
                            options.command_rate)  # fmt: skip
        except RobotError as error:
            print(f"bench tick: {error}", file=sys.stderr)
            return 2
    if options.json:
        options.json.write_text(json.dumps(turns, indent=1) + "\n", encoding="utf-8")
    rows = summary(turns)
    print(f"{platform.machine()}, {os.cpu_count()} cores, beside the simulated robot, inference "
          f"and {options.busy} busy processes, {options.rounds} turns each:", "",
          markdown(rows), sep="\n")  # fmt: skip
    late_ms = max(rows[0]["p99"], rows[0].get("points", {}).get("p99", 0.0))
    met = rows[0]["realtime"] == "SCHED_FIFO" and late_ms <= GOAL_MS
    return int(options.check and not met)


def measure(
    rounds: int, ticks: int, busy: int, logs: Path, command_rate: float = 0.0
) -> list[dict[str, Any]]:
    """Return the figures of each turn; raises RobotError where a node ends or says nothing."""
    robot, inference, controller = nodes_to_run({"namespace": _NAMESPACE}, simulated=True)
    chance, turns = random.Random(0), []
    with _busy(busy), Processes(logs) as processes:
        processes.start([robot, inference])
        _await_policy(processes)
        for _ in range(rounds):
            for source, priority in chance.sample(VARIANTS, len(VARIANTS)):
                wanted = {"tick_source": source, "realtime_priority": priority}
                given = {**controller.parameters, **wanted, "command_rate": command_rate}
                variant = dataclasses.replace(controller, parameters=given)
                turn = (
                    _bare(priority, ticks, ratio(command_rate, _PERIOD_S))
                    if source == BARE
                    else _turn(processes, variant, ticks)
                )
                turns.append({**wanted, **turn})
    return turns


def _bare(priority: int, ticks: int, points: int) -> dict[str, Any]:
    """Return the same figures of a deadline loop that does nothing, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    used = _cpu_time()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        figures = pool.submit(_tick_idly, priority, ticks, points).result()
    return {**figures, "steps": 0, "cores busy [%]": _busy_since(used)}


def _tick_idly(priority: int, ticks: int, points: int) -> dict[str, Any]:
    ticker = DeadlineTicker(
        _PERIOD_S, lambda late_s, missed: None, priority, points=points, on_point=lambda _: True
    )
    ticker.start()
    time.sleep(_PERIOD_S * ticks)
    ticker.stop()
    late = dict(zip(LATE, ticker.lateness.percentiles_ms(), strict=True))
    costs = [total.percentiles_ms()[:2] for total in (ticker.cost, ticker.point_cost)]
    late |= zip(COST, [1e3 * ms for pair in costs for ms in pair], strict=True)
    seen: dict[str, Any] = {"ticks": ticker.lateness.count, "missed": ticker.lateness.missed}
    if points > 1:
        seen |= zip(POINTS, ticker.point_lateness.percentiles_ms(), strict=True)
        seen |= {"set points": ticker.point_lateness.count, UNSENT: 0}
    return {**late, **seen, "realtime": ticker.realtime or "SCHED_FIFO"}


def _await_policy(processes: Processes) -> None:
    name = "rtc_inference: inference"
    with RobotClient(processes.check, _NAMESPACE) as client:
        client.until(lambda: "chunks" in client.said(name), "the policy", _PATIENCE_S)


def _turn(processes: Processes, controller: NodeToRun, ticks: int) -> dict[str, Any]:
    """Return what the controller says of itself after so many ticks in motion."""
    processes.start([controller])
    with RobotClient(processes.check, _NAMESPACE) as client:

        def said(part: str, value: str) -> str:
            return client.said(f"rtc_controller: {part}").get(value, "0")

        client.until(lambda: int(said("motion", "step")) > 0, "motion", _PATIENCE_S)
        used, end = _cpu_time(), int(said("tick", "ticks")) + ticks
        client.until(lambda: int(said("tick", "ticks")) >= end, f"{ticks} ticks", 10.0 + ticks)
        figures: dict[str, Any] = {
            **{name: float(said("tick", name)) for name in LATE},
            **{name: int(said("tick", name)) for name in ("missed", "ticks")},
            "realtime": said("tick", "realtime"),
            "steps": int(said("motion", "step")),
            "cores busy [%]": _busy_since(used),
            **{name: float(said("tick", name)) for name in COST},
        }
        if int(said("tick", "set points")):
            figures |= {name: float(said("tick", name)) for name in POINTS}
            figures |= {name: int(said("tick", name)) for name in ("set points", UNSENT)}
    processes.stop(controller.executable)
    return figures


def _cpu_time() -> tuple[float, float]:
    """Return how long all cores together have been busy and idle, in the kernel's unit."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, iowait, *rest = map(float, file.readline().split()[1:8])
    return user + nice + system + sum(rest), idle + iowait


def _busy_since(before: tuple[float, float]) -> float:
    spent = [now - then for now, then in zip(_cpu_time(), before, strict=True)]
    return 100.0 * spent[0] / sum(spent)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Keep so many processes computing."""
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, daemon=True) for _ in range(count)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


def _burn() -> None:
    while True:
        sum(range(10000))


def summary(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per variant: medians of its turns' percentiles, the rest of all its turns."""
    rows = []
    for variant in VARIANTS:
        mine = [t for t in turns if (t["tick_source"], t["realtime_priority"]) == variant]
        rows.append(
            {
                "tick_source": variant[0],
                "realtime_priority": variant[1],
                "realtime": mine[0]["realtime"],
                **_spread(mine, LATE),
                "p99 of each turn": sorted(t[LATE[1]] for t in mine),
                **{key: sum(t[key] for t in mine) for key in ("missed", "ticks", "steps")},
                "cores busy [%]": statistics.median(t["cores busy [%]"] for t in mine),
                "cost": [statistics.median(t[name] for t in mine) for name in COST],
            }
        )
        if all("set points" in t for t in mine):
            rows[-1]["points"] = {
                **_spread(mine, POINTS),
                "sent": sum(t["set points"] for t in mine),
                "unsent": sum(t[UNSENT] for t in mine),
            }
    return rows


def _spread(turns: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Return medians of the turns' p50 and p99, and the largest of their maxima [ms]."""
    p50, p99, largest = ([turn[name] for turn in turns] for name in names)
    return {"p50": statistics.median(p50), "p99": statistics.median(p99), "max": max(largest)}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table of lateness in milliseconds."""
    lines = [
        "| tick source | SCHED_FIFO | p50 ms | p99 ms (of each turn) | max ms | missed | ticks "
        "| steps | cores busy | cost of a tick p50, p99 µs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with_points = any("points" in row for row in rows)
    if with_points:
        lines[0] += " set points p50 ms | p99 ms | max ms | sent | not in time "
        lines[0] += "| cost p50, p99 µs |"
        lines[1] += "---|---|---|---|---|---|"
    for row in rows:
        asked, refused = row["realtime_priority"], row["realtime"].startswith("SCHED_FIFO ")
        fifo = f"{asked}{' refused' if refused else ''}" if asked else "no"
        each = ", ".join(f"{p99:.2f}" for p99 in row["p99 of each turn"])
        lines.append(
            f"| {row['tick_source']} | {fifo} | {row['p50']:.3f} | {row['p99']:.3f} ({each}) | "
            f"{row['max']:.2f} | {row['missed']} | {row['ticks']} | {row['steps']} | "
            f"{row['cores busy [%]']:.0f} % | {row['cost'][0]:.0f}, {row['cost'][1]:.0f} |"
        )
        if "points" in row:
            p, (_, _, p50, p99) = row["points"], row["cost"]
            lines[-1] += (
                f" {p['p50']:.3f} | {p['p99']:.3f} | {p['max']:.2f} | {p['sent']} | "
                f"{p['unsent']} | {p50:.0f}, {p99:.0f} |"
            )
        elif with_points:
            lines[-1] += " – |" * 6
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
