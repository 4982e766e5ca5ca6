"""`rtc_ros bench handoff`: what the shared memory costs, and how soon the other side sees it.

Costs are single calls in this process. Visibility is measured between two processes, this one
writing and a child reading, on CLOCK_MONOTONIC: the ring from before `write` to the verified
chunk in the reader's hands, a topic of the same payload in two ways: `transport`, from before
`publish` of a ready-made message to the entry of the subscriber's callback (what DDS and rclpy
alone need, so in the topic's favour), and `whole`, like the ring from chunk to chunk with both
conversions. JointTrajectory is what the inference node publishes chunks as, so the goal compares
with its `whole`; Float64MultiArray, 700 bare numbers, is the leanest topic of ROS's own types.
All ways alternate within one run, with the same discipline on both sides:

busy     the reader asks without a pause: `ring.poll()`, or `executor.spin_once(0)`
waiting  the reader leaves the CPU: 50 µs of sleep between polls, or `executor.spin()`'s wait
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.bench.handoff_reader import TOPICS, message_type, serve, to_message
from rtc_ros.command_line import tool
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.paths import a_path
from rtc_ros.running import child
from rtc_ros.running.entry import ask_for_realtime

RATIO_GOAL, POLL_GOAL_US = 20.0, 5.0
DISCIPLINES = ("busy", "waiting")
WAYS = ("ring", *TOPICS)
_now = time.monotonic_ns


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write them where asked; 1 if ``--check`` finds a goal missed."""
    parser = tool("bench handoff", __doc__)
    parser.add_argument("--horizon", type=int, default=50, help="rows of a chunk")
    parser.add_argument("--joints", type=int, default=14, help="columns of a chunk")
    parser.add_argument("--calls", type=int, default=20000, help="calls for each cost")
    parser.add_argument("--rounds", type=int, default=6, help="turns of every way of handing over")
    parser.add_argument("--samples", type=int, default=100, help="chunks per way and turn")
    parser.add_argument("--json", type=a_path, help="write the figures here")
    parser.add_argument("--markdown", type=a_path, help="write the tables here")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--priority", type=int, default=10, help="SCHED_FIFO priority of both "
                        "processes where allowed, so that other\nprocesses of the machine aren't "
                        "what is measured; 0: none")  # fmt: skip
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    joints = tuple(f"joint_{i}" for i in range(options.joints))
    spec = HandoffSpec(joints, 0.02, options.horizon)
    # Before rclpy is imported, so that DDS's threads get it too. A machine with one core would
    # have nothing left beside a reader that never pauses.
    fifo = (os.cpu_count() or 1) > 1 and not ask_for_realtime(options.priority)
    if options.reader:
        return serve(options.reader, spec)
    # A corner of its own: other nodes' traffic would only be noise here.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
    if (Path(sys.prefix) / "share" / "ament_index").is_dir():
        os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    costs = measure_costs(spec, options.calls)
    visibility = measure_visibility(spec, options.rounds, options.samples, options.priority)
    sooner = {row["way"]: row["ratio_whole"] for row in visibility if row["discipline"] == "busy"}
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {'SCHED_FIFO' if fifo else 'normal scheduling'}",
        "payload": [options.horizon, options.joints],
        "samples": options.rounds * options.samples,
        "cost_us": costs,
        "visibility_us": visibility,
        "goals": {
            "poll_us": costs["ring.poll"]["median"],
            "ratio": sooner["JointTrajectory"],
            "ratio_leanest": sooner["Float64MultiArray"],
        },
    }  # fmt: skip
    text = markdown(result)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    met = result["goals"]["ratio"] >= RATIO_GOAL and result["goals"]["poll_us"] < POLL_GOAL_US
    return int(options.check and not met)


def measure_costs(spec: HandoffSpec, calls: int) -> dict[str, dict[str, float]]:
    """Return median and p99 in µs of each call, the clock's own reading included."""
    dim = spec.action_dim
    chunk = ActionChunk(np.random.default_rng(0).normal(size=(spec.horizon, dim)), 0)
    row, history = np.zeros(dim), np.zeros((HISTORY_ROWS, dim))
    state = CursorState(1, 0, 0, 0, Mode.RUNNING, row, history, row, row, row)
    name = f"bench_{os.getpid()}"
    ring, cursor = ChunkRing.create(name, spec), StepCursor.create(f"{name}_cursor", spec)
    ring_reader = ChunkRing.attach(name, spec)
    cursor_reader = StepCursor.attach(f"{name}_cursor", spec)

    def nothing() -> None:
        """Return at once: what the loop and the clock cost."""

    def cost(call: Callable[[], object], before: Callable[[], object] = nothing) -> np.ndarray:
        spent = np.empty(calls)
        for i in range(calls):
            before()
            start = time.perf_counter_ns()
            call()
            spent[i] = time.perf_counter_ns() - start
        return spent / 1e3

    try:
        spent = {
            "(an empty call)": cost(nothing),
            "ring.write": cost(lambda: ring.write(chunk)),
            "ring.poll": cost(ring_reader.poll, ring_reader.read_newest),
            "ring.read_newest, a new chunk": cost(
                ring_reader.read_newest, lambda: ring.write(chunk)
            ),
            "ring.read_newest, nothing new": cost(ring_reader.read_newest),
            "cursor.write": cost(lambda: cursor.write(state)),
            "cursor.read, a new state": cost(cursor_reader.read, lambda: cursor.write(state)),
        }
    finally:
        for reader in (ring_reader, cursor_reader):
            reader.close()
        ring.unlink()
        cursor.unlink()
    return {name: _figures(us) for name, us in spent.items()}


def measure_visibility(
    spec: HandoffSpec, rounds: int, samples: int, priority: int = 0
) -> list[dict[str, Any]]:
    """Return a row per discipline and way: median and p99 in µs, and ratios to the ring."""
    import rclpy

    name, chance = f"bench_{os.getpid()}", random.Random(0)
    command = child.command("rtc_ros.bench.handoff", "--reader", name,
                            f"--horizon={spec.horizon}", f"--joints={spec.action_dim}",
                            f"--priority={priority}")  # fmt: skip
    rclpy.init(args=[])
    ring, node = ChunkRing.create(name, spec), rclpy.create_node("bench_handoff_writer")
    publishers = {way: node.create_publisher(message_type(way), f"~/{way}", 10) for way in TOPICS}
    rows = np.random.default_rng(0).normal(size=(spec.horizon, spec.action_dim))
    whole: dict[tuple[str, str], list[int]] = {(d, w): [] for d in DISCIPLINES for w in WAYS}
    transport: dict[tuple[str, str], list[int]] = {key: [] for key in whole}
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdin is not None and reader.stdout is not None
    try:
        for discipline, way in list(whole) * rounds:
            print(json.dumps([discipline, way, samples]), file=reader.stdin, flush=True)
            if reader.stdout.readline() != "ready\n":
                raise SystemExit("the reading process ended early; its message is above")
            begun, sent = [], []
            for i in range(samples):
                time.sleep(chance.uniform(0.003, 0.007))
                chunk = ActionChunk(rows + i, i)
                begun.append(_now())
                if way == "ring":
                    sent.append(begun[-1])
                    ring.write(chunk)
                else:
                    message = to_message(way, chunk, spec.joint_names)
                    sent.append(_now())
                    publishers[way].publish(message)
            for i, arrived, held in json.loads(reader.stdout.readline()):
                end = held if way == "ring" else arrived
                transport[discipline, way].append(end - sent[i])
                whole[discipline, way].append(held - begun[i])
        reader.stdin.close()
        reader.wait(timeout=30)
    finally:
        reader.kill()
        ring.unlink()
        node.destroy_node()
        rclpy.shutdown()
    table = []
    for discipline, way in whole:
        ring_us = float(np.median(whole[discipline, "ring"])) / 1e3
        row: dict[str, Any] = {"discipline": discipline, "way": way}
        for kind, ns in (("transport", transport), ("whole", whole)):
            row[kind] = _figures(np.array(ns[discipline, way]) / 1e3)
            row[f"ratio_{kind}"] = row[kind]["median"] / ring_us
        table.append({**row, "seen": len(whole[discipline, way]), "sent": rounds * samples})
    return table


def _figures(us: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(us)), "p99": float(np.percentile(us, 99))}


def markdown(result: dict[str, Any]) -> str:
    """Return the figures as two tables and the goals."""
    rows, joints = result["payload"]
    lines = [f"Payload {rows}×{joints} float64; {result['machine']}.", "",
             "| call | median µs | p99 µs |", "|---|---|---|"]  # fmt: skip
    for name, us in result["cost_us"].items():
        lines.append(f"| {name} | {us['median']:.2f} | {us['p99']:.2f} |")
    lines += [
        "",
        "| reader | way | transport: median, p99 µs | whole: median, p99 µs | "
        "ratio to the ring (transport, whole) | seen |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["visibility_us"]:
        cells = [f"{row[k]['median']:.0f}, {row[k]['p99']:.0f}" for k in ("transport", "whole")]
        ratio = f"{row['ratio_transport']:.1f}, {row['ratio_whole']:.1f}"
        lines.append(
            f"| {row['discipline']} | {row['way']} | {cells[0]} | {cells[1]} | "
            f"{'' if row['way'] == 'ring' else ratio} | {row['seen']}/{row['sent']} |"
        )
    goals = result["goals"]
    lines += ["", f"Goals: a poll takes {goals['poll_us']:.2f} µs (below {POLL_GOAL_US:g}); a "
              f"busy reader has a chunk from the ring {goals['ratio']:.1f} times sooner than from "
              f"the chunk topic, a JointTrajectory (at least {RATIO_GOAL:g}), and "
              f"{goals['ratio_leanest']:.1f} times sooner than from bare numbers, a "
              "Float64MultiArray (no goal).", ""]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
