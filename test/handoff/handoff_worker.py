"""A small process that forks writers and readers on command, to be killed at any moment.

Commands, one a line on standard input: ``<what> <name> ...``; the answer is the child's pid.
Runs before any thread exists, so forking is safe, and costs a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import handoff_samples as samples

from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing


def write_ring(name: str) -> None:
    ring = ChunkRing.create(name, samples.BIG_RING, slots=4)
    made = [samples.chunk(number, samples.BIG_RING) for number in range(1, 9)]
    number = 0
    while True:  # chunk `seq` has the content of number (seq - 1) % 8 + 1
        ring.write(made[number % 8])
        number += 1


def write_cursor(name: str) -> None:
    cursor = StepCursor.create(name, samples.BIG_CURSOR, slots=4)
    made = [samples.state(number, samples.BIG_CURSOR) for number in range(1, 9)]
    number = 0
    while True:
        cursor.write(made[number % 8])
        number += 1


class DyingAt:
    """Memory in which the process is killed when ``at`` bytes of a store are there."""

    def __init__(self, memory: memoryview, at: int) -> None:
        self._memory, self._at = memory.cast("B"), at

    def __setitem__(self, place: object, value: bytes | int) -> None:
        stored = value.to_bytes(8, "little") if isinstance(value, int) else value
        self._memory[: self._at] = stored[: self._at]
        os.kill(os.getpid(), signal.SIGKILL)


def die_writing(name: str, kind: str, where: str, at: str) -> None:
    """Write six times, and die in the seventh: in its body, its digest or the published number."""
    side: ChunkRing | StepCursor
    if kind == "ring":
        side = ChunkRing.create(name, samples.SPEC, slots=4)
        made = [samples.chunk(number) for number in range(8)]
    else:
        side = StepCursor.create(name, samples.SPEC, slots=4)
        made = [samples.state(number) for number in range(8)]
    for number in range(1, 7):
        side.write(made[number])
    memory = side._writer()._memory
    body, seal = memory.slots[7 % 4]
    if where == "body":
        body = DyingAt(body, int(at))
    elif where == "digest":
        seal = DyingAt(seal, int(at))
    else:
        memory.published = DyingAt(memory.published, int(at))
    memory.slots[7 % 4] = (body, seal)
    side.write(made[7])


def hold_ring(name: str) -> None:
    """Write one chunk and stay."""
    ring = ChunkRing.create(name, samples.SPEC)
    ring.write(samples.chunk(1))
    time.sleep(600)


def read_ring(name: str) -> None:
    """Read one chunk and leave as a script does."""
    with ChunkRing.attach(name, samples.SPEC) as ring:
        assert ring.read_newest() is not None


def read_ring_for_ever(name: str) -> None:
    ring = ChunkRing.attach(name, samples.SPEC)
    while True:
        ring.read_newest()


WORK: dict[str, Callable[..., None]] = {
    work.__name__: work
    for work in (write_ring, write_cursor, die_writing, hold_ring, read_ring, read_ring_for_ever)
}


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin:
        what, *arguments = line.split()
        pid = os.fork()
        if pid == 0:
            WORK[what](*arguments)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
