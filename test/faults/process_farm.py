"""Forks controllers, inference nodes and chunk writers on command, all imports already done.

Commands, one a line on standard input: ``controller``, ``inference`` or ``writer``; the answer is
the child's pid. What runs is the nodes' own ``main``; only Python's imports are saved. The writer
is the fastest inference side there can be: it writes the next chunk as soon as one is in use.
"""

from __future__ import annotations

import os
import signal
import sys
import time

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
NAMESPACE = os.environ.get("FAULT_NAMESPACE", "")


def row(epoch: int, seq: int, step: int) -> np.ndarray:
    """Return what chunk (epoch, seq) has for ``step``: a slow wave, and who wrote it."""
    phase = 2 * np.pi * step / 400 + np.arange(len(JOINTS))
    mark = 1e-7 * (seq % 997) + 1e-5 * (epoch % 89)
    return np.asarray(0.5 * np.sin(phase) + mark)


def writer() -> None:
    joints = tuple(JOINTS)
    name = ".".join([COMMON["handoff_name"], *filter(None, [NAMESPACE])])
    ring = ChunkRing.create(f"{name}.ring", HandoffSpec(joints, PERIOD_S, HORIZON))
    cursor: StepCursor | None = None
    seq, last = 0, (-1, -1)
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
        seq, last = seq + 1, (state.epoch, state.step)
        steps = range(state.step, state.step + HORIZON)
        actions = np.array([row(ring.epoch, seq, step) for step in steps])
        ring.write(ActionChunk(actions, state.step, step_epoch=state.epoch))


def node(what: str) -> None:
    """Become a node, with its parameters and a log of its own."""
    parameters = CONTROLLER if what == "rtc_controller" else INFERENCE
    run = NodeToRun(what, NAMESPACE, parameters=parameters)
    sys.argv = [what, *run.ros_arguments()]
    log = os.open(f"{what}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if what == "rtc_controller":
        controller_node.main()
    else:
        import faulty_inference

        faulty_inference.main()


WORK = {
    "writer": writer,
    "rtc_controller": lambda: node("rtc_controller"),
    "rtc_inference": lambda: node("rtc_inference"),
}


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin:
        what = line.strip()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                WORK[what]()
            finally:
                os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
