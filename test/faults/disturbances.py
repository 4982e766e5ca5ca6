"""Disturb robots at random, again and again; each message in between is checked.

    python3 test/faults/disturbances.py --count 1000 --seed 1

Emergency stops with and without joint states, hands that move a limp arm or push one that is held,
stalls of the controller, of a driver and of the inference side, kills of both, late, lost and
repeated chunks, starvation, joint states that stop or freeze; some of them at once. A *life* is a
robot with command types, limits and lags drawn by chance; after some disturbances it is replaced.
Several robots live at a time. Exit code 1 where an invariant was broken or a robot stayed still;
a violation's line says the seed, robot, life and disturbance, which name the draw.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from farm import Farm, Order
from fault_system import COMMON, TRANSPORT, FaultSystem
from invariants import GUARDED

KINDS = (
    "joint_state",
    "float64_multi_array",
    "joint_trajectory",
    "joint_trajectory_chunk",
    "joint_group_command",
    "joint_single_command",
)
LIFE = 12
"""Disturbances in a life."""
PATIENCE_S = 30.0


def draw_parameters(
    chance: random.Random, kinds: Sequence[str] = KINDS, command_rate: float = 0.0
) -> dict[str, Any]:
    """Return a controller's parameters: groups, limits and tolerances, within reason."""
    groups: dict[str, tuple[str, list[str]]] = {}
    joints: list[str] = []
    for i in range(chance.choice((1, 2, 2, 3))):
        kind = chance.choice(kinds)
        size = 1 if kind == "joint_single_command" else chance.choice((1, 2, 3))
        own = [f"j{len(joints) + k}" for k in range(size)]
        joints += own
        chance.shuffle(own)
        groups[f"g{i}"] = (kind, own)
    velocity = chance.uniform(0.4, 2.0)
    acceleration = chance.uniform(4.0, 25.0)
    period_s = COMMON["control_period"]
    made: dict[str, Any] = {
        **COMMON,
        "joints": joints,
        "joint_state_timeout": chance.choice((0.2, 0.3, 0.5)),
        "position_lower": [-1.2],
        "position_upper": [1.2],
        "max_velocity": [velocity],
        "max_acceleration": [acceleration],
        "soft_start": chance.choice((0.0, 0.2, 0.5)),
        "limit_mode": chance.choice(("joint", "joint", "path")),
        "resume_tolerance": [chance.uniform(0.08, 0.3)],
        "following_tolerance": [0.1 + 0.15 * velocity + chance.uniform(0.0, 0.3)],
        "start_when_ready": True,
        # As in config/: where it is granted, the tick doesn't wait for what else the machine does.
        "realtime_priority": 50,
        "command_groups": list(groups),
    }
    if command_rate and all(kind != "joint_trajectory_chunk" for kind, _ in groups.values()):
        made["command_rate"] = command_rate
    if chance.random() < 0.4:
        made["max_jerk"] = [2 * acceleration / (chance.uniform(1.5, 7.0) * period_s)]
    for name, (kind, own) in groups.items():
        made[f"group.{name}.topic"] = f"{name}/commands"
        made[f"group.{name}.type"] = kind
        made[f"group.{name}.joints"] = own
    return made


class Life:
    """One robot, its controller and its writer, from their start to their end.

    ``arm`` are options of the arm; everything by chance comes from ``chance``.
    """

    def __init__(
        self, order: Order, farm: Farm, folder: Path, chance: random.Random, **arm: Any
    ) -> None:
        self.chance, self.farm = chance, farm
        folder.mkdir()
        self.word_file = folder / "word"
        self.word_file.write_text("")
        self.order = replace(order, word_file=str(self.word_file))
        self.system = FaultSystem(
            folder, lambda chunk, step: order.row(*chunk, step), order.namespace,
            order.parameters, arm,
        )  # fmt: skip
        self.arm, self.states = self.system.arm, self.system.states
        self.invariants = self.system.invariants
        self.starts = 0
        self._killed: set[int] = set()
        self._starting = threading.Lock()
        self.context = ""
        self.stuck: list[str] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "emergency stop, joint states go on": self._stop_seen,
            "emergency stop without joint states": self._stop_unseen,
            "a hand moves the limp arm": self._hand_on_limp,
            "a hand moves the limp arm, joint states missing": self._hand_unseen,
            "a hand pushes the arm that is held": self._push,
            "the arm sags": self._sag,
            "the controller stands still": self._stall_controller,
            "a driver stands still": self._stall_driver,
            "a driver stands still, joint states too": self._stall_driver_silent,
            "the inference side stands still": self._stall_writer,
            "the inference side is killed": self._kill_writer,
            "the controller is killed": self._kill_controller,
            "the controller is ended": self._end_controller,
            "chunks come late": lambda: self._word(f"late {self._time(0.1, 0.7):.2f}"),
            "chunks get lost": lambda: self._word("lost"),
            "chunks come thrice": lambda: self._word("repeat"),
            "no chunks come": lambda: self._word("silent"),
            "joint states stop": self._stale,
            "joint states of one joint stop": self._stale_joint,
            "joint states repeat a stamp": self._frozen,
            "stop and start": self._stop_service,
        }
        self.weights = [1.0] * len(self.kinds)
        for kind in ("the controller is killed", "the controller is ended"):
            self.weights[list(self.kinds).index(kind)] = 0.5

    @classmethod
    def drawn(
        cls, name: str, chance: random.Random, farm: Farm, folder: Path, types: Sequence[str],
        command_rate: float = 0.0,
    ) -> Life:  # fmt: skip
        """Return one as chance has it."""
        order = Order(
            name, draw_parameters(chance, types, command_rate), "",
            chance.uniform(0.2, 0.8), chance.choice((120.0, 200.0, 400.0)),
        )  # fmt: skip
        lag_s, speed = chance.choice((0.0, 0.02, 0.05)), chance.uniform(3.0, 8.0)
        made = cls(order, farm, folder, chance, lag_s=lag_s, speed=speed)
        for driver in made.arm.drivers.values():
            driver.latches = chance.random() < 0.5
        return made

    # -- the life ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Start it, and wait until it moves."""
        for what in ("rtc_controller", "writer"):
            self.farm.start(what, self.order)
        self.until_moving()

    def disturb(self, context: str) -> list[str]:
        """Disturb it once or twice at a time, and wait until it moves again; return the kinds."""
        self.context = context
        self.invariants.contexts.append((time.time(), context))
        chance = self.chance
        time.sleep(chance.uniform(0.0, 0.3))
        several = 2 if chance.random() < 0.3 else 1
        kinds = chance.choices(list(self.kinds), self.weights, k=several)
        threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
            time.sleep(chance.uniform(0.0, 0.4))
        for thread in threads:
            thread.join()
        self._calm()
        self.until_moving()
        return kinds

    def _run(self, kind: str) -> None:
        with self.system.disturbance(kind):
            self.kinds[kind]()

    def _calm(self) -> None:
        """End whatever two disturbances at once may have left."""
        self.word_file.write_text("")
        self.states.silent_joints, self.states.frozen_stamp = set(), None
        self.arm.push(np.zeros(len(self.arm.joints)))
        for name in self.arm.drivers:
            if self.arm.drivers[name].stands:
                self.arm.go_on(name)
        self.arm.release()
        for what in ("rtc_controller", "writer"):
            self.farm.signal(what, signal.SIGCONT, self.order.namespace)

    def until_moving(self) -> None:
        """Wait for motion; where a guard closed the gate, open it."""
        begun, since = time.monotonic(), time.time_ns()
        asked = begun
        while not any(t.executes for t in self.system.watcher.since(since)):
            now = time.monotonic()
            if now - begun > PATIENCE_S:
                self.stuck.append(
                    f"{self.context}: no motion in {PATIENCE_S} s: ~/start says {self.answered}, "
                    f"{self.system.diagnostics}, {json.dumps(self.order.parameters)}"
                )
                print(self.stuck[-1], flush=True)
                return
            if now - asked > (0.6 if now - begun < 3.0 else 0.2):
                asked = now
                self._start()
            time.sleep(0.01)

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = 20.0) -> None:
        """Wait until ``condition()`` holds."""
        self.system.until(condition, what, patience_s)

    answered: Any = None

    def _start(self) -> None:
        answer = self.answered = self.call("start")
        self.starts += answer is not None and answer.success
        last = self.system.watcher.ticks[-1].reason if self.system.watcher.ticks else ""
        refused = answer is not None and "already started" in answer.message
        if refused and any(guard in last for guard in GUARDED):  # and the gate is open
            self.call("stop")

    def call(self, name: str) -> Any:
        from std_srvs.srv import Trigger

        client = self._clients.get(name)
        if client is None:
            client = self.system.node.create_client(Trigger, f"rtc_controller/{name}")
            self._clients[name] = client
        if not client.service_is_ready():
            return None
        future = client.call_async(Trigger.Request())
        end = time.monotonic() + 1.0
        while not future.done() and time.monotonic() < end:
            time.sleep(0.005)
        return future.result() if future.done() else None

    @property
    def _clients(self) -> dict[str, Any]:
        made: dict[str, Any] = self.__dict__.setdefault("_made", {})
        return made

    def end(self) -> None:
        """End its processes and nodes."""
        for what in ("rtc_controller", "writer"):
            if (what, self.order.namespace) in self.farm.pids:
                self.farm.signal(what, signal.SIGKILL, self.order.namespace)
        self.system.settle(1.0)
        self.system.watcher.settle()
        self.system.down()

    # -- the disturbances -------------------------------------------------------------------

    def _time(self, least: float, most: float) -> float:
        return self.chance.uniform(least, most)

    def _off(self) -> list[int]:
        """Take the torque of all joints, or of one driver's."""
        every = list(range(len(self.arm.joints)))
        driver = self.chance.choice(list(self.arm.drivers.values()))
        columns = every if self.chance.random() < 0.6 else driver.columns
        self.arm.torque_off(columns)
        return columns

    def _lead(self, columns: list[int]) -> None:
        to = np.full(len(self.arm.joints), np.nan)
        for column in columns:
            if self.chance.random() < 0.7:
                to[column] = self.arm.pose[column] + self._time(-0.7, 0.7)
        self.arm.lead(to, self._time(0.3, 3.0))

    def _stop_seen(self) -> None:
        self._off()
        time.sleep(self._time(0.1, 1.2))
        self.arm.release()

    def _stop_unseen(self) -> None:
        self.states.silent_joints = set(self.arm.joints)
        self._off()
        time.sleep(self._time(0.1, 1.2))
        self._back_in_some_order()

    def _back_in_some_order(self) -> None:
        def states() -> None:
            self.states.silent_joints = set()

        order = [states, self.arm.release]
        self.chance.shuffle(order)
        order[0]()
        time.sleep(self._time(0.0, 0.4))
        order[1]()

    def _hand_on_limp(self) -> None:
        columns = self._off()
        time.sleep(self._time(0.0, 0.5))
        self._lead(columns)
        time.sleep(self._time(0.1, 0.8))
        self.arm.release()

    def _hand_unseen(self) -> None:
        self.states.silent_joints = set(self.arm.joints)
        columns = self._off()
        time.sleep(self._time(0.0, 0.7))
        self._lead(columns)
        time.sleep(self._time(0.1, 0.8))
        self._back_in_some_order()

    def _push(self) -> None:
        by = np.zeros(len(self.arm.joints))
        by[self.chance.randrange(len(by))] = self.chance.choice((-1, 1)) * self._time(0.05, 0.6)
        self.arm.push(by)
        time.sleep(self._time(0.1, 0.8))
        self.arm.push(0 * by)

    def _sag(self) -> None:
        self.arm.push(np.full(len(self.arm.joints), -self._time(0.01, 0.06)))
        time.sleep(self._time(0.3, 0.8))
        self.arm.push(np.zeros(len(self.arm.joints)))

    def stall(self, what: str, seconds: float) -> None:
        if what == "rtc_controller":
            self.invariants.stall(True, time.time())
        self.farm.signal(what, signal.SIGSTOP, self.order.namespace)
        time.sleep(seconds)
        self.farm.signal(what, signal.SIGCONT, self.order.namespace)
        if what == "rtc_controller":
            self.invariants.stall(False, time.time())

    def _stall_controller(self) -> None:
        self.stall("rtc_controller", self.chance.choice((0.03, 0.06, 0.1, 0.3, 0.8))
                    * self._time(0.7, 1.3))  # fmt: skip

    def _stall_writer(self) -> None:
        self.stall("writer", self._time(0.1, 1.0))

    def _stall_driver(self) -> None:
        name = self.chance.choice(list(self.arm.drivers))
        self.arm.stand_still(name)
        time.sleep(self._time(0.05, 0.8))
        self.arm.go_on(name)

    def _stall_driver_silent(self) -> None:
        self.states.silent_joints = set(self.arm.joints)
        self._stall_driver()
        self.states.silent_joints = set()

    def _kill_writer(self) -> None:
        self.system.kills += 1
        self.farm.signal("writer", signal.SIGKILL, self.order.namespace)
        time.sleep(self._time(0.0, 0.6))
        self.farm.start("writer", self.order)

    def _kill_controller(self) -> None:
        self.system.kills += 1
        self._killed.add(self.farm.pids["rtc_controller", self.order.namespace])
        self.farm.signal("rtc_controller", signal.SIGKILL, self.order.namespace)
        time.sleep(self._time(0.0, 0.3))
        self._start_controller()

    def _start_controller(self) -> None:
        """Start one, unless another disturbance of the moment did."""
        with self._starting:
            if not self.farm.alive("rtc_controller", self.order.namespace):
                self.farm.start("rtc_controller", self.order)

    def _end_controller(self) -> None:
        self.system.kills += 1
        pid, asked_s = self.farm.pids["rtc_controller", self.order.namespace], time.time()
        self.farm.signal("rtc_controller", signal.SIGTERM, self.order.namespace)
        self.until(lambda: not Path(f"/proc/{pid}").exists(), "its end")
        if pid not in self._killed:
            self.invariants.ended.append((asked_s, time.time()))
            self._start_controller()

    def _word(self, word: str) -> None:
        self.word_file.write_text(word)
        time.sleep(self._time(0.4, 1.4))
        self.word_file.write_text("")

    def _stale(self) -> None:
        self.states.silent_joints = set(self.arm.joints)
        time.sleep(self._time(0.1, 1.0))
        self.states.silent_joints = set()

    def _stale_joint(self) -> None:
        self.states.silent_joints = {self.chance.choice(self.arm.joints)}
        time.sleep(self._time(0.1, 1.0))
        self.states.silent_joints = set()

    def _frozen(self) -> None:
        self.states.frozen_stamp = self.system.stamp()
        time.sleep(self._time(0.1, 1.0))
        self.states.frozen_stamp = None

    def _stop_service(self) -> None:
        self.call("stop")
        time.sleep(self._time(0.0, 0.4))
        self.call("start")


@dataclass
class Figures:
    """What came of it; that of several robots can be added."""

    seed: int
    done: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __add__(self, other: Figures) -> Figures:
        worst = {
            name: max(side.worst.get(name, (-np.inf, "")) for side in (self, other))
            for name in {**self.worst, **other.worst}
        }
        return Figures(
            self.seed, self.done + other.done, self.kinds + other.kinds,
            self.types + other.types, self.counts + other.counts,
            self.problems + other.problems, self.stuck + other.stuck, worst,
        )  # fmt: skip

    def add(self, life: Life) -> None:
        """Add what a life that is over has seen."""
        invariants = life.invariants
        problems = invariants.problems + life.system.watcher.problems
        self.stuck += life.stuck
        self.counts.update(invariants.counts)
        self.counts["rows compared bit by bit"] += life.system.watcher.compared
        self.counts["starts after a guard or a stop"] += life.starts
        for driver in life.arm.drivers.values():
            self.types[driver.kind] += 1
            if driver.refused:
                problems.append(f"{driver.kind} refused {driver.refused[:3]}")
        if problems:
            parameters = life.order.parameters
            known = {k: v for k, v in parameters.items() if k not in COMMON or k == "joints"}
            lag = f"lag {life.arm.lag_s[0]:g} s"
            self.problems += [*problems, f"  of {json.dumps(known)}, {lag}"]
        for name, (value, where) in invariants.worst.items():
            self.worst[name] = max((value, where), self.worst.get(name, (-np.inf, "")))

    def __str__(self) -> str:
        lines = [f"{self.done} disturbances, seed {self.seed}, {sum(self.types.values())} drivers"]
        lines += [f"  {n:5d} {kind}" for kind, n in sorted(self.kinds.items())]
        lines += [f"  {n:5d} {kind}" for kind, n in sorted(self.types.items())]
        lines += [f"  {n:7d} {what}" for what, n in sorted(self.counts.items())]
        lines.append("the worst of each, relative to its bound (figures: as they are)")
        for name, (value, where) in sorted(self.worst.items()):
            lines.append(f"  {value:8.3f} {name} [{where}]")
        broken = sum(n for what, n in self.counts.items() if what.startswith("violations"))
        lines.append(f"{max(broken, len(self.problems))} violations, {len(self.stuck)} stuck")
        return "\n".join(lines)


def robot(
    number: int, count: int, seed: int, folder: Path, types: Sequence[str] = KINDS,
    command_rate: float = 0.0,
) -> Figures:  # fmt: skip
    """Let one robot live again and again, until ``count`` disturbances are done."""
    figures = Figures(seed)
    farm = Farm(folder)
    lives = 0
    try:
        while figures.done < count:
            name = f"r{number}_{lives}"
            lives += 1
            chance = random.Random(f"{seed} {name}")
            life = Life.drawn(name, chance, farm, folder / name, types, command_rate)
            try:
                life.context = f"seed {seed}, {name}, start"
                life.invariants.contexts.append((0.0, life.context))
                life.begin()
                for i in range(LIFE):
                    if figures.done >= count or life.stuck:
                        break
                    kinds = life.disturb(f"seed {seed}, {name}, disturbance {i}")
                    figures.kinds.update(kinds)
                    figures.done += len(kinds)
                figures.done += bool(life.stuck)
            finally:
                life.end()
                told = len(figures.problems)
                figures.add(life)
            for problem in figures.problems[told:]:
                print(problem, flush=True)
            counts = figures.counts
            print(
                f"robot {number}: {figures.done} disturbances, {counts['messages']} messages, "
                f"{counts['messages not heard']} not heard",
                flush=True,
            )
    finally:
        farm.close()
    return figures


def disturb(
    count: int, seed: int, folder: Path, robots: int = 4, types: Sequence[str] = KINDS,
    command_rate: float = 0.0,
) -> Figures:  # fmt: skip
    """Run a campaign: each robot with a process of its own, so that none waits for another."""
    folders = [folder / f"robot{r}" for r in range(robots)]
    for made in folders:
        made.mkdir()
    with ProcessPoolExecutor(robots, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(robot, r, -(-count // robots), seed, made, types, command_rate)
            for r, made in enumerate(folders)
        ]
        figures = [job.result() for job in jobs]
    return functools.reduce(lambda a, b: a + b, figures)


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--robots", type=int, default=4, help="how many live at a time")
    parser.add_argument("--show", type=int, default=40, help="how many violations to print")
    parser.add_argument("--types", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--command-rate", type=float, default=0.0, help="set points [Hz]")
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rtc_ros_disturbances_", dir="/dev/shm") as folder:
        os.environ["RTC_ROS_SHM_DIR"] = folder
        os.environ.update([TRANSPORT])
        made = disturb(options.count, options.seed, Path(folder), options.robots, options.types,
                       options.command_rate)  # fmt: skip
    for problem in (made.stuck + made.problems)[: options.show]:
        print(problem)
    print(made)
    print(f"in {(time.monotonic() - begun) / 60:.1f} minutes")
    return 1 if made.problems or made.stuck else 0


if __name__ == "__main__":
    sys.exit(main())
