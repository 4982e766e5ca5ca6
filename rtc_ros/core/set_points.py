"""The set points of a period: what a driver of single rows is sent between two executed rows.

A period is divided into m set points, and the last of them *is* the executed row. They lie on a
quintic from where the motion is (place, velocity, acceleration) to the row, with the velocity and
the acceleration that the rows around it have: the next row is known, so nothing is late by it.
Where that would break a limit, the quintic is made longer, to one of the next rows: what a policy
shakes, and the seam of two chunks, is evened out just as far as the limits ask for. Whatever it
is, the limiter has the last word on each set point, by its limits per set point. Where no quintic
keeps them, it follows the line through the row as fast as it may.

docs/smoothness.md has what that was measured against.
All of it is elementwise arithmetic in a fixed order: two processes, and two machines, make the
same bits of it. With m = 1 there is nothing in between, and this is ``limit_row``.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rtc_ros.core.limits import JointLimits, at_rest, brake_row, limit_row

PERIODS = 8
"""The longest quintic [periods]."""
MOST = 100
"""Set points in a period, at most."""
_ROUNDING = 1 + 1e-9
"""A curve at a limit is beyond it by rounding; the limiter takes that off."""


class Motion(NamedTuple):
    """Where set points go on from: the last one, the step to it, and the change of that, [A].

    In robot units per set point, and per set point².
    """

    at: np.ndarray
    step: np.ndarray
    bend: np.ndarray

    @classmethod
    def resting(cls, at: np.ndarray) -> Motion:
        """Return rest at ``at`` [A]."""
        return cls(at, np.zeros(len(at)), np.zeros(len(at)))

    def after(self, points: np.ndarray) -> Motion:
        """Return where it is after ``points`` [n, A]."""
        if len(points) == 1:
            step = points[0] - self.at
            return Motion(points[0], step, step - self.step)
        if not len(points):
            return self
        before = points[-2] - (self.at if len(points) == 2 else points[-3])
        step = points[-1] - points[-2]
        return Motion(points[-1], step, step - before)


def motion_text(motion: Motion) -> str:
    """Return its step and bend as letters, to the bit; ``motion_of`` reads them."""
    return base64.b64encode(np.array([motion.step, motion.bend], "<f8").tobytes()).decode()


def motion_of(text: str, at: np.ndarray) -> Motion:
    """Return the motion at ``at`` [A] that ``text`` is of.

    Raises:
        ValueError: it is of another number of joints, or damaged.
    """
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f8")
    if len(values) != 2 * len(at):
        raise ValueError(f"{len(values)} numbers of {len(at)} joints' motion")
    step, bend = values.reshape(2, -1).astype(np.float64)
    return Motion(at, step, bend)


class SetPoints:
    """Makes the set points of one period after another.

    Args:
        limits: per period, as everywhere.
        count: m.

    Raises:
        ValueError: ``count`` is none, or a jerk limit has no acceleration limit to go by.
    """

    def __init__(self, limits: JointLimits, count: int = 1) -> None:
        if not 1 <= count <= MOST:
            raise ValueError(f"{count} set points in a period; there can be 1 to {MOST}")
        self.count = count
        self.limits = limits.per_point(count)
        """Per set point."""
        if count > 1 and (np.isfinite(limits.max_twist) & np.isinf(limits.max_bend)).any():
            bad = int(np.argmax(np.isfinite(limits.max_twist) & np.isinf(limits.max_bend)))
            raise ValueError(
                f"joint {bad} has a jerk limit and no acceleration limit, which set points "
                f"between the rows need ({count} in each period)"
            )

    def play(
        self, rows: np.ndarray, index: int, motion: Motion, velocity_scale: float = 1.0
    ) -> np.ndarray:
        """Return the set points [m, A] that lead to row ``index`` of ``rows`` [R, A].

        ``rows`` are those of a chunk that may be executed; the others of them say how the motion
        passes through it.
        """
        if self.count == 1:
            following = rows[min(index + 1, len(rows) - 1)]
            return limit_row(
                rows[index], motion.at, self.limits, velocity_scale, motion.step, following
            )[None]
        wanted = self._wanted(rows, index, motion, velocity_scale)
        return self._limited(wanted, motion, velocity_scale)

    def play_all(
        self,
        rows: np.ndarray,
        index: int,
        motion: Motion,
        velocity_scale: float | np.ndarray = 1.0,
    ) -> tuple[np.ndarray, Motion]:
        """Return what will be executed for ``rows`` [R, A] from ``index`` on, [R − index, A].

        And where the motion is then. One ``velocity_scale``, or one for each row.
        """
        wanted = np.asarray(rows, dtype=np.float64)
        scales = np.broadcast_to(velocity_scale, len(wanted) - index)
        out = np.array(wanted[index:])
        for i in range(len(out)):
            points = self.play(wanted, index + i, motion, scales[i])
            motion = motion.after(points)
            out[i] = points[-1]
        return out, motion

    def brake(self, motion: Motion) -> np.ndarray:
        """Return the set points [m, A] of one period of braking; at rest the same place."""
        at, step = motion.at, motion.step
        if self.count == 1:
            return brake_row(at, step, self.limits)[None]
        points = np.empty((self.count, len(at)))
        for i in range(self.count):
            points[i] = brake_row(at, step, self.limits)
            at, step = points[i], points[i] - at
        return points

    def rests(self, step: np.ndarray) -> bool:
        """Tell whether the arm may stand still from the next set point on, after ``step`` [A]."""
        return at_rest(step, self.limits)

    # ------------------------------------------------------------------------- the wanted path

    def _wanted(
        self, rows: np.ndarray, index: int, motion: Motion, velocity_scale: float
    ) -> np.ndarray:
        """Return the m set points that are wanted, and the one after them, [m + 1, A]."""
        limits, m = self.limits, self.count
        near = self._around(rows, index, motion.at)
        before = motion.at - motion.step
        begin = np.array([before - (motion.step - motion.bend), before, motion.at])
        speed = limits.max_step * velocity_scale * _ROUNDING
        wanted = np.empty((m + 1, len(motion.at)))
        open_ = np.ones(len(motion.at), dtype=bool)
        for periods in range(1, len(near) - 1):
            ends = np.concatenate([begin, self._passing(near[periods - 1 : periods + 2])])
            # Differences first: where nothing is to move, nothing does, to the bit.
            curve = motion.at + _along(_quintic(m, periods), ends - motion.at)
            if periods == 1:
                curve[m - 1] = near[1]
            steps = np.diff(np.concatenate([begin[1:], curve]), axis=0)
            bends = np.abs(np.diff(steps, axis=0)).max(axis=0)
            fits = (np.abs(steps[1:]).max(axis=0) <= speed) & (
                bends <= limits.max_bend * _ROUNDING
            )
            fits &= (curve >= limits.lower).all(axis=0) & (curve <= limits.upper).all(axis=0)
            if limits.coherent:  # the joints go on together
                fits[:] = fits.all()
            taken = fits & open_
            wanted[:, taken] = curve[: m + 1, taken]
            open_ &= ~taken
            if not open_.any():
                return wanted
        onward = (near[2] - near[0]) / (2 * m)
        line = near[1] + onward * np.arange(1 - m, 2)[:, None]
        return np.where(open_, line, wanted)

    def _around(self, rows: np.ndarray, index: int, at: np.ndarray) -> np.ndarray:
        """Return the row before ``index``, that row, and up to PERIODS after it, [≥ 3, A].

        Within the position limits, and in the turn that ``at`` is in. Before the first one the
        rows have the acceleration that they begin with; after the last one they rest.
        """
        limits = self.limits
        last = len(rows) - 1
        first = max(index - 1, 0)
        near = limits.clipped(np.array(rows[first : index + PERIODS + 1]))
        if limits.turns:
            here = index - first
            near[here] = limits.nearest(near[here], at)
            for i in range(here + 1, len(near)):
                near[i] = limits.nearest(near[i], near[i - 1])
            if here:
                near[0] = limits.nearest(near[0], near[1])
        if index == 0:
            first_three = near[:3] if len(near) > 2 else near[[0, 0, 0]]
            begin = near[0] + 3 * (near[0] - first_three[1]) + (first_three[2] - near[0])
            near = np.concatenate([begin[None], near])
        if index + PERIODS > last:
            near = np.concatenate([near, near[-1:]])
        return near

    def _passing(self, three: np.ndarray) -> np.ndarray:
        """Return the place before a row, the row, and the place after it, [3, A].

        One set point apart, with the velocity and the acceleration of three rows [3, A].
        """
        m = self.count
        before, row, after = three
        ahead, behind = after - row, row - before
        onward, bend = (ahead + behind) / (2 * m), (ahead - behind) / (2 * m * m)
        return np.array([row - onward + bend, row, row + onward + bend])

    def _limited(self, wanted: np.ndarray, motion: Motion, velocity_scale: float) -> np.ndarray:
        """Return ``limit_row`` of ``wanted`` [m + 1, A], one after the other, [m, A]."""
        limits = self.limits
        path = np.concatenate([motion.at[None], wanted[:-2]])
        steps = np.concatenate([motion.step[None], path[1:] - path[:-1]])
        # All at once, as if none were changed; from the first that is, one by one.
        points = limit_row(wanted[:-1], path, limits, velocity_scale, steps, wanted[1:])
        same = (points == wanted[:-1]).all(axis=1)
        if same.all():
            return points
        first = int(np.argmin(same))
        at, step = path[first], steps[first]
        for i in range(first, self.count):
            points[i] = limit_row(wanted[i], at, limits, velocity_scale, step, wanted[i + 1])
            at, step = points[i], points[i] - at
        return points


def _along(weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return Σ weights[j] · ends[j] for ``weights`` [6, n] and ``ends`` [6, A], [n, A].

    In this order: a library's matrix product has another one on another machine.
    """
    total = weights[0][:, None] * ends[0]
    for w, end in zip(weights[1:], ends[1:], strict=True):
        total += w[:, None] * end
    return total


@lru_cache(maxsize=4 * PERIODS)
def _quintic(m: int, periods: int) -> np.ndarray:
    """Return the weights [6, n + 1] of the six places that a quintic goes through.

    At set points −2, −1, 0 (where the motion is) and n − 1, n, n + 1 (at its end), n = m ·
    periods: at set points 1 to n + 1. What has the same three places has the same velocity and
    acceleration there, as set points tell them.
    """
    n = m * periods
    nodes = np.array([-2.0, -1.0, 0.0, n - 1.0, n, n + 1.0])
    places = np.arange(1.0, n + 2.0)
    weights = np.ones((6, n + 1))
    for j in range(6):
        for k in range(6):
            if k != j:
                weights[j] *= (places - nodes[k]) / (nodes[j] - nodes[k])
    weights.setflags(write=False)
    return weights


def ratio(command_rate: float, control_period_s: float) -> int:
    """Return m for so many set points per second; 0 Hz: one per period.

    Raises:
        ValueError: it is no multiple of the rows' rate; the sentence names both.
    """
    if not command_rate:
        return 1
    rows_hz = 1.0 / control_period_s
    count = round(command_rate * control_period_s)
    if count < 1 or abs(count - command_rate * control_period_s) > 1e-6 * count:
        lower = max(count, 1) if count <= command_rate * control_period_s else max(count - 1, 1)
        raise ValueError(
            f"command_rate is {command_rate:g} Hz, no multiple of the {rows_hz:g} Hz of the rows "
            f"(control_period {control_period_s:g} s): {lower * rows_hz:g} or "
            f"{(lower + 1) * rows_hz:g} Hz would be"
        )
    if count > MOST:
        raise ValueError(
            f"command_rate is {command_rate:g} Hz, {count} set points in each period of "
            f"{control_period_s:g} s; {MOST} ({MOST * rows_hz:g} Hz) is the most"
        )
    return count
