"""Two machines on simulated clocks, with a network between them that does what networks do.

Everything else is real: the controller and the inference loop, the segments (each machine has a
folder of its own), the two sides of the link and their messages.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.link.peer import Identity
from rtc_ros.link.side import GPU, ROBOT, Role, Side

JOINTS = ("a", "b")
PERIOD_S, HORIZON = 0.02, 30
SPEC = HandoffSpec(JOINTS, PERIOD_S)
POLL_S = 0.001


def no_wall() -> int:
    return 0


@dataclasses.dataclass
class Network:
    """One way: ``delay_s``, give or take up to ``jitter_s``; shares lost, sent twice, and torn."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    twice: float = 0.0
    torn: float = 0.0
    cut: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def arrivals(self, data: bytes) -> list[tuple[float, bytes]]:
        """Return after which times what arrives; jitter beyond the messages' distance reorders."""
        chance, arriving = self.chance, []
        for _ in range(1 + (chance.random() < self.twice)):
            if self.cut or chance.random() < self.loss:
                continue
            if chance.random() < self.torn:
                at = chance.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            late = self.delay_s + chance.uniform(-self.jitter_s, self.jitter_s)
            arriving.append((max(0.0, late), data))
        return arriving


@dataclasses.dataclass
class Clock:
    """CLOCK_MONOTONIC of a machine: ``ahead_s`` at the beginning, and ``ppm`` too fast."""

    ahead_s: float
    ppm: float = 0.0

    def ns(self, now_s: float) -> int:
        return round((self.ahead_s + now_s * (1 + self.ppm * 1e-6)) * 1e9)


class Machine:
    """A folder for segments, a clock, and one side of the link."""

    def __init__(self, folder: Path, role: Role, clock: Clock, robot: str = "r1") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.role, self.clock = folder, role, clock
        self.robot, self.boot = robot, 1
        self.processes = itertools.count(1)
        self.side: Side | None = None
        self.restart_link()

    def restart_link(self) -> None:
        """As after SIGKILL: nothing is said, and the lock goes with the process."""
        if self.side is not None:
            writer = self.side.mirror._writer
            if writer is not None:
                writer._lock.release()
        own = Identity(
            self.robot, f"{self.role.here} {self.folder.name}, process {next(self.processes)}",
            random.getrandbits(62) | 1, self.boot,
        )  # fmt: skip
        self.side = Side(self.role, own, "two", SPEC, str(self.folder))


def sine(steps: np.ndarray) -> np.ndarray:
    """Return the row that each step must have, whoever makes the chunk."""
    return np.stack([np.sin(0.05 * steps), np.cos(0.05 * steps)], axis=1)


class TwoMachines:
    """A controller on one, an inference loop on the other; ``run`` lets time pass."""

    def __init__(
        self,
        folder: Path,
        there: Network | None = None,
        back: Network | None = None,
        robot_clock: Clock | None = None,
        gpu_clock: Clock | None = None,
        infer_s: float = 0.05,
        settings: RtcSettings | None = None,
    ) -> None:
        self.now_s = 0.0
        self.there, self.back = there or Network(), back or Network(seed=1)
        self.robot = Machine(folder / "robot", ROBOT, robot_clock or Clock(1e4, 200))
        self.gpu = Machine(folder / "gpu", GPU, gpu_clock or Clock(5e4, -200))
        self.infer_s = infer_s
        self.settings = settings or RtcSettings(s_min=8)
        self.executed: list[tuple[int, int]] = []
        """Step and row of each tick; row −1: held."""
        self.wrong: list[str] = []
        self.delays: list[int] = []
        self.offers: list[str] = []
        self.outgoing: list[Callable[[str, bytes], bytes]] = []
        self._due: list[tuple[float, int, str, bytes]] = []
        self._count = itertools.count()
        self._tick_s = 0.0
        self.start_controller()
        self.start_inference()

    # -- the nodes --------------------------------------------------------------------------

    def start_controller(self, epoch: int | None = None) -> None:
        wide = np.full(2, 1e3)
        self.controller = Controller(JointLimits(-wide, wide, wide))
        self.cursor = StepCursor.create("two.cursor", SPEC, directory=str(self.robot.folder))
        self.ring_reader: ChunkRing | None = None
        self.controller.start(epoch or self.cursor.epoch, np.array([0.0, 1.0]))

    def kill_controller(self) -> None:
        self.cursor._writer_side._lock.release()

    def start_inference(self) -> None:
        spec = dataclasses.replace(SPEC, horizon=HORIZON)
        self.ring = ChunkRing.create("two.ring", spec, directory=str(self.gpu.folder))
        self.loop = InferenceLoop(
            HORIZON, DelayEstimator(10, 5), self.settings, self.ring.inherited
        )
        self.cursor_reader: StepCursor | None = None
        self.busy: tuple[float, int, object] | None = None
        self.infers = True

    def kill_inference(self) -> None:
        self.ring._writer_side._lock.release()
        self.infers = False

    def _control(self) -> None:
        try:
            if self.ring_reader is None:
                self.ring_reader = ChunkRing.attach_or_none(
                    "two.ring", SPEC, directory=str(self.robot.folder)
                )
                chunk = self.ring_reader and self.ring_reader.read_newest()
                if chunk and chunk.step_epoch == self.controller.state.player.epoch:
                    self.offers.append(self.controller.offer(chunk).name)
            elif self.ring_reader.poll():
                chunk = self.ring_reader.read_newest()
                if chunk is not None:
                    self.offers.append(self.controller.offer(chunk).name)
        finally:
            command = self.controller.tick()
            now_ns = self.robot.clock.ns(self.now_s)
            self.cursor.write(self.controller.cursor(now_ns))
        played = command.played
        self.executed.append((played.step, played.row))
        if played.swap is not None and played.swap.previous is not None:
            self.delays.append(played.swap.delay)
        if played.row >= 0:
            if played.row != played.step - played.chunk.origin_step:
                self.wrong.append(f"step {played.step} from row {played.row}")
            if not np.array_equal(played.action, sine(np.array([played.step]))[0]):
                self.wrong.append(f"step {played.step} is {played.action}")

    def _infer(self) -> None:
        if not self.infers:
            return
        now_ns = self.gpu.clock.ns(self.now_s)
        if self.busy is None:
            if self.cursor_reader is None:
                self.cursor_reader = StepCursor.attach_or_none(
                    "two.cursor", SPEC, directory=str(self.gpu.folder)
                )
                return
            state = self.cursor_reader.read()
            if state is None or not 0 <= now_ns - state.tick_ns <= 25 * PERIOD_S * 1e9:
                return
            request = self.loop.next_request(state)
            if request is not None:
                self.busy = (self.now_s + self.infer_s, now_ns, request)
        elif self.now_s >= self.busy[0]:
            _, start_ns, request = self.busy
            self.busy = None
            rows = sine(request.origin_step + np.arange(HORIZON))
            chunk = ActionChunk(
                rows, request.origin_step, step_epoch=request.step_epoch, rows=request.rows,
                start_ns=start_ns, end_ns=now_ns, observation_ns=start_ns,
            )  # fmt: skip
            state = self.cursor_reader.read()
            if state is not None:
                self.loop.look(state)
            self.loop.wrote(self.ring.write(chunk), request)

    # -- time -------------------------------------------------------------------------------

    def send(self, whom: str, data: bytes) -> None:
        network = self.there if whom == "gpu" else self.back
        for change in self.outgoing:
            data = change(whom, data)
        for late_s, what in network.arrivals(data):
            heapq.heappush(self._due, (self.now_s + late_s, next(self._count), whom, what))

    def run(self, seconds: float, *, controls: bool = True, links: str = "robot gpu") -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += POLL_S
            for machine, to in ((self.robot, "gpu"), (self.gpu, "robot")):
                while self._due and self._due[0][0] <= self.now_s:
                    _, _, whom, data = heapq.heappop(self._due)
                    target = self.robot if whom == "robot" else self.gpu
                    if whom in links:
                        target.side.take(data, target.clock.ns(self.now_s))
                if machine.folder.name in links:
                    data = machine.side.message(machine.clock.ns(self.now_s), no_wall)
                    if data is not None:
                        self.send(to, data)
            if controls and self.now_s >= self._tick_s:
                self._tick_s = max(self._tick_s + PERIOD_S, self.now_s)
                self._control()
            self._infer()

    # -- what is asked ----------------------------------------------------------------------

    def starved(self) -> int:
        """Return the ticks held after the first row."""
        rows = [row for _, row in self.executed]
        first = next((i for i, row in enumerate(rows) if row >= 0), len(rows))
        return sum(row < 0 for row in rows[first:])

    def steps(self) -> list[int]:
        return [step for step, row in self.executed if row >= 0]
