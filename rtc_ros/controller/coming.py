"""Drivers of chunks are sent to where motion begins, and whether their arm came there.

A driver that plays chunks rests where it was told last. Where the arm was moved meanwhile motion
begins elsewhere, and the first row would throw it there. So it is sent there first, within the
limits, and k waits. Then the arm may still be off: its load holds it, a hand leads it, or its
driver, whose torque was off, forgot where it was sent. Only the first may be begun with, and it is
told from the others by sending it elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.controller import ControllerSettings, ControllerState, begin_at
from rtc_ros.core.frozen import changed
from rtc_ros.core.guards import Arm

MOST_TIMES = 5
"""After being sent so often, in vain, the gate closes."""


@dataclass(frozen=True, eq=False)
class Coming:
    """Where drivers of chunks are sent before motion begins there, [A], and until when k waits.

    ``until_ns`` is of the ticks' time. ``times`` counts how often they were sent in vain and sent
    again; then ``off`` [A] is how far the ``arm`` [A] was from where it was sent the time before.
    ``new``: of a run that hasn't begun.
    """

    begin: np.ndarray
    until_ns: int
    new: bool
    times: int = 1
    off: np.ndarray | None = None
    arm: np.ndarray | None = None


def come(
    settings: ControllerSettings,
    state: ControllerState,
    came: Coming,
    arm: Arm,
    told: Sequence[int],
) -> tuple[ControllerState, np.ndarray | None]:
    """Begin where the drivers of the joints ``told`` were sent; the others weren't told anything.

    Where the arm isn't there the second value is how far off it is [A], else None.
    """
    guards, begin = settings.guards, came.begin
    if guards is not None:
        off = guards.off(arm, begin)
        # In a new run they are compared each other time, see ``beside``.
        before = None if came.new and came.times % 2 else came.off
        if guards.not_come(state.watched, off, before, told):
            return state, off
    place = np.array(arm.pose if state.row is None else state.targets[-1])
    place[told] = begin[told]
    if guards is not None:
        state = changed(state, watched=guards.came(state.watched, arm, begin, told))
    return begin_at(settings, state, place), None


def beside(
    settings: ControllerSettings,
    came: Coming,
    off: np.ndarray,
    arm: np.ndarray,
    told: Sequence[int],
) -> np.ndarray:
    """Return where drivers of chunks are sent next in a run that hasn't begun, [A].

    That is where the ``arm`` [A] is; but each other time, where it is far ``off`` [A], half the
    way there: one that its load holds off is as far off as before, a limp one half as far.
    """
    guards = settings.guards
    if guards is None or came.times % 2 == 0:
        return arm
    place, far = np.array(arm), guards.is_far(off)
    columns = [c for c in told if far[c]]
    place[columns] = (came.begin + 0.5 * off)[columns]
    return settings.limits.clipped(place)


def comes_never(
    settings: ControllerSettings,
    state: ControllerState,
    came: Coming,
    off: np.ndarray,
    told: Sequence[int],
) -> str:
    """Say why drivers of chunks aren't sent to where motion begins again, else "".

    They were so often, or are twice in a row farther ``off`` [A] than ``resume_tolerance``.
    """
    guards, before = settings.guards, came.off
    if guards is None or before is None:
        return ""
    beyond = np.minimum(np.abs(off), np.abs(before)) - guards.resume_tolerance
    worst = max(told, key=lambda c: float(beyond[c]))
    most = f" (resume_tolerance is {guards.resume_tolerance[worst]:g})"
    if beyond[worst] <= 0:
        if came.times < MOST_TIMES:
            return ""
        left, change = guards.not_come(state.watched, off, None, told), np.abs(off - before)
        worst, most = max(left, key=lambda c: float(change[c])), ""
    return (
        f"{guards.joints[worst]} was sent to where motion begins {came.times} times and is "
        f"{off[worst]:.3g} from there, {before[worst]:.3g} the time before{most}: a load or a "
        "hand moves the arm, or its driver forgets what it is told; call ~/start"
    )
