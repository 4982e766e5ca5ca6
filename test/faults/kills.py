"""Kill both sides at random moments, again and again; each message in between is checked.

    python3 test/faults/kills.py --kills 1000

Half of the kills meet the controller, half the inference side: a fast writer (``--inference
writer``, a chunk each three steps) or the real node (``rtc_inference``, with a policy made up).
They come while the arm moves, and after each third one more, wherever that start has got to.
After each fourth one of the two stands still for a while (SIGSTOP), and goes on.
Exit code 1 where anything torn, misplaced or outside the limits went out, or a process didn't
come back.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from farm import Farm
from fault_system import TRANSPORT, FaultSystem
from process_farm import Order
from watcher import Tick


class Campaign:
    """Kills, and waits for motion in between."""

    def __init__(self, folder: Path, inference: str, seed: int, namespace: str = "") -> None:
        self.inference = inference
        self.order = Order(namespace)
        rows = (
            (lambda name, step: self.order.row(*name, step)) if inference == "writer" else None
        )
        self.system = FaultSystem(folder, rows, namespace)
        self.farm = Farm(folder)
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.back_s: dict[str, list[float]] = {"rtc_controller": [], inference: []}
        self.on_s: dict[str, list[float]] = {"rtc_controller": [], inference: []}
        self.held: list[int] = []

    def run(self, kills: int) -> None:
        for what in ("rtc_controller", self.inference):
            self.farm.start(what, self.order)
        self._wait(time.time_ns(), 60.0)
        for number in range(kills):
            what = ("rtc_controller", self.inference)[number % 2]
            self._kill(what, anywhere=number % 3 == 2)
            self.system.watcher.settle()
            if number % 4 == 3:
                self._stop(self.chance.choice(("rtc_controller", self.inference)))
            if number % 100 == 99:
                print(f"{number + 1} kills, {self.summary()}", flush=True)

    def _kill(self, what: str, *, anywhere: bool) -> None:
        time.sleep(self.chance.uniform(0.0, 0.2))
        seen = max(tick.chunk_epoch for tick in list(self.system.watcher.ticks))
        self._signal(what, signal.SIGKILL)
        self.kills[what] += 1
        begun = time.time_ns()
        self.farm.start(what, self.order)
        if anywhere:
            # The next kill of this side meets it wherever its start has got to.
            time.sleep(self.chance.uniform(0.0, 0.25))
            self._signal(what, signal.SIGKILL)
            self.kills[f"{what} while starting"] += 1
            begun = time.time_ns()
            self.farm.start(what, self.order)
        self._wait(begun, newer_than=-1 if what == "rtc_controller" else seen)
        self.back_s[what].append((time.time_ns() - begun) * 1e-9)

    def _stop(self, what: str) -> None:
        time.sleep(self.chance.uniform(0.0, 0.2))
        self._signal(what, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.01, 1.0))
        self._signal(what, signal.SIGCONT)
        self.kills[f"{what} stopped"] += 1
        begun = time.time_ns()
        self._wait(begun)
        self.on_s[what].append((time.time_ns() - begun) * 1e-9)

    def _signal(self, what: str, number: int) -> None:
        if what == "rtc_controller" and number != signal.SIGKILL:
            self.system.invariants.stall(number == signal.SIGSTOP, time.time())
        if number == signal.SIGKILL:
            self.system.kills += 1
        self.farm.signal(what, number, self.order.namespace)

    def _wait(self, begun_ns: int, patience_s: float = 120.0, newer_than: int = -1) -> None:
        """Wait for motion by a chunk of a process that came after the one of epoch ``newer_than``.

        Longer than the middleware takes to forget a dead participant and find a new one (20 s).
        """
        deadline = time.monotonic() + patience_s
        watcher = self.system.watcher

        def moves(tick: Tick) -> bool:
            return tick.executes and tick.chunk_epoch > newer_than

        while not any(map(moves, watcher.since(begun_ns))):
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"no motion in {patience_s} s: {self.system.diagnostics}; {self.summary()}"
                )
            time.sleep(0.002)
        ticks = watcher.since(begun_ns)
        until = next(i for i, tick in enumerate(ticks) if moves(tick))
        self.held.append(sum(not tick.executes for tick in ticks[:until]))

    @property
    def problems(self) -> list[str]:
        """What was broken."""
        system = self.system
        return system.watcher.problems + system.invariants.problems + system.unexplained()

    def summary(self) -> str:
        watcher = self.system.watcher
        back = ", ".join(
            f"{what} moves {np.median(v):.2f} s (at most {max(v):.2f} s) after {then}"
            for seconds, then in ((self.back_s, "its start"), (self.on_s, "SIGCONT"))
            for what, v in seconds.items()
            if v
        )
        return (
            f"{dict(self.kills)}, {len(watcher.ticks)} ticks ({watcher.lost} not heard), "
            f"{watcher.compared} rows compared bit by bit, {watcher.commands} commands, "
            f"{len(self.problems)} violations, "
            f"{len(watcher.unknown_chunks)} chunks unknown; {back}"
        )

    def close(self) -> None:
        self.farm.close()
        self.system.down()


def campaign(kills: int, inference: str, seed: int, folder: Path, namespace: str = "") -> Campaign:
    """Run one and return it, closed."""
    made = Campaign(folder, inference, seed, namespace)
    try:
        made.run(kills)
        made.system.settle()
        made.system.watcher.settle()
    finally:
        made.close()
    return made


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--inference", choices=("writer", "rtc_inference"), default="writer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtc_ros_kills_", dir="/dev/shm") as folder:
        os.environ["RTC_ROS_SHM_DIR"] = folder
        os.environ.update([TRANSPORT])
        made = campaign(options.kills, options.inference, options.seed, Path(folder))
    print(made.summary())
    for problem in made.problems[:20]:
        print(problem)
    return 1 if made.problems else 0


if __name__ == "__main__":
    sys.exit(main())
