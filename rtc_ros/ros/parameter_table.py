"""What a ROS parameter is declared by, and the parameters that both nodes have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``default`` also fixes the type; an empty tuple of strings is ``[""]``.

    ``low``/``high`` bound numbers (inclusive). ``live`` says that it may change while the node
    runs, ``reload`` that it may change while the node is unconfigured; all others are read-only.
    ``choices`` are the words that are allowed; in a ``path``, ``~`` and environment variables are
    expanded.
    """

    name: str
    default: Any
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    reload: bool = False
    path: bool = False


UNSET = [math.nan]
"""The default of numbers that must be set: there is no safe guess."""

COMMON = (
    Parameter(
        "joints",
        [""],
        "The joints that the policy commands, in the order of its action vector. Must be set.",
    ),
    Parameter("control_period", 0.02, "Δt: one action is executed per period.", "s", 0.001, 1.0),
    Parameter(
        "handoff_name",
        "rtc_ros",
        "Names the shared memory between the two nodes, followed by their namespace. Of several "
        "robots each needs a namespace of its own, whatever this is.",
    ),
    Parameter(
        "joint_state_topics",
        ["joint_states"],
        "Where sensor_msgs/JointState comes from; joints are matched by name over all topics.",
    ),
    Parameter(
        "joint_state_prefixes",
        [""],
        "One for each of joint_state_topics, put before the names there: for arms that call their "
        "joints the same. Empty: the names as they are.",
    ),
    Parameter(
        "joint_state_timeout",
        0.5,
        "Joint states older than this are stale: the controller holds, no inference starts.",
        "s",
        0.01,
        60.0,
    ),
)


def names(table: Iterable[Parameter], *, live: bool) -> list[str]:
    """Return the names of the parameters that may (or may not) change while running."""
    return [p.name for p in table if p.live == live]
