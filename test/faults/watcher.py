"""Checks every message of a controller against what must hold whatever fails.

Nothing torn or misplaced: each executed row is, bit by bit, the row ``step − origin_step`` of the
chunk that it names; steps follow each other by one. No command outside position and velocity
limits, over restarts too. The command topics carry what was executed, in the driver's order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.core.cursor import Mode

ROUNDING = 1e-9
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

    @property
    def executes(self) -> bool:
        return self.reason == "execute"


class Watcher:
    """``problems`` stays empty as long as everything held; safe to feed from one thread."""

    def __init__(
        self,
        joints: Sequence[str],
        lower: float,
        upper: float,
        max_step: float,
        max_bend: float = np.inf,
        rows: Rows | None = None,
        period_s: float = 0.02,
    ) -> None:
        self.period_s = period_s
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
        self._rows = rows or self._published_rows
        self._limits = (lower, upper, max_step, max_bend)
        self._open: list[tuple[tuple[int, int], int, np.ndarray]] = []
        self._rows_out: set[tuple[float, ...]] = set()
        self.published: deque[tuple[float, np.ndarray]] = deque(maxlen=2000)
        """When (system's clock [s]) the drivers published which pose."""
        self._last = self.pose.copy()
        self._velocity: Any = np.zeros(len(self.joints))
        """Of the last tick of this run, None: not known; a new run begins at rest."""
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

    def on_executed(self, message: JointState) -> None:
        """Check one tick."""
        with self.lock:
            self._executed(message)

    def _executed(self, message: JointState) -> None:
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
        )
        lost = self._order(tick)
        self.ticks.append(tick)
        if np.isfinite(row).all():
            self._limit(row, tick, lost)
            self._rows_out.add(tuple(row))
        if not tick.executes:
            return
        origin, index = int(fields["rtc/origin_step"]), int(fields["rtc/row"])
        if index != tick.step - origin or index < 0:
            self._wrong(f"step {tick.step} is row {index} of a chunk from step {origin} on")
        name = (int(fields["rtc/chunk_epoch"]), int(fields["rtc/chunk_seq"]))
        self._open.append((name, tick.step, wanted))

    def _order(self, tick: Tick) -> int:
        """Check the step against the last tick's; return the ticks that we didn't hear."""
        last = self.ticks[-1] if self.ticks else None
        if last is None or last.step_epoch != tick.step_epoch:
            if last is not None and tick.step_epoch < last.step_epoch:
                self._wrong(f"run {tick.step_epoch} after run {last.step_epoch}")
            # What a killed process sent last we know from where its driver stood then. While its
            # publisher was being discovered we may have missed the run's first ticks.
            first = tick.tick == 0 and not tick.executes
            self._velocity = np.zeros(len(self.joints)) if first else None
            self._last = self._stood_at(tick.at_ns)
            self.lost += tick.tick
            return tick.tick
        lost = tick.tick - last.tick - last.counted
        due = last.step + last.executes
        if not due <= tick.step <= due + lost:
            self._wrong(f"step {tick.step} ({tick.reason}) where {due} was due, {lost} not heard")
        self.lost += lost
        return lost

    def _stood_at(self, at_ns: int) -> np.ndarray:
        """Return what the drivers published last before ``at_ns``."""
        if not self.by_stamp:
            return self._last
        before = [pose for at_s, pose in list(self.published) if at_s * 1e9 <= at_ns]
        return before[-1] if before else self._last

    def _limit(self, row: np.ndarray, tick: Tick, lost: int) -> None:
        lower, upper, max_step, max_bend = self._limits
        if (row < lower - ROUNDING).any() or (row > upper + ROUNDING).any():
            self._wrong(f"step {tick.step}: {row} is outside {lower} and {upper}")
        before = self._last
        if tick.executes and len(self.ticks) > 1 and not self.ticks[-2].executes:
            # It goes on between its last command and where the arm was moved to; how near to the
            # arm that has to be is for invariants.py to say.
            stood = self._stood_at(tick.at_ns)
            before = np.clip(row, np.minimum(before, stood), np.maximum(before, stood))
            moved = (before != self._last).any()
            self._velocity = None if moved else np.zeros(len(row))
        if (np.abs(row - before) > max_step * (lost + 1) + ROUNDING).any():
            self._wrong(
                f"step {tick.step} of run {tick.step_epoch}: from {before} to {row} is more "
                f"than {max_step} a step"
            )
        velocity = row - before
        known = not lost and self._velocity is not None
        # A process that missed a deadline begins from rest, where its drivers stand.
        late = len(self.ticks) > 1 and tick.at_ns - self.ticks[-2].at_ns > 1.05e9 * self.period_s
        rested = late and (np.abs(velocity) <= max_bend + ROUNDING).all()
        bend = np.abs(velocity - self._velocity) if known and not rested else np.zeros(1)
        if (bend > max_bend + ROUNDING).any():
            self._wrong(
                f"step {tick.step} of run {tick.step_epoch} ({tick.reason}): the change in a step "
                f"goes from {self._velocity} to {velocity}, by more than {max_bend}"
            )
        self._last, self._velocity = row, None if lost or not known else velocity

    def on_command(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Check one message to a driver: ``values`` for the joints ``names``."""
        with self.lock:
            self.commands += 1
            for name, value in zip(names, values, strict=True):
                self.pose[self.joints.index(name)] = value
            key = (",".join(names), tuple(values))
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


def limits_of(parameters: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Return (lower, upper, velocity a step, acceleration a step²): one number for all joints."""
    period_s = parameters["control_period"]
    return (
        parameters["position_lower"][0],
        parameters["position_upper"][0],
        parameters["max_velocity"][0] * period_s,
        parameters["max_acceleration"][0] * period_s**2,
    )
