"""Checks every message of a controller against what must hold whatever fails.

Nothing torn or misplaced: each executed row is, bit by bit, the row ``step − origin_step`` of the
chunk that it names; steps follow each other by one. The command topics carry what was executed, in
the driver's order. What holds between messages, arm and time is in ``invariants.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.cursor import Mode

Rows = Callable[[tuple[int, int], int], "np.ndarray | None"]
"""(chunk's name, step) → the row [A] that the chunk has for that step; None: not known (yet)"""


@dataclass(frozen=True)
class Tick:
    """One message of ~/executed: when the tick was, why, where the step count was, whose chunk."""

    at_ns: int
    reason: str
    step_epoch: int
    step: int
    tick: int
    counted: bool
    chunk_epoch: int = -1
    number: int = 0

    @property
    def executes(self) -> bool:
        return self.reason == "execute"


class Watcher:
    """``problems`` stays empty as long as everything held; safe to feed from one thread."""

    def __init__(
        self,
        joints: Sequence[str],
        rows: Rows | None = None,
        points: int = 1,
    ) -> None:
        self.joints = list(joints)
        self.problems: list[str] = []
        self.ticks: list[Tick] = []
        self.by_stamp = True
        """Ticks are dated by their stamps, the system's time; False: by their arrival."""
        self.lost = 0
        """Ticks that a busy machine didn't bring us; the checks allow for them."""
        self.commands = 0
        self.compared = 0
        self.pose = np.zeros(len(self.joints))
        """What was commanded last."""
        self.chunks: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        self._between = points > 1
        """Of what is sent between the rows, invariants.py checks that it ends there."""
        self._rows = rows or self._published_rows
        self._open: list[tuple[tuple[int, int], int, np.ndarray]] = []
        self._rows_out: set[tuple[float, ...]] = set()
        self._heard: set[tuple[str, tuple[float, ...]]] = set()
        self.lock = threading.Lock()

    # -- what comes in ----------------------------------------------------------------------

    def on_chunk(self, message: JointTrajectory) -> None:
        """Take a copy of a chunk from ~/chunk."""
        words = dict(w.split("=", 1) for w in message.header.frame_id.split())
        actions = np.array([p.positions for p in message.points])
        with self.lock:
            name = (int(words["epoch"]), int(words["seq"]))
            self.chunks[name] = (int(words["origin_step"]), actions)

    def _published_rows(self, name: tuple[int, int], step: int) -> np.ndarray | None:
        origin, actions = self.chunks.get(name, (0, None))
        return None if actions is None else actions[step - origin]

    def on_executed(self, message: JointState, number: int = 0) -> None:
        """Check one tick; ``number``: which one of its publisher's messages, 0 if not known."""
        with self.lock:
            self._executed(message, number)

    def _executed(self, message: JointState, number: int) -> None:
        fields = dict(zip(message.name, message.position, strict=True))
        row = np.array([fields[j] for j in self.joints])
        wanted = np.array(message.velocity[: len(self.joints)])
        stamp = message.header.stamp
        at_ns = stamp.sec * 10**9 + stamp.nanosec if self.by_stamp else time.time_ns()
        tick = Tick(
            at_ns,
            message.header.frame_id,
            int(fields["rtc/step_epoch"]),
            int(fields["rtc/step"]),
            int(fields["rtc/tick"]),
            fields["rtc/mode"] not in (Mode.FAULT, Mode.STOPPED, Mode.LATCHED),
            int(fields["rtc/chunk_epoch"]),
            number,
        )
        self._order(tick)
        self.ticks.append(tick)
        if np.isfinite(row).all():
            self._rows_out.add(tuple(row))
        if not tick.executes:
            return
        origin, index = int(fields["rtc/origin_step"]), int(fields["rtc/row"])
        if index != tick.step - origin or index < 0:
            self._wrong(f"step {tick.step} is row {index} of a chunk from step {origin} on")
        name = (int(fields["rtc/chunk_epoch"]), int(fields["rtc/chunk_seq"]))
        self._open.append((name, tick.step, wanted))

    def _order(self, tick: Tick) -> None:
        """Check the step against the last tick's; count the ticks that we didn't hear."""
        last = self.ticks[-1] if self.ticks else None
        if last is None or last.step_epoch != tick.step_epoch:
            if last is not None and tick.step_epoch < last.step_epoch:
                self._wrong(f"run {tick.step_epoch} after run {last.step_epoch}")
            # While its publisher was being discovered we may have missed the run's first ticks.
            self.lost += tick.tick
            return
        # What a driver did by itself isn't counted among the ticks while it was braked.
        lost = max(tick.tick - last.tick - last.counted, 0)
        if self._between:
            # A hold that isn't of its mode ("until … is heard of") isn't counted either: where a
            # reader of set points falls behind and loses the tick after it, only numbers tell.
            lost = max(lost, tick.number - last.number - 1)
        due = last.step + last.executes
        if not due <= tick.step <= due + lost:
            self._wrong(f"step {tick.step} ({tick.reason}) where {due} was due, {lost} not heard")
        self.lost += lost

    def on_command(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Check one message to a driver: ``values`` for the joints ``names``."""
        with self.lock:
            self.commands += 1
            for name, value in zip(names, values, strict=True):
                self.pose[self.joints.index(name)] = value
            key = (",".join(names), tuple(values))
            if not self._between:
                self._heard.add(key)

    # -- what came of it --------------------------------------------------------------------

    def settle(self) -> None:
        """Compare what can be compared by now."""
        with self.lock:
            left = []
            for name, step, wanted in self._open:
                row = self._rows(name, step)
                if row is None:
                    left.append((name, step, wanted))
                    continue
                self.compared += 1
                if not np.array_equal(row, wanted):
                    self._wrong(f"step {step} of chunk {name} is {wanted}, it holds {row}")
            self._open = left
            unknown = set()
            for names in {names for names, _ in self._heard}:
                columns = [self.joints.index(n) for n in names.split(",")]
                known = {tuple(row[c] for c in columns) for row in self._rows_out}
                unknown |= {(n, values) for n, values in self._heard if n == names} - {
                    (names, row) for row in known
                }
            self._heard = unknown

    @property
    def unknown_chunks(self) -> set[tuple[int, int]]:
        """Chunks that were executed and never seen, so not compared."""
        return {name for name, _, _ in self._open}

    @property
    def unknown_commands(self) -> list[tuple[str, tuple[float, ...]]]:
        """Commands that no executed row explains, as of the last ``settle``."""
        return list(self._heard)

    def _wrong(self, what: str) -> None:
        self.problems.append(what)

    # -- for tests --------------------------------------------------------------------------

    def since(self, at_ns: int) -> list[Tick]:
        """Return the ticks after ``at_ns`` (of the system's clock)."""
        with self.lock:
            i = len(self.ticks)
            while i and self.ticks[i - 1].at_ns > at_ns:
                i -= 1
            return self.ticks[i:]


def runs_of(ticks: Sequence[Tick]) -> list[tuple[str, int]]:
    """Return (reason, how many in a row) for a stretch of ticks."""
    found: list[tuple[str, int]] = []
    for tick in ticks:
        if found and found[-1][0] == tick.reason:
            found[-1] = (tick.reason, found[-1][1] + 1)
        else:
            found.append((tick.reason, 1))
    return found
