"""Whether the arm follows its commands at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.limits import JointLimits


class FollowingGuard:
    """Compares the measured pose with the commands while the arm moves.

    A driver whose controller is inactive, an emergency stop, or something that holds the arm can't
    be seen in joint states that go on. Commands that run away from such an arm are what it is
    thrown after later.

    Args:
        tolerance: the largest distance from the command, [A] robot units; infinite: any.
        joints: names for the sentence.
        limits: say which joints turn endlessly: whole turns are no error.
        patience: ticks in a row that it may last: a measured pose is older than its command.
    """

    def __init__(
        self, tolerance: np.ndarray, joints: Sequence[str], limits: JointLimits, patience: int
    ) -> None:
        self._tolerance = tolerance
        self._joints = joints
        self._limits = limits
        self._patience = patience
        self._ticks = 0
        self._lost = False

    def problem(self, measured: np.ndarray, command: np.ndarray | None) -> str:
        """Say why motion must not go on; "" where it may. Call it at each tick before the step.

        ``measured`` and ``command`` are [A] (None: nothing was commanded yet). Once an arm was
        lost it has to come back within half the tolerance.
        """
        if command is None:
            self._ticks, self._lost = 0, False
            return ""
        error = np.abs(self._limits.nearest(measured, command) - command)
        beyond = error - self._tolerance * (0.5 if self._lost else 1.0)
        worst = int(np.argmax(beyond))
        self._ticks = self._ticks + 1 if beyond[worst] > 0 else 0
        self._lost = self._ticks > 0 and (self._lost or self._ticks > self._patience)
        if not self._lost:
            return ""
        return (
            f"{self._joints[worst]} is {error[worst]:.3g} from its command and doesn't follow "
            f"(following_tolerance is {self._tolerance[worst]:g}): its driver's controller isn't "
            "active, or something holds it; it goes on once it is within half of that"
        )
