"""An arm for the controller's guards, told tick by tick."""

import numpy as np

from rtc_ros.core.controller import Inputs
from rtc_ros.core.guards import Arm, Guards

PERIOD_S = 0.02


def guards_of(limits, resume=np.inf, following=np.inf, period_s=PERIOD_S):
    """Return guards whose tolerances are these, for joints a, b, …"""
    size = len(limits.lower)
    return Guards(
        tuple("abcdefgh"[:size]),
        limits,
        np.broadcast_to(np.asarray(resume, float), size),
        np.broadcast_to(np.asarray(following, float), size),
        period_s,
    )


def seen(pose, problem="", received_ns=1, **inputs):
    """Return the inputs of a tick in which the arm is seen at ``pose``."""
    pose = np.array(pose, float)
    return Inputs(arm=Arm(pose, np.full(len(pose), received_ns), problem), **inputs)
