"""Forks controllers, inference nodes and chunk writers on command, all imports already done.

Commands, one a line on standard input: ``rtc_controller``, ``rtc_inference`` or ``writer`` and an
``Order`` as JSON; the answer is the child's pid. What runs is the nodes' own ``main``; only
Python's imports are saved. The writer is the fastest inference side there can be: it writes the
next chunk as soon as one is in use, unless its word file says otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fault_system import COMMON, CONTROLLER, HORIZON, INFERENCE, JOINTS, PERIOD_S

from rtc_ros.bringup import NodeToRun
from rtc_ros.controller import node as controller_node
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import Mode
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

STRIDE = 3


@dataclass(frozen=True)
class Order:
    """What a child is to be: in which namespace, with which parameters, of which motion."""

    namespace: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Those of the controller; none: ``CONTROLLER``."""
    word_file: str = ""
    """Says what the writer does wrong: ``late S``, ``lost``, ``repeat`` or ``silent``."""
    amplitude: float = 0.5
    period: float = 400.0
    """[steps] of the wave that the chunks ask for."""

    def row(self, epoch: int, seq: int, step: int) -> np.ndarray:
        """Return what chunk (epoch, seq) has for ``step``: a slow wave, and who wrote it."""
        joints = self.parameters.get("joints", JOINTS)
        phase = 2 * np.pi * step / self.period + np.arange(len(joints))
        mark = 1e-7 * (seq % 997) + 1e-5 * (epoch % 89)
        return np.asarray(self.amplitude * np.sin(phase) + mark)

    def line(self, what: str) -> str:
        """Return the command for the farm."""
        return f"{what} {json.dumps(asdict(self))}"


def writer(order: Order) -> None:
    joints = tuple(order.parameters.get("joints", JOINTS))
    name = ".".join([COMMON["handoff_name"], *filter(None, [order.namespace])])
    ring = ChunkRing.create(f"{name}.ring", HandoffSpec(joints, PERIOD_S, HORIZON))
    cursor: StepCursor | None = None
    seq, last = 0, (-1, -1)
    word_file = Path(order.word_file) if order.word_file else None
    while True:
        time.sleep(0.001)
        if cursor is None:
            cursor = StepCursor.attach_or_none(f"{name}.cursor", HandoffSpec(joints, PERIOD_S))
            continue
        state = cursor.read()
        if state is None or state.mode is Mode.STOPPED:
            continue
        if state.epoch == last[0] and state.step < last[1] + STRIDE and state.mode == Mode.RUNNING:
            continue
        word = ""
        if word_file is not None:
            with contextlib.suppress(OSError):
                word = word_file.read_text()
        if word == "silent":
            time.sleep(0.01)
            continue
        if word.startswith("late "):
            time.sleep(float(word[5:]))
        last = (state.epoch, state.step)
        if word == "lost" and random.random() < 0.8:
            continue
        steps = range(state.step, state.step + HORIZON)
        for _ in range(3 if word == "repeat" else 1):
            seq += 1
            actions = np.array([order.row(ring.epoch, seq, step) for step in steps])
            ring.write(ActionChunk(actions, state.step, step_epoch=state.epoch))


def node(what: str, order: Order) -> None:
    """Become a node, with its parameters and a log of its own."""
    parameters = (order.parameters or CONTROLLER) if what == "rtc_controller" else INFERENCE
    run = NodeToRun(what, order.namespace, parameters=parameters)
    sys.argv = [what, *run.ros_arguments()]
    folder = Path(order.word_file).parent if order.word_file else Path()
    log = os.open(folder / f"{what}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if what == "rtc_controller":
        controller_node.main()
    else:
        import faulty_inference

        faulty_inference.main()


WORK: dict[str, Callable[[Order], None]] = {
    "writer": writer,
    "rtc_controller": lambda order: node("rtc_controller", order),
    "rtc_inference": lambda order: node("rtc_inference", order),
}


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin:
        what, _, order = line.partition(" ")
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                WORK[what](Order(**json.loads(order)))
            finally:
                os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
