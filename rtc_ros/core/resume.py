"""Whether an arm still stands where its commands left it, once its joint states are back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.cursor import Mode
from rtc_ros.core.limits import JointLimits


class ResumeGuard:
    """Compares the following error after a fault with that before it.

    While joint states are missing nobody sees the arm. A run goes on from the last command: an
    arm that was moved meanwhile (an emergency stop, a driver that came back limp, a hand) would
    be thrown back to it by its driver, so it has to be started anew, from the measured pose. An
    error that was there before, of a gripper that holds something or an arm that sags, is none
    that a hand made: only its growth counts.

    Args:
        tolerance: how much the following error may have grown, [A] robot units; infinite: any.
        joints: names for the sentence.
        limits: say which joints turn endlessly: whole turns are no error.
    """

    def __init__(
        self, tolerance: np.ndarray, joints: Sequence[str], limits: JointLimits | None = None
    ) -> None:
        self._tolerance = tolerance
        self._joints = joints
        self._limits = limits or JointLimits.none(len(joints))
        self._before: np.ndarray | None = None
        self._received = np.zeros(len(joints), dtype=np.int64)

    def problem(
        self,
        mode: Mode,
        measured: np.ndarray,
        command: np.ndarray | None,
        received_ns: np.ndarray,
    ) -> str:
        """Say why motion must not go on; "" where it may. Call it at each tick before the step.

        ``measured`` and ``command`` are [A] (None: nothing was commanded yet), ``mode`` is that of
        the last tick. ``received_ns`` int64[A] is when each joint's state came: between the last
        one and the fault the commands go on, and an arm that nobody sees is not behind them.
        """
        if command is None or mode not in (Mode.RUNNING, Mode.STARVED, Mode.FAULT):
            self._before = None
            return ""
        error = np.abs(self._limits.nearest(measured, command) - command)
        if mode is not Mode.FAULT or self._before is None:
            news = received_ns != self._received
            self._before = error if self._before is None else np.where(news, error, self._before)
            self._received = received_ns
            return ""
        grown = error - self._before
        excess = np.where(np.isfinite(self._tolerance), grown - self._tolerance, -np.inf)
        worst = int(np.argmax(excess))
        if excess[worst] <= 0:
            return ""
        return (
            f"{self._joints[worst]} is {error[worst]:.3g} from its last command, and was "
            f"{self._before[worst]:.3g} before the fault (resume_tolerance is "
            f"{self._tolerance[worst]:g}): the arm was moved; call ~/stop, then ~/start"
        )
