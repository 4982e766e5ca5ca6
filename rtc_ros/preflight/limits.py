"""The limits that the controller would keep: whether there are all, and where the arm stands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rtc_ros.controller.limit_sources import (
    Degrees,
    Doubt,
    jerk_delay_s,
    joint_limits,
    may_be_degrees,
    slow_to_brake,
)
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.urdf import MOST_RAD
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.joints import pose
from rtc_ros.preflight.probe import Probe
from rtc_ros.preflight.setup import Setup
from rtc_ros.ros.parameters import ConfigurationError

_LATE_S = 0.1
"""Commands that are later than this because of a jerk limit are worth a word."""


def check_limits(setup: Setup, probe: Probe, patience_s: float) -> Iterator[Finding]:
    """Check the limits as the controller would take them from parameters, file and description.

    A robot description is waited for no longer than ``patience_s``.
    """
    p, topic = dict(setup.controller), setup.description_topic
    seconds = p["robot_description_timeout"] = min(p["robot_description_timeout"], patience_s)
    try:
        limits, said = joint_limits(
            p,
            setup.joints,
            setup.period_s,
            lambda: probe.description(topic, seconds) if topic else "",
        )
    except ConfigurationError as error:
        yield bad("limits", str(error), "set it; rtc_controller refuses to start like this")
        return
    yield good("limits", "; ".join(s for s in said if not isinstance(s, Doubt)))
    for sentence in said:
        if isinstance(sentence, Degrees):
            yield from _degrees(setup, probe, limits, sentence)
        elif isinstance(sentence, Doubt):
            yield doubt(
                "limits stated", sentence, "put right what says it, or set the parameter itself"
            )
    if not limits.bends:
        yield doubt(
            "acceleration limits",
            "there are none: whatever ends the motion, the arm stops within one step",
            "max_acceleration: what the driver allows, or less",
        )
    if slow := slow_to_brake(limits, setup.period_s):
        yield doubt(
            "braking", slow, "raise max_acceleration or lower max_velocity; ~/stop before ^C"
        )
    late_s = jerk_delay_s(limits, setup.period_s)
    if late_s > _LATE_S:
        yield doubt(
            "jerk limits",
            f"they make every command {late_s * 1e3:g} ms late",
            "raise max_jerk (.inf: none), or lower max_acceleration",
        )
    yield from _pose(setup, probe, limits)


def _degrees(
    setup: Setup, probe: Probe, limits: JointLimits, told: Degrees
) -> Iterator[Finding]:
    """Doubt limits in degrees, unless the arm stands where no radians are: then its driver's are.

    A ✗ where most joints are so: the arm would move without limits.
    """
    judged = [setup.joints[i] for i in may_be_degrees(setup.joints, limits)]
    seen = [at for joint in judged if (at := pose(setup, probe, [joint])) is not None]
    if seen and np.abs(seen).max() > MOST_RAD:
        return
    yield (bad if told.sure else doubt)(
        "units of the limits",
        told,
        "joint states and limits are in radians: divide by 57.3 (in a joint_limits_file also "
        "!degrees). A driver that speaks degrees is believed once a joint is beyond "
        f"{MOST_RAD:g}",
    )


def _pose(setup: Setup, probe: Probe, limits: JointLimits) -> Iterator[Finding]:
    """Check that the arm stands within its position limits."""
    at = pose(setup, probe, setup.joints)
    if at is None:
        return
    out = np.flatnonzero((at < limits.lower) | (at > limits.upper))
    if not len(out):
        yield good("pose within position limits", "every joint stands within them")
        return
    named = (
        f"{setup.joints[i]} is at {at[i]:.3g}, the limits are {limits.lower[i]:.3g} to "
        f"{limits.upper[i]:.3g}"
        for i in out[:3]
    )
    yield doubt(
        "pose within position limits",
        "; ".join(named),
        "the arm will be led back inside at first: check order and units of the position limits",
    )
