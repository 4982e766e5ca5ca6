"""What times the control tick, and how late it was."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from rtc_ros.ros.runner import ask_for_realtime, end_with_failure

_KEPT = 3000
"""Ticks that the lateness figures cover: a minute at 50 Hz."""
_LAST_PERIODS = 3
"""How long the timer's last set points are waited for."""


class Recent:
    """So many seconds of each of the last ticks; written by one thread, read by any."""

    def __init__(self) -> None:
        self._seconds = np.zeros(_KEPT)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Note one tick's."""
        self._seconds[self.count % _KEPT] = seconds
        self.count += 1

    def percentiles_ms(self) -> tuple[float, float, float]:
        """Return (p50, p99, max) of the last ticks [ms]; zeros before the first."""
        recent = self._seconds[: min(self.count, _KEPT)]
        if not len(recent):
            return (0.0, 0.0, 0.0)
        p50, p99, top = np.percentile(recent, (50, 99, 100)) * 1e3
        return (float(p50), float(p99), float(top))


class Lateness(Recent):
    """How late the last ticks were [s]."""

    def __init__(self) -> None:
        super().__init__()
        self.missed = 0
        self._missed_at = -_KEPT
        self._last = time.monotonic()
        self.worst_s = 0.0

    def add(self, seconds: float) -> None:
        """Note one tick's lateness."""
        super().add(seconds)
        self._last = time.monotonic()
        self.worst_s = max(self.worst_s, seconds)

    def miss(self, ticks: int) -> None:
        """Note that this many were missed before the next one."""
        self.missed += ticks
        self._missed_at = self.count

    @property
    def missed_lately(self) -> bool:
        """Whether any was missed among the ticks that the figures cover."""
        return self.count - self._missed_at < _KEPT

    @property
    def silent_s(self) -> float:
        """How long ago the last tick was, on no matter which clock it goes [s]."""
        return time.monotonic() - self._last


class _Ticker(ABC):
    """Deadlines a period apart, on some clock.

    ``on_tick`` is told how late it is [s], and how many deadlines before it were missed: those
    that are a whole period in the past are given up.

    With ``points`` m > 1 a period is divided: set point i is due i + 1 m-ths of it after its tick,
    so the last one is sent right before the next tick, and a decision has an m-th of a period.
    ``on_point`` sends it, and returns whether to go on with this period's. It does nothing else.
    """

    def __init__(
        self,
        period_s: float,
        on_tick: Callable[[float, int], None],
        realtime: str,
        *,
        points: int = 1,
        on_point: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.lateness = Lateness()
        self.point_lateness = Lateness()
        """Of the set points between the ticks."""
        self.cost, self.point_cost = Recent(), Recent()
        """Processor time of the thread for a tick, and for sending a set point."""
        self.realtime = realtime
        self._period_ns = round(period_s * 1e9)
        self._deadline_ns = 0
        self._points = points
        self._point_ns = self._period_ns // points
        self._on_point = on_point
        self._on_tick = on_tick
        self._failures = 0

    def _ticked(self, late_s: float, missed: int) -> None:
        begun_ns = time.thread_time_ns()
        self._on_tick(late_s, missed)
        self.cost.add((time.thread_time_ns() - begun_ns) * 1e-9)

    def _do(self, act: Callable[..., object], *what: Any) -> bool:
        """Tick, or send set points; return whether to go on.

        The first that fails lets the node close; the ticks after it brake the arm, and end where
        one of them fails, too.
        """
        try:
            act(*what)
        except Exception:  # noqa: BLE001 - a defect; a node that doesn't tick must not live on
            self._failures += 1
            with contextlib.suppress(OSError):  # the terminal may be gone
                traceback.print_exc()
                print(
                    "the control tick failed: ending; "
                    + ("the driver has the last command" if self._failed else "braking first"),
                    file=sys.stderr,
                    flush=True,
                )
            end_with_failure()
        return not self._failed

    def _point(self, index: int, late_ns: int) -> bool:
        """Send a set point; return whether to go on with those after it."""
        begun_ns = time.thread_time_ns()
        if not self._on_point(index):
            return False
        self.point_cost.add((time.thread_time_ns() - begun_ns) * 1e-9)
        self.point_lateness.add(late_ns * 1e-9)
        return True

    @property
    def _failed(self) -> bool:
        return self._failures > 1

    @abstractmethod
    def _now_ns(self) -> int:
        """Return what the clock says."""

    def clock_s(self) -> float:
        """Return what the clock says [s]."""
        return self._now_ns() * 1e-9

    def late_s(self) -> float:
        """Return how long ago the present tick's deadline was [s]; to be called by the tick."""
        return max(0, self._now_ns() - self._deadline_ns) * 1e-9

    def lost(self) -> int:
        """Give up the deadlines that were missed since the tick began; return how many.

        To be called by the tick itself.
        """
        missed = max(0, (self._now_ns() - self._deadline_ns) // self._period_ns)
        self._deadline_ns += missed * self._period_ns
        if missed:
            self.lateness.miss(missed)
        return missed


class DeadlineTicker(_Ticker):
    """Ticks on absolute deadlines of CLOCK_MONOTONIC, in a thread of its own."""

    def __init__(
        self,
        period_s: float,
        on_tick: Callable[[float, int], None],
        priority: int = 0,
        *,
        points: int = 1,
        on_point: Callable[[int], bool] = lambda _: False,
    ) -> None:
        super().__init__(period_s, on_tick, "starting", points=points, on_point=on_point)
        self._priority = priority
        self._sent_ns = 0
        """When the last set point was sent."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-tick", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it ticks."""
        return self._thread.is_alive()

    def _now_ns(self) -> int:
        return time.monotonic_ns()

    def stop(self) -> None:
        """Tick no more; returns once the last tick is over and its set points are sent.

        The arm is at rest at the end of its last period, not at its beginning.
        """
        self._stop.set()
        with contextlib.suppress(RuntimeError):
            self._thread.join()

    def _run(self) -> None:
        self.realtime = ask_for_realtime(self._priority)
        self._deadline_ns = time.monotonic_ns() + self._period_ns
        while not self._stop.is_set():
            late_ns = self._wait_until(self._deadline_ns)
            self.lateness.add(late_ns * 1e-9)
            if not self._do(self._ticked, late_ns * 1e-9, self.lost()):
                return
            if self._points > 1 and not self._do(self._send_points):
                return
            self._deadline_ns += self._period_ns

    def _wait_until(self, due_ns: int) -> int:
        """Return how late it is then [ns]."""
        wait_ns = due_ns - self._now_ns()
        if wait_ns > 0:
            time.sleep(wait_ns * 1e-9)
        return self._now_ns() - due_ns

    def _send_points(self) -> None:
        """Send the period's set points, as far as there are any and they come in time."""
        # One that begins motion late shifts the others: what was late isn't caught up with.
        half_ns = self._point_ns // 2
        due_ns, end_ns = self._deadline_ns, self._deadline_ns + self._period_ns + half_ns
        for i in range(self._points):
            due_ns = max(due_ns + self._point_ns, self._sent_ns + half_ns)
            if due_ns > end_ns:
                return
            late_ns = self._wait_until(due_ns)
            if not self._point(i, late_ns):
                return
            self._sent_ns = self._now_ns()  # the machine may have taken its time for that
            if late_ns > half_ns:
                due_ns += late_ns


class TimerTicker(_Ticker):
    """Ticks by an rclpy timer: on simulated time where that is used, else on a steady clock."""

    def __init__(
        self,
        node: Node,
        period_s: float,
        on_tick: Callable[[float, int], None],
        priority: int = 0,
        *,
        points: int = 1,
        on_point: Callable[[int], bool] = lambda _: False,
    ) -> None:
        unasked = "not asked for" if priority == 0 else "only with tick_source deadline"
        super().__init__(period_s, on_tick, unasked, points=points, on_point=on_point)
        self._next_point, self._point_due_ns = points, 0
        self._node = node
        simulated = node.get_parameter("use_sim_time").value
        # A system's clock that is set is no time that passed.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._clock = node.get_clock() if simulated else steady
        self._timer = node.create_timer(
            period_s / points,
            self._tick,
            MutuallyExclusiveCallbackGroup(),
            clock=self._clock,
            autostart=False,
        )

    def start(self) -> None:
        """Begin to tick."""
        self._deadline_ns = self._now_ns() + self._period_ns
        self._timer.reset()

    @property
    def alive(self) -> bool:
        """Whether it ticks."""
        return not self._failed and bool(rclpy.ok(context=self._node.context))

    def _now_ns(self) -> int:
        return int(self._clock.now().nanoseconds)

    def stop(self) -> None:
        """Tick no more, once the set points of the last tick are sent; see ``DeadlineTicker``."""
        end_s = time.monotonic() + _LAST_PERIODS * self._period_ns * 1e-9  # /clock may stand
        while self._next_point < self._points and time.monotonic() < end_s:
            time.sleep(0.001)
        self._timer.cancel()

    def _tick(self) -> None:
        if self._next_point < self._points and not self._do(self._send_point):
            self._timer.cancel()
        early_ns = self._deadline_ns - self._now_ns()
        if early_ns > 1.5 * self._period_ns:
            self._deadline_ns = self._now_ns()  # the clock was set back
        elif early_ns > 0.5 * self._point_ns:
            return  # a set point's; or the last one's, which was late
        missed = self.lost()
        late_s = self.late_s()
        self.lateness.add(late_s)
        if not self._do(self._ticked, late_s, missed):
            self._timer.cancel()
        self._next_point, self._point_due_ns = 0, self._deadline_ns + self._point_ns
        self._deadline_ns += self._period_ns

    def _send_point(self) -> None:
        late_ns = self._now_ns() - self._point_due_ns
        if late_ns < -self._point_ns // 2:
            return
        # None of this period's comes after one that isn't sent, or fails.
        index, self._next_point = self._next_point, self._points
        if not self._point(index, late_ns):
            return
        self._next_point = index + 1
        late_ns = late_ns if late_ns > self._point_ns // 2 else 0
        self._point_due_ns += self._point_ns + late_ns
        if self._point_due_ns > self._deadline_ns + self._point_ns // 2:
            self._next_point = self._points
