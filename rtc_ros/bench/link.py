"""`rtc_ros bench link`: what a network between robot and GPU machine costs, and what it must not.

The two nodes of the link run as they are, in two network namespaces with a forwarder between. On
the robot's side this process ticks the real controller at 50 Hz; on the other a second one runs
the real inference loop with an inference that takes a fixed time. `local` is the same without a
link, on one ring and cursor. Counted are steps that were misplaced (a row that isn't
k − origin_step of the chunk as it was written, bit by bit) and ticks that starved; d is compared
with its parts, the inference and the round trip.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from rtc_ros.bench.link_cameras import Viewer, film, link_parameters
from rtc_ros.bringup import NodeToRun
from rtc_ros.command_line import COUNT, SECONDS, real, tool, whole
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.paths import a_path
from rtc_ros.running import child
from rtc_ros.running.network import MachinesNetwork, obstacle
from rtc_ros.running.processes import Processes, environment, own_handoff
from rtc_ros.running.two_machines import ON, two_machines

HORIZON, JOINTS, PERIOD_S = 50, tuple(f"joint_{i}" for i in range(14)), 0.02
SPEC = HandoffSpec(JOINTS, PERIOD_S)
NAME = "bench_link"
ONE_WAY_MS = (0, 10, 30, 80)
LOSSES = (0.0, 0.01, 0.05)
_SETTLE_S = 4.0
_PINGS = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run every condition, print the table; 1 if a step was misplaced, 2 where it can't run."""
    parser = tool("bench link", __doc__)
    parser.add_argument("--seconds", type=SECONDS, default=20.0, help="of motion per condition")
    parser.add_argument("--inference-ms", type=real(), default=100.0, help="one inference")
    parser.add_argument("--s-min", type=COUNT, default=10)
    parser.add_argument("--one-way-ms", type=float, nargs="+", default=ONE_WAY_MS)
    parser.add_argument("--loss", type=float, nargs="+", default=LOSSES, help="shares")
    parser.add_argument("--priority", type=int, default=10, help="SCHED_FIFO priority of all "
                        "that takes part, where allowed, so that other processes of the machine "
                        "aren't what is measured; 0: none")  # fmt: skip
    parser.add_argument("--markdown", type=a_path, help="write the table here")
    parser.add_argument("--cameras", type=whole(0), default=0, metavar="N", help="with so many "
                        "cameras of 640 × 480 whose raw images cross, too")
    parser.add_argument("--mbit-s", type=float, default=0.0, help="what the wire takes; 0: any")
    parser.add_argument("--infer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--film", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.film:
        return film(options.cameras)
    if options.infer:
        return _infer(options)
    if problem := obstacle():
        print(f"bench link: two machines can't be made of this one: {problem}", file=sys.stderr)
        return 2
    with own_handoff():
        rows = [{"what": "local", **_run(options, _inference(options), {})}]
    print(_line("", rows[0]), flush=True)
    with own_handoff(), two_machines() as (on, _, network):
        assert network is not None
        wire_ms = _wire_ms(options, on, network)
        for one_way_ms in options.one_way_ms:
            for loss in options.loss:
                row = _linked(options, on, network, one_way_ms, loss)
                rows.append(row)
                print(_line("", row), flush=True)
    table = "\n".join([*_head(bool(options.cameras)), *(_line("|", row) for row in rows), ""])
    table += _cost(rows, wire_ms)
    print(table)
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")
    return int(any(row["misplaced"] for row in rows))


def _linked(
    options: argparse.Namespace, on: ON, network: MachinesNetwork, one_way_ms: float, loss: float
) -> dict[str, Any]:
    jitter_ms = one_way_ms / 2 if loss else 0.0
    network.set(delay_s=one_way_ms * 1e-3, jitter_s=jitter_ms * 1e-3, loss=loss,
                mbit_s=options.mbit_s)  # fmt: skip
    told: dict[str, Any] = {
        "joints": list(JOINTS), "control_period": PERIOD_S, "handoff_name": NAME,
        **(link_parameters(options.cameras) if options.cameras else {}),
    }  # fmt: skip
    with Processes() as processes, contextlib.ExitStack() as stack:
        for machine, executable in (("robot", "rtc_link"), ("gpu", "rtc_link_gpu")):
            with on(machine), _room(options.cameras):
                node = NodeToRun(executable, parameters=told, log_level="error", machine=machine)
                processes.start([node])
        with on("gpu"):
            inference = _inference(options, options.cameras)
        if options.cameras:
            with on("robot"), _room(options.cameras):
                stack.enter_context(_filming(options.cameras))
        pids = {name: processes.pid(name) for name in ("rtc_link", "rtc_link_gpu")}
        assert network.pid is not None
        with on("robot"):
            figures = _run(options, inference, pids, network.pid)
    what = f"+{one_way_ms:g} ms, ± {jitter_ms:g} ms, {loss:.0%} lost"
    return {"what": what, "round trip": 2 * one_way_ms, **figures}


def _wire_ms(options: argparse.Namespace, on: ON, network: MachinesNetwork) -> float:
    """Return how long a kilobyte takes to the other machine and back without the link [ms]."""
    network.set(delay_s=0.0, jitter_s=0.0, loss=0.0, mbit_s=options.mbit_s)
    with on("robot"):
        robot = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with on("gpu"):
        gpu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with robot, gpu:
        gpu.bind((network.addresses["gpu"], 0))
        robot.settimeout(2.0)
        end = b"end"

        def echo() -> None:
            while (got := gpu.recvfrom(2048))[0] != end:
                gpu.sendto(*got)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        for pid in (os.getpid(), network.pid):
            if pid is not None:
                _hurry(pid, options.priority)
        took = []
        for _ in range(_PINGS):
            begun_s = time.monotonic()
            robot.sendto(bytes(1024), gpu.getsockname())
            robot.recv(2048)
            took.append(time.monotonic() - begun_s)
            time.sleep(PERIOD_S)
        robot.sendto(end, gpu.getsockname())
        thread.join(timeout=2.0)
    return float(np.median(took)) * 1e3


def _cost(rows: list[dict[str, Any]], wire_ms: float) -> str:
    """Say what the link itself adds to a round trip, "" where no row is without delay."""
    local = rows[0]["cursor_ms"] + rows[0]["chunk_ms"]
    row = next((row for row in rows[1:] if not row["round trip"]), None)
    if row is None:
        return ""
    more = row["cursor_ms"] + row["chunk_ms"] - local
    return (
        f"\n{row['what']}: {more:.2f} ms more of a round trip than the local run's "
        f"{local:.2f} ms; {wire_ms:.2f} ms of it is the network's, which has nothing to do with "
        f"the link: {more - wire_ms:.2f} ms are the link's own.\n"
    )


def _room(cameras: int) -> contextlib.AbstractContextManager[None]:
    """Give Fast DDS's sockets room for raw images: else most are lost on the robot itself."""
    name = "FASTDDS_BUILTIN_TRANSPORTS"
    return environment({name: f"{os.environ[name]}?sockets_size=4MB"} if cameras else {})


@contextlib.contextmanager
def _filming(cameras: int) -> Iterator[None]:
    command = child.command("rtc_ros.bench.link", "--film", f"--cameras={cameras}")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        process.communicate(timeout=30)


def _inference(options: argparse.Namespace, cameras: int = 0) -> subprocess.Popen[str]:
    words = [f"--inference-ms={options.inference_ms}", f"--s-min={options.s_min}"]
    words += [f"--cameras={cameras}"]
    command = child.command("rtc_ros.bench.link", "--infer", *words)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


# ------------------------------------------------------------------------------ the robot's side


def _run(
    options: argparse.Namespace,
    inference: subprocess.Popen[str],
    pids: dict[str, int],
    *others: int,
) -> dict[str, Any]:
    """Tick a controller for a while; return the figures."""
    wide = np.full(len(JOINTS), 1e6)
    controller = Controller(JointLimits(-wide, wide, wide))
    assert inference.stdin is not None and inference.stdout is not None
    with contextlib.ExitStack() as stack:
        stack.callback(inference.kill)
        cursor = stack.enter_context(StepCursor.create(NAME + ".cursor", SPEC))
        controller.start(cursor.epoch, np.zeros(len(JOINTS)))
        robot = _Robot(controller, cursor)
        robot.tick_until(lambda: controller.state.player.swaps > 1, 60.0)
        for pid in (os.getpid(), inference.pid, *pids.values(), *others):
            _hurry(pid, options.priority)
        robot.for_seconds(_SETTLE_S)
        robot.forget()
        print("count", file=inference.stdin, flush=True)
        spent = {name: _cpu_s(pid) for name, pid in pids.items()}
        begun_s = time.monotonic()
        robot.for_seconds(options.seconds)
        span_s = time.monotonic() - begun_s
        cpu = {name: 100 * (_cpu_s(pid) - spent[name]) / span_s for name, pid in pids.items()}
        inference.stdin.close()
        told = json.loads(inference.stdout.readline())
        inference.wait(timeout=30)
        stack.pop_all()
        cursor.unlink()
    return robot.figures(told) | {
        "cpu": cpu, "inference": options.inference_ms, "seconds": span_s
    }  # fmt: skip


class _Robot:
    """Ticks on the clock, and looks for chunks in between."""

    def __init__(self, controller: Controller, cursor: StepCursor) -> None:
        self._controller, self._cursor = controller, cursor
        self._ring: ChunkRing | None = None
        self._due_s = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """Begin to count."""
        self.ticks = self.starved = 0
        self.delays: list[int] = []
        self.seams: list[float] = []
        self.misplaced = 0
        self.seen: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.wrote: dict[int, int] = {}
        self._held = True

    def for_seconds(self, seconds: float) -> None:
        """Tick for a while."""
        end_s = time.monotonic() + seconds
        self.tick_until(lambda: time.monotonic() > end_s, seconds + 10.0)

    def tick_until(self, done: Any, patience_s: float) -> None:
        """Tick until ``done()``."""
        end_s = time.monotonic() + patience_s
        while not done():
            if time.monotonic() > end_s:
                raise SystemExit(f"bench link: nothing moved within {patience_s:g} s")
            self._due_s = max(self._due_s + PERIOD_S, time.monotonic() - PERIOD_S)
            while (left_s := self._due_s - time.monotonic()) > 0:
                self._look()
                time.sleep(min(left_s, 2e-4))
            self._tick()

    def _look(self) -> None:
        if self._ring is None:
            self._ring = ChunkRing.attach_or_none(NAME + ".ring", SPEC)
        elif self._ring.poll():
            chunk = self._ring.read_newest()
            if chunk is not None and (key := f"{chunk.epoch}:{chunk.seq}") not in self.seen:
                self.seen[key] = time.monotonic_ns()
                self.digests[key] = xxhash.xxh3_64_hexdigest(chunk.actions.tobytes())
                self._controller.offer(chunk)

    def _tick(self) -> None:
        command = self._controller.tick()
        assert command is not None
        state = self._controller.cursor(time.monotonic_ns())
        self._cursor.write(state)
        self.wrote[state.tick] = time.monotonic_ns()
        played = command.played
        self.ticks += 1
        self.starved += played.row < 0
        if played.action is not None and played.chunk is not None:
            right = played.row == played.step - played.chunk.origin_step
            rows = played.chunk.actions
            self.misplaced += not (right and np.array_equal(played.action, rows[played.row]))
        swap = played.swap
        if swap is not None and swap.previous is not None and swap.previous_row >= 0:
            self.delays.append(swap.delay)
            before = swap.previous.actions[swap.previous_row]
            self.seams.append(float(np.abs(swap.chunk.actions[swap.row] - before).max()))

    def figures(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what it comes to, with what the other side noted."""
        chunks = [self.seen[k] - at for k, at in told["wrote"].items() if k in self.seen]
        saw = {int(tick): at for tick, at in told["saw"].items()}
        cursors = [at - self.wrote[tick] for tick, at in saw.items() if tick in self.wrote]
        other = [k for k, d in self.digests.items() if told["digests"].get(k, d) != d]
        return {
            "ticks": self.ticks,
            "starved": self.starved,
            "misplaced": self.misplaced + len(other),
            "delays": self.delays,
            "seam": max(self.seams, default=0.0),
            "chunk_ms": float(np.median(chunks)) * 1e-6 if chunks else float("nan"),
            "cursor_ms": float(np.median(cursors)) * 1e-6 if cursors else float("nan"),
            "cameras": told["cameras"],
        }


def _hurry(pid: int, priority: int) -> None:
    """Put all threads of a process under SCHED_FIFO, where that is allowed."""
    if priority:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(priority))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------------------- the inference's side


def _infer(options: argparse.Namespace) -> int:
    """Make chunks until the input ends, then say what was written and seen, and when."""
    ring = ChunkRing.create(NAME + ".ring", HandoffSpec(JOINTS, PERIOD_S, HORIZON))
    loop = InferenceLoop(HORIZON, DelayEstimator(10, 5), RtcSettings(s_min=options.s_min))
    wrote: dict[str, int] = {}
    digests: dict[str, str] = {}
    saw: dict[int, int] = {}
    cursor: StepCursor | None = None
    chance = np.random.default_rng(0)
    viewer = Viewer(options.cameras) if options.cameras else None
    for word in _until_end_of_input():
        if word and viewer is not None:
            viewer.forget()
        if cursor is None:
            cursor = StepCursor.attach_or_none(NAME + ".cursor", SPEC)
            continue
        state = cursor.read()
        if state is None:
            continue
        saw.setdefault(state.tick, time.monotonic_ns())
        request = loop.next_request(state)
        if request is None:
            continue
        start_ns = time.monotonic_ns()
        if viewer is not None:
            viewer.look()
        time.sleep(options.inference_ms * 1e-3)
        loop.look(cursor.read() or state)
        chunk = ring.write(
            ActionChunk(
                _rows(request, chance), request.origin_step, step_epoch=request.step_epoch,
                rows=request.rows, start_ns=start_ns, end_ns=time.monotonic_ns(),
            )
        )  # fmt: skip
        name = f"{chunk.epoch}:{chunk.seq}"
        wrote[name] = time.monotonic_ns()
        digests[name] = xxhash.xxh3_64_hexdigest(chunk.actions.tobytes())
        loop.wrote(chunk, request)
    seen = None if viewer is None else viewer.figures()
    print(json.dumps({"wrote": wrote, "digests": digests, "saw": saw, "cameras": seen}),
          flush=True)  # fmt: skip
    ring.unlink()
    if viewer is not None:
        viewer.close()
    return 0


def _rows(request: InferenceRequest, chance: np.random.Generator) -> np.ndarray:
    """Return rows as a guided policy's: frozen for d steps, then over to another course."""
    steps = request.origin_step + np.arange(HORIZON)
    rows = np.sin(0.05 * steps)[:, None] + 0.2 * chance.normal(size=len(JOINTS))
    if request.prev is not None and request.weights is not None:
        known = min(len(request.prev), HORIZON)
        share = request.weights[:known, None]
        rows[:known] = share * request.prev[:known] + (1 - share) * rows[:known]
    return np.asarray(rows)


def _until_end_of_input() -> Iterator[str]:
    """Yield each line of the input, and "" a thousand times a second."""
    while True:
        if not select.select([sys.stdin], [], [], 0.001)[0]:
            yield ""
        elif line := sys.stdin.readline():
            yield line
        else:
            return


# -------------------------------------------------------------------------------------- the table

_CAMERAS = (
    "images a second, of all cameras", "kB an image", "Mbit/s",
    "age of an image when an inference begins, median, max [ms]", "of those seen before [%]",
    "encode, decode [ms]",
)  # fmt: skip
_COLUMNS = (
    "network", "ticks", "misplaced steps", "starved ticks", "d median, max",
    "inference + round trip, in steps", "worst seam", "cursor, chunk under way [ms]",
    "CPU of rtc_link, rtc_link_gpu [%]",
)  # fmt: skip


def _head(cameras: bool) -> list[str]:
    columns = (*_COLUMNS, *_CAMERAS) if cameras else _COLUMNS
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def _line(edge: str, row: dict[str, Any]) -> str:
    delays = row["delays"]
    parts = (row["inference"] + row.get("round trip", 0.0)) * 1e-3 / PERIOD_S
    cells = [
        row["what"],
        str(row["ticks"]),
        str(row["misplaced"]),
        str(row["starved"]),
        f"{np.median(delays):g}, {max(delays)}" if delays else "–",
        f"{parts:.1f}",
        f"{row['seam']:.3f}",
        f"{row['cursor_ms']:.2f}, {row['chunk_ms']:.2f}",
        ", ".join(f"{share:.1f}" for share in row["cpu"].values()) or "–",
    ]
    if (seen := row["cameras"]) is not None:
        cells += [
            f"{seen['images'] / row['seconds']:.1f}",
            f"{seen['kB']:.0f}",
            f"{seen['images'] * seen['kB'] * 8e-3 / row['seconds']:.1f}",
            f"{seen['age_ms']:.0f}, {seen['age_max_ms']:.0f}",
            f"{100 * seen['stale']:.0f}",
            f"{seen['encode_ms']:.1f}, {seen['decode_ms']:.1f}",
        ]
    return f"{edge} {' | '.join(cells)} {edge}".strip()


if __name__ == "__main__":
    sys.exit(main())
