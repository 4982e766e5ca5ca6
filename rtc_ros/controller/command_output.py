"""Commands out to the arm driver, in the message type that each group's driver takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import serialize_message
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.controller.command_types import (
    CHUNK,
    message_class,
    row_filler,
    row_maker,
    set_due,
    trajectory,
)
from rtc_ros.controller.group_parameters import GroupParameters
from rtc_ros.core.command import Command
from rtc_ros.core.controller import CONTROL_POINTS
from rtc_ros.core.curve import knots
from rtc_ros.core.limits import JointLimits
from rtc_ros.ros.parameters import ConfigurationError

_Path = tuple[list[np.ndarray], np.ndarray, float]
"""Where a driver may begin, and where it comes to before motion begins there, [A], in how many
seconds."""
Way = Callable[[], np.ndarray]
"""What goes out if no chunk comes any more, down to rest, float64[PAST + R, A]: the targets of the
``PAST`` ticks before this one, then this tick's and those to come."""

PAST = CONTROL_POINTS - 1
_ROW_DUE, _KNOT_DUE, _LEAST_DUE = 1.5, 3.0, 0.1
"""Periods after its tick: when a row is due; when it is on a curve, which then is the old one for
another period, without a knot in it; and the least until the first point that is sent."""
_JOINS_FROM = 2.0
"""Periods after which a row must be due at the least for its curve to join the old one."""
JOINS = 1.0 - _LEAST_DUE - 1e-6
"""Periods: a tick that is late by no more joins its curve to the old one exactly."""
_MOST = float(np.finfo(np.float32).max)
"""What leaves is a number in every message type, of which some have 32 bits."""


class CommandGroup:
    """One driver: its topic, its message type, and its joints in its own order.

    With ``dry_run`` nothing is published: there isn't even a publisher. With ``points`` m > 1 a
    driver of rows is sent so many set points in each period, by ``send``.
    """

    def __init__(
        self,
        node: Node,
        group: GroupParameters,
        joints: Sequence[str],
        period_s: float,
        limits: JointLimits,
        dry_run: bool = False,
        points: int = 1,
    ) -> None:
        self.columns = [list(joints).index(j) for j in group.joints]
        self.plays_chunks = group.kind == CHUNK
        """Whether the driver was sent what goes on without us."""
        self._points = 1 if self.plays_chunks else points
        self._names = group.names
        self._period_s = period_s
        # Where nothing limits the acceleration, lines between the rows keep all that is limited.
        self._curved = self.plays_chunks and bool(
            np.isfinite(limits.max_bend[self.columns]).any()
        )
        periods = _KNOT_DUE if self._curved else _ROW_DUE
        if not self.plays_chunks:
            periods /= points
        self._due_s = group.time_from_start_s or periods * period_s
        due = self._due_s / period_s
        if self._curved and not _JOINS_FROM - 1e-6 <= due <= _KNOT_DUE + 1e-6:
            raise ConfigurationError(
                f"group.{group.name}.time_from_start is {self._due_s:g} s, "
                f"{due:.3g} periods: where acceleration is limited a chunk joins the last one "
                f"from {_JOINS_FROM * period_s:g} to {_KNOT_DUE * period_s:g} s only; "
                "0 takes the best"
            )
        late = int(due + 1e-6) - 1 if self.plays_chunks else 0
        self.behind = min(max(late, 0), PAST)
        """Ticks by which the driver is behind what was decided, as far as targets are kept."""
        message = message_class(group.kind, f"group.{group.name}.type")
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = (
            None
            if dry_run
            else node.create_publisher(
                message, group.topic, 10 * self._points, qos_overriding_options=overrides
            )
        )
        self._make = row_maker(group.kind, message, self._names, group.driver_group, self._due_s)
        made = [
            self._make(np.zeros(len(self.columns)), Time())
            for _ in range(self._points if self._points > 1 else 0)
        ]
        self._set_points = [(message, row_filler(group.kind, message)) for message in made]
        """Made once: a period's, and what writes into each of them."""
        self._ready = False
        self.playing = False
        """Whether the driver goes on along a chunk that it was sent, and not to rest."""
        self.comes = False
        """Whether it may still be on its way to where it was told to rest."""
        self._outdated = False
        self._prepared: Any = None
        self._with_it: tuple[bool, float, np.ndarray, _Path | None] | None = None
        """``playing``, in how many seconds it rests (0: it plays), ``_told`` and ``_path``."""
        self._sent_ns = self._rests_ns = 0
        self._path: _Path | None = None
        self._told: np.ndarray | None = None
        """Where the driver was told to rest [A]."""
        self._limits = limits

    def prepare(
        self,
        command: Command | None,
        way: Way,
        stamp: Any,
        late_s: Callable[[], float],
        anew: bool = False,
        arm: np.ndarray | None = None,
    ) -> None:
        """Make what this tick sends, instead of what was made before; ``publish`` sends it.

        ``late_s()`` after the tick's deadline: that much sooner a trajectory's points are due,
        so that a late tick shifts no row against those of the next one. Without a command, or with
        one that holds, a driver of chunks is sent the way to rest once, instead of what it still
        has to execute; the others are braked tick by tick. ``anew``: a driver of chunks is sent
        ``way`` whatever it was sent before, in time to go there from the ``arm`` [A], too, if that
        is given. Raises ArithmeticError if that isn't finite.
        """
        self._prepared = None
        if self._set_points:
            self._ready = False
            if command is not None and command.sends:
                assert command.points is not None, "only what was commanded is sent"
                rows = self._finite(command.points[:, self.columns])
                for (_, fill), row in zip(self._set_points, rows, strict=True):
                    fill(row, stamp)
                self._ready = True
        elif not self.plays_chunks and command is not None and command.sends:
            assert command.target is not None, "only what was commanded is sent"
            self._prepared = self._make(self._finite(command.target[self.columns]), stamp)
        if not self.plays_chunks:
            return
        executes = command is not None and command.executes
        swaps = command is not None and command.played.swap is not None
        if anew or self._outdated or executes != self.playing or (executes and swaps):
            # What is left to do when the tick has looked at the clock for the last time is short.
            self._prepared = serialize_message(self._trajectory(way(), executes, late_s, arm))

    @property
    def bends(self) -> bool:
        """Whether what was prepared changes the curve that a driver goes along."""
        return self.plays_chunks and self._prepared is not None

    def send_anew(self) -> None:
        """Replace what a driver that plays chunks has of one, with the next ``publish``."""
        self._outdated = self.plays_chunks

    @property
    def comes_to_begin(self) -> bool:
        """Whether it may still be on its way to where motion begins."""
        return self.comes and self._path is not None

    def publish(self, now_ns: int) -> None:
        """Send what was prepared, if anything was, at ``now_ns`` of the ticks' time."""
        if self._prepared is None:
            self.comes = self.comes and now_ns < self._rests_ns
            return
        if self._publisher is not None:
            self._publisher.publish(self._prepared)
        self._prepared = None
        if self._with_it is not None:
            self.playing, rests_s, self._told, self._path = self._with_it
            self._sent_ns, self._rests_ns = now_ns, now_ns + round(rests_s * 1e9)
            self.comes, self._outdated = rests_s > 0.0, False

    def send(self, index: int) -> None:
        """Send a set point of those that were prepared, if any were."""
        if self._ready and self._publisher is not None:
            self._publisher.publish(self._set_points[index][0])

    def forget(self) -> None:
        """Send the driver nothing more of this motion: its arm isn't where it goes."""
        self.playing = self.comes = self._outdated = False
        self._prepared = None

    def halt(self, now_ns: int, arm: np.ndarray) -> None:
        """Prepare what stops a driver on its way to where motion begins: where its ``arm`` [A] is.

        One that forgot what it was told rests there already, and one whose arm is limp must not
        throw it to where it is itself. One that is on that way goes back by its arm's lag.
        """
        assert self._path is not None, "it comes"
        columns = self.columns
        begins, end, coming_s = self._path
        x = min((now_ns - self._sent_ns) * 1e-9 / coming_s, 1.0)
        # By as much the acceleration may change at once, from the opposite one.
        bend = np.minimum(self._limits.max_bend, self._limits.max_twist / 2)
        limit, most = bend / self._period_s**2, self._limits.max_step
        rests_s = self._period_s
        for begin in begins:
            # It is on a cubic from rest to rest, and goes on along one from this speed to rest.
            whole = end - self._limits.nearest(begin, end)
            place = end - whole * (1 - (3 - 2 * x) * x**2)
            speed = whole * 6 * (1 - x) * x / coming_s
            way = np.abs(self._limits.nearest(arm, place) - place)
            brakes = np.abs(speed) / limit
            seconds = 2 * brakes + np.sqrt(4 * brakes**2 + 6 * way / limit)
            seconds = np.maximum(seconds, 2 * way / most * self._period_s)
            rests_s = max(rests_s, float(seconds[columns].max()))
        zero = np.zeros((1, len(columns)))
        message = trajectory(self._names, self._finite(arm[None, columns]), zero, rests=True)
        set_due(message, rests_s, self._period_s)
        self._with_it = False, rests_s, arm, None
        self._prepared = serialize_message(message)

    def wait_until_sent(self, seconds: float) -> None:
        """Wait until every driver that listens has what was published, no longer than this."""
        if self._publisher is not None:
            with contextlib.suppress(RuntimeError):  # a middleware that can't tell
                self._publisher.wait_for_all_acked(Duration(nanoseconds=round(seconds * 1e9)))

    def coming_s(self, begin: np.ndarray, arm: np.ndarray | None = None) -> float:
        """Return how long a driver of chunks takes to where motion begins, within the limits [s].

        One that plays none rests where it was told to. Where the arm was moved meanwhile,
        ``begin`` [A] is elsewhere, and a driver that never let go goes there first. One that
        forgot what it was told rests at the ``arm`` [A].
        """
        if self.playing or self._told is None:
            return 0.0
        limits, columns = self._limits, self.columns
        places = [self._told] if arm is None else [self._told, arm]
        ways = [np.abs(limits.nearest(place, begin) - begin)[columns] for place in places]
        way = np.max(ways, axis=0)
        # A cubic from rest to rest: 1.5 of its mean speed, 6 of its mean acceleration, which it
        # has at once: no more than what a jerk limit allows within a period.
        bend = np.minimum(limits.max_bend, limits.max_twist)[columns]
        periods = np.maximum(1.5 * way / limits.max_step[columns], np.sqrt(6.0 * way / bend))
        return float(periods.max()) * self._period_s

    def _finite(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` [..., A']; raises ArithmeticError if one of them can't be sent."""
        may = np.abs(rows) <= _MOST
        if may.all():
            return rows
        first = tuple(np.argwhere(~may)[0])
        raise ArithmeticError(f"{self._names[first[-1]]} would be sent {rows[first]}")

    def _trajectory(
        self,
        way: np.ndarray,
        executes: bool,
        late_s: Callable[[], float],
        arm: np.ndarray | None = None,
    ) -> JointTrajectory:
        """Return ``way`` [PAST + R, A] as points that end at rest."""
        begin, end = way[PAST - 1], way[-1]
        way = self._finite(way[:, self.columns])
        rests = bool((way[:PAST] == way[PAST - 1]).all())
        if self._curved:
            # Its ends are no knots: with the last one twice more the curve ends where the rows do.
            places, velocities = knots(np.concatenate([way, way[-1:], way[-1:]]))
            velocities = self._finite(velocities / self._period_s)
            message = trajectory(self._names, self._finite(places), velocities, rests=True)
            first_s = self._due_s - (PAST - 1) * self._period_s
        else:
            message = trajectory(self._names, way[PAST:], None, rests=True)
            first_s = self._due_s
        coming_s = self.coming_s(begin, arm) if rests else 0.0
        path = None
        if coming_s:
            assert self._told is not None, "it comes from where it was told to rest"
            path = [self._told] if arm is None else [self._told, arm], end, coming_s
            message.points = message.points[-1:]
        # The clock is looked at as late as can be: what it takes from here on shifts the points.
        first_s = coming_s if coming_s else first_s - late_s()
        set_due(message, first_s, self._period_s, _LEAST_DUE)
        last = message.points[-1].time_from_start
        rests_s = 0.0 if executes else last.sec + last.nanosec * 1e-9
        self._with_it = executes, rests_s, end, path
        return message
