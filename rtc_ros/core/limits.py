"""Limits on the executed rows: position, change within one step, change of that change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

BRAKE_ROWS = 2000
"""More rows than this no braking takes: 40 s at 50 Hz."""
_FAR = 1e12
"""Stands for an infinite way to a limit, so that nothing divides infinities."""
_BEYOND = 1e290
"""No row is asked for farther out: so far below the largest float64 (1.8e308) that a difference
of two positions can't overflow, whatever finite numbers a policy or a joint state has."""
_LEAST, _MOST = 1e-100, 1e100
"""What a finite limit may be: within these nothing that is made of limits over- or underflows."""
_TURNS = 2.0**40
"""An angle this many turns away is too coarse a number to say where in a turn it is."""


@dataclass(frozen=True, eq=False)
class JointLimits:
    """What no command may exceed, all float64[A]; infinite entries mean no limit.

    ``lower``, ``upper``: position [robot units]. ``max_step``: change of a command within one
    step [robot units / step]. ``max_bend``: change of that change [robot units / step²].
    ``max_twist``: change of that [robot units / step³], which ``core.jerk`` keeps. ``turn``: 2π
    for a joint that turns endlessly and goes the short way to a wanted position, 0 for all others.
    ``coherent``: where a limit binds, one factor shortens the steps of all joints, not one alone.
    """

    lower: np.ndarray
    upper: np.ndarray
    max_step: np.ndarray
    max_bend: np.ndarray = field(default_factory=lambda: np.array(np.inf))
    turn: np.ndarray = field(default_factory=lambda: np.array(0.0))
    coherent: bool = False
    max_twist: np.ndarray = field(default_factory=lambda: np.array(np.inf))
    bends: bool = field(init=False)
    """Whether any joint's acceleration is limited."""
    turns: bool = field(init=False)
    _free: np.ndarray = field(init=False)
    _any_free: bool = field(init=False)
    _bend: np.ndarray = field(init=False)
    _least: np.ndarray = field(init=False)
    _most: np.ndarray = field(init=False)
    _half_turn: np.ndarray = field(init=False)
    _stops: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        for name in ("max_bend", "turn", "max_twist"):
            if np.ndim(value := getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(np.shape(self.lower), value, np.float64))
        sizes = (self.max_step, self.max_bend, self.max_twist)
        numbers = (self.lower, self.upper, self.turn, *sizes)
        shapes = {np.shape(x) for x in numbers}
        if len(shapes) != 1:
            raise ValueError(f"the limits differ in size: {sorted(shapes)}")
        if np.isnan(numbers).any():
            raise ValueError("a joint limit is NaN; use .inf for no limit")
        if (none := np.asarray(self.lower) >= self.upper).any():
            bad = int(np.argmax(none))
            raise ValueError(
                f"joint {bad} has the lower limit {self.lower[bad]:g}, "
                f"not below its upper limit {self.upper[bad]:g}"
            )
        for name, values in zip(("velocity", "acceleration", "jerk"), sizes, strict=True):
            if (np.asarray(values) < _LEAST).any():
                raise ValueError(
                    f"a {name} limit is zero or negative (or less than {_LEAST:g}); "
                    "the arm could never move"
                )
        if (np.isfinite(numbers) & (np.abs(numbers) > _MOST)).any():
            raise ValueError(f"a joint limit is beyond {_MOST:g}; use .inf for no limit")
        bounded = np.isfinite(self.lower) | np.isfinite(self.upper)
        if (both := bounded & (np.asarray(self.turn) != 0)).any():
            bad = int(np.argmax(both))
            raise ValueError(f"joint {bad} turns endlessly and has a position limit")
        free = np.isinf(self.max_bend)
        object.__setattr__(self, "bends", not free.all())
        object.__setattr__(self, "turns", bool(np.any(self.turn)))
        object.__setattr__(self, "_free", free)
        object.__setattr__(self, "_any_free", bool(free.any()))
        object.__setattr__(self, "_bend", np.where(free, 1.0, self.max_bend))
        object.__setattr__(self, "_least", np.maximum(self.lower, -_BEYOND))
        object.__setattr__(self, "_most", np.minimum(self.upper, _BEYOND))
        # A step that is over by its rounding alone would take another tick that moves nothing.
        object.__setattr__(self, "_stops", self.max_bend * (1 + 1e-9))
        half = np.where(np.asarray(self.turn) > 0, 0.5 * self.turn, np.inf)
        object.__setattr__(self, "_half_turn", half)

    @classmethod
    def from_velocity(
        cls,
        lower: Sequence[float],
        upper: Sequence[float],
        max_velocity: Sequence[float],
        control_period_s: float,
        max_acceleration: Sequence[float] | None = None,
        turn: Sequence[float] | None = None,
        coherent: bool = False,
        max_jerk: Sequence[float] | None = None,
    ) -> JointLimits:
        """Make limits from [robot units / s], [… / s²], [… / s³] and Δt [s]."""

        def array(values: Sequence[float] | None, otherwise: float = np.inf) -> np.ndarray:
            return np.asarray(otherwise if values is None else values, float)

        return cls(
            array(lower),
            array(upper),
            array(max_velocity) * control_period_s,
            array(max_acceleration) * control_period_s**2,
            array(turn, 0.0),
            coherent,
            array(max_jerk) * control_period_s**3,
        )

    @classmethod
    def none(cls, action_dim: int) -> JointLimits:
        """Make limits that never bind."""
        infinite = np.full(action_dim, np.inf)
        return cls(-infinite, infinite, infinite)

    def nearest(self, wanted: np.ndarray, to: np.ndarray) -> np.ndarray:
        """Return ``wanted`` with endless joints moved by whole turns, as near ``to`` as can be.

        An angle so far out that its float64 can't tell where in a turn it is, is ``to`` itself.
        """
        if not self.turns:
            return wanted
        # Halves: the difference of two finite numbers may be none.
        turns = np.round((0.5 * to - 0.5 * wanted) / self._half_turn)
        most = np.maximum.reduce(np.abs(turns), axis=None, initial=0.0)
        if most == 0:
            return wanted
        if most <= _TURNS:
            return wanted + turns * self.turn
        far = np.abs(turns) > _TURNS
        return np.where(far, to, wanted + np.where(far, 0.0, turns) * self.turn)

    def per_point(self, count: int) -> JointLimits:
        """Return the same limits for steps of a ``count``-th of the time."""
        if count == 1:
            return self
        return JointLimits(
            self.lower,
            self.upper,
            self.max_step / count,
            self.max_bend / count**2,
            self.turn,
            self.coherent,
            self.max_twist / count**3,
        )

    def clipped(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` [..., A] within the position limits."""
        return _within(rows, self._least, self._most)

    def bounded_speed(self, control_period_s: float) -> np.ndarray:
        """Return the velocity limits [A] per s; infinite for a joint that turns on and on.

        Such a joint's position may wrap from one message to the next.
        """
        bounded = np.isfinite(self.lower) & np.isfinite(self.upper)
        return np.where(bounded, self.max_step / control_period_s, np.inf)

    def stoppable(self, distance: np.ndarray) -> np.ndarray:
        """Return the largest step [A] after which the arm can still stop within ``distance`` ≥ 0.

        v² ≤ 2 a · distance for steps: the largest v with v + (v − a) + (v − 2a) + … ≤ distance,
        where the sum ends before it gets negative. Joints without acceleration limit may take
        the whole distance.
        """
        bend, far = self._bend, np.minimum(distance, _FAR)
        more = np.maximum(np.ceil(np.sqrt(2.0 * far / bend + 0.25) - 0.5) - 1.0, 0.0)
        stoppable = far / (more + 1.0) + 0.5 * bend * more
        return np.where(self._free, distance, stoppable) if self._any_free else stoppable


def soft_start_scale(step: np.ndarray | int, ticks: int) -> np.ndarray | float:
    """Return the factor on the velocity limit at ``step``, which rises to 1 within ``ticks``."""
    if isinstance(step, int):
        return min(1.0, (step + 1) / (ticks + 1))
    return np.minimum(1.0, (step + 1) / (ticks + 1))


def limit_row(
    wanted: np.ndarray,
    previous: np.ndarray,
    limits: JointLimits,
    velocity_scale: float = 1.0,
    last_step: np.ndarray | None = None,
    following: np.ndarray | None = None,
) -> np.ndarray:
    """Return what may be commanded after ``previous`` when ``wanted`` is asked for, all [A].

    Where acceleration is limited, ``last_step`` is the change that led to ``previous`` (None: at
    rest) and ``following`` the row wanted next (None: the same again). An arm that is behind
    approaches the row as fast as it can still take on the velocity from there to the
    ``following`` one, so it doesn't overshoot; a row that it can have, it gets exactly.
    Near a position limit it is no faster than it can still stop. An arm that stands outside its
    position limits is led back at limited speed instead of being thrown back.
    """
    target = _within(limits.nearest(wanted, previous), limits._least, limits._most)
    reach = limits.max_step * velocity_scale
    if not (limits.bends or limits.coherent):
        return _within(target, previous - reach, previous + reach)
    step = error = target - previous
    low, high = -reach, reach
    if limits.bends:
        ahead = target if following is None else limits.nearest(following, target)
        onward = _within(ahead, limits._least, limits._most) - target
        gap = error - onward
        size = np.abs(gap)
        chase, down, up = _stoppable(size, previous, limits)
        step = np.where(size <= limits.max_bend, error, onward + np.copysign(chase, gap))
        rest = 0.0 if last_step is None else last_step
        # Speed and position before acceleration: a step of 0 keeps them, wherever the arm is.
        slowest, fastest = np.maximum(low, -down), np.minimum(high, up)
        low = _within(rest - limits.max_bend, slowest, fastest)
        high = _within(rest + limits.max_bend, slowest, fastest)
    if limits.coherent:
        step = step * _share(step, low, high)
    return _moved(previous, _within(step, low, high), error, target, limits)


def brake_row(previous: np.ndarray, last_step: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return the command [A] that brakes for one step after ``last_step`` led to ``previous``.

    ``previous`` itself where the arm may stop at once. With ``coherent`` all joints slow down by
    one factor, that of the joint which takes longest.
    """
    if not limits.bends or at_rest(last_step, limits):
        return previous
    speed = np.abs(last_step)
    least = np.maximum(speed - limits.max_bend, 0.0)
    if limits.coherent:
        least = speed * np.max(least / np.where(speed > 0, speed, 1.0))
    _, down, up = _stoppable(speed, previous, limits)
    step = _within(np.copysign(least, last_step), -down, up)
    row = _moved(previous, step, np.zeros_like(previous), previous, limits)
    # So far out that the numbers there are coarser than what is to be braked: it stands.
    return np.where(np.abs(row - previous) < speed, row, previous)


def at_rest(last_step: np.ndarray, limits: JointLimits) -> bool:
    """Tell whether the arm may stand still from the next step on."""
    return bool((np.abs(last_step) <= limits._stops).all())


def limit_rows(
    wanted: np.ndarray,
    previous: np.ndarray,
    limits: JointLimits,
    velocity_scale: float | np.ndarray = 1.0,
    last_step: np.ndarray | None = None,
) -> np.ndarray:
    """Return what the controller will command for ``wanted`` [R, A], starting at ``previous``.

    This is how a new chunk's frozen rows are what will have been executed, not what the last
    chunk had asked for. ``velocity_scale`` is one factor or one for each row [R].
    """
    wanted = np.asarray(wanted, dtype=np.float64)
    rows = np.array(wanted)
    scales = np.broadcast_to(velocity_scale, len(rows))
    step = last_step
    for i in range(len(rows)):
        following = wanted[min(i + 1, len(rows) - 1)]
        rows[i] = limit_row(wanted[i], previous, limits, scales[i], step, following)
        step, previous = rows[i] - previous, rows[i]
    return rows


def brake_rows(previous: np.ndarray, last_step: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return the commands [R, A] from ``previous`` to rest; none where it may stop at once.

    R ≤ ⌈|last_step| / max_bend⌉ of the joint that needs most, and at most ``BRAKE_ROWS``, after
    which the arm stops at once.
    """
    rows: list[np.ndarray] = []
    while len(rows) < BRAKE_ROWS and not at_rest(last_step, limits):
        row = brake_row(previous, last_step, limits)
        rows.append(row)
        last_step, previous = row - previous, row
    return np.array(rows).reshape(-1, len(previous))


def _stoppable(distance: np.ndarray, previous: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return ``stoppable`` of ``distance``, and of the ways to both position limits, [3, A]."""
    ways = np.array((distance, previous - limits._least, limits._most - previous))
    return limits.stoppable(np.maximum(ways, 0.0))


def _within(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return what np.clip does, in half the time for a handful of numbers."""
    return np.minimum(np.maximum(values, low), high)


def _share(step: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the largest factor in [0, 1] with which no joint's step is beyond its bound."""
    bound = np.where(step < 0, -low, high)
    size = np.abs(step)
    binds = (size > bound) & (size > 0)
    # A joint that wants no step, and may not stop at once, has none that could be shortened; one
    # that must go the other way for now (a bound below 0) has none to go on with.
    return float((np.maximum(bound[binds], 0.0) / size[binds]).min(initial=1.0))


def _moved(
    previous: np.ndarray,
    step: np.ndarray,
    error: np.ndarray,
    target: np.ndarray,
    limits: JointLimits,
) -> np.ndarray:
    """Return ``previous`` moved by ``step``: where that is ``error``, exactly to ``target``."""
    row = np.where(step == error, target, previous + step)
    # Sums are rounded; the limits are not.
    return _within(row, np.minimum(previous, limits.lower), np.maximum(previous, limits.upper))
