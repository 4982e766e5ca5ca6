"""The two nodes' own parts on a clock of the test: what a virtual run must do, to the bit.

The worker of rtc_inference and the tick of rtc_controller, over the ring and the cursor in shared
memory. One thread: ticks pass while the policy works, and whenever the worker has nothing to do.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rtc_ros.controller.chunk_input import ChunkInput
from rtc_ros.controller.tick import ControlTick
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.guards import Arm
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.inference import worker
from rtc_ros.inference.observation import Gathered
from rtc_ros.policy.protocol import Observation, PolicyResult
from rtc_ros.ros.joint_units import JointUnits, PolicyUnits

H, TICKS, DT_NS = 12, 60, 20_000_000
JOINTS, START = ("a", "b"), np.zeros(2)


def controller():
    # Narrow enough to change rows, which are then fed back as changed.
    return Controller(JointLimits(np.full(2, -2.0), np.full(2, 2.0), np.full(2, 0.4)))


def loop(settings, delay):
    return InferenceLoop(H, DelayEstimator(10, delay), settings)


def chunk_of(number):
    """Chunks that agree on nothing, so that each row executed tells where it is from."""
    return np.random.default_rng(number).normal(size=(H, 2)).cumsum(axis=0)


def told(request):
    """All that an inference goes by; chunks are named by the order in which they were made."""
    return (
        request.origin_step, request.start_step, request.horizons, request.rows,
        None if request.prev is None else request.prev.tolist(),
        None if request.weights is None else request.weights.tolist(),
    )  # fmt: skip


def executed(command):
    played = command.played
    number = None if played.action is None else played.chunk.seq
    row = None if command.row is None else tuple(command.row)
    return played.step, played.tick, number, played.row, row


class Nodes:
    """rtc_inference's worker and rtc_controller's tick; ``delays`` [ticks] of each inference."""

    def __init__(self, name, settings, forecast, delays, monkeypatch):
        self.now_ns, self.commands, self.requests = 10**9, [], []
        clock = SimpleNamespace(monotonic_ns=lambda: self.now_ns,
                                monotonic=lambda: self.now_ns * 1e-9)  # fmt: skip
        monkeypatch.setattr(worker, "time", clock)
        self.delays = delays
        self.controller = controller()
        self.cursor = StepCursor.create(f"{name}.cursor", HandoffSpec(JOINTS, DT_NS * 1e-9))
        self.ring = ChunkRing.create(f"{name}.ring", HandoffSpec(JOINTS, DT_NS * 1e-9, H))
        self.input = ChunkInput(f"{name}.ring", HandoffSpec(JOINTS, DT_NS * 1e-9))
        self.control = ControlTick(
            self.controller, (), newest=self.input.newest,
            look=lambda _: Arm(START, np.full(2, self.now_ns), ""), lost=lambda: 0,
            late_s=lambda: 0.0, stamp=lambda: None, now_ns=lambda: self.now_ns,
            period_s=DT_NS * 1e-9,
        )  # fmt: skip
        units = JointUnits(JOINTS, np.ones(2), np.zeros(2))
        source = SimpleNamespace(
            units=PolicyUnits(units, units), expect=lambda speed: None, odd=lambda seen: "",
            gather=lambda task: (Gathered(Observation(START, {}, task), self.now_ns), ""),
        )  # fmt: skip
        self.worker = worker.InferenceWorker(
            self, loop(settings, forecast), self.ring, f"{name}.cursor", source, lambda: "",
            lambda chunk, request, source, limits: self.requests.append(told(request)), seed=1,
        )  # fmt: skip
        self.controller.start(1, START)
        self.cursor.write(self.controller.cursor(self.now_ns))

    def infer(self, observation, guidance, *, num_steps, seed):
        """The policy: works for so many ticks."""
        for _ in range(self.delays(seed)):
            self.tick()
        return PolicyResult(chunk_of(seed))

    def tick(self):
        self.now_ns += DT_NS
        (done,) = self.control.run(0)
        self.cursor.write(self.controller.cursor(self.now_ns))
        self.commands.append(executed(done.command))

    def run(self):
        try:
            while len(self.commands) < TICKS:
                if self.worker._once():
                    self.tick()
        finally:
            for part in (self.worker._cursor, self.input, self.ring, self.cursor):
                part.close()
        return self


def virtual(settings, forecast, delays):
    def infer(request, seq):
        requests.append(told(request))
        return chunk_of(seq)

    requests = []
    run = VirtualRun(controller(), loop(settings, forecast), infer, delays, DT_NS, JOINTS, START)
    return requests, [executed(run.tick()) for _ in range(TICKS)]


def same(name, settings, forecast, delays, monkeypatch):
    """Compare both, and return the requests of the virtual run."""
    nodes = Nodes(name, settings, forecast, delays, monkeypatch).run()
    requests, commands = virtual(settings, forecast, delays)
    assert commands == nodes.commands[:TICKS]
    # What was begun within the last ticks isn't finished on the nodes' side, or the other way.
    both = min(len(requests), len(nodes.requests))
    assert requests[:both] == nodes.requests[:both]
    assert both >= max(len(requests), len(nodes.requests)) - 1
    return requests


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("delay", range(H // 2 + 1))
def test_strides_weights_origins_and_rows_are_those_of_the_nodes(strategy, delay, monkeypatch):
    for s_min in range(1, H // 2 + 1):
        settings = RtcSettings(s_min=s_min, strategy=strategy)
        if settings.problems(H, delay):
            continue
        requests = same(f"v{s_min}", settings, delay, lambda seq: delay, monkeypatch)
        strides = {horizons.stride for _, _, horizons, *_ in requests[2:]}
        if settings.plan.pauses:
            assert strides == {0}
        else:
            assert strides == {max(delay, settings.least_stride)}
            assert {r[2].delay for r in requests} == {delay}


@pytest.mark.parametrize("count_from", ["inference_start", "swap"])
@pytest.mark.parametrize("s_min", [1, 4])
def test_delays_that_change_are_met_as_the_nodes_meet_them(s_min, count_from, monkeypatch):
    settings = RtcSettings(s_min=s_min, count_from=count_from)
    for first in range(4):
        delays = [first, 3, 0, 5, 2, 15, 1, 1, 6]  # one of them starves
        found = same(f"c{first}", settings, 2, lambda seq: delays[seq % 9], monkeypatch)  # noqa: B023
        assert len({horizons.stride for _, _, horizons, *_ in found}) > 3
