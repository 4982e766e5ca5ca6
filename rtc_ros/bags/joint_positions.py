"""What a joint state says of each joint: one rule for nodes, preflight, continuity and replay."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

WHOLE = ""
"""Among the faults: that of the message, not of one of its joints."""


class JointPositions(NamedTuple):
    """What n messages with the same names say.

    ``joints`` are their J joints, each once. ``positions`` float64[n, J] is NaN where a message
    says nothing of a joint that could be used: the last one that did holds. ``faults`` tell why,
    of the first message in which it is so, by joint; under ``WHOLE`` that of the message.
    """

    joints: tuple[str, ...]
    positions: np.ndarray
    faults: Mapping[str, str]


def read_positions(names: Sequence[str], positions: np.ndarray) -> JointPositions:
    """Read ``positions`` [n, P] of n messages with the same P or other ``names``.

    No position at all is no fault: a message may have velocities only. Where there are more or
    fewer positions than names, nobody knows which is whose: none is used. A joint that is there
    twice with two positions has none, nor has one whose position isn't finite.
    """
    joints, first, again = _places(tuple(names))
    values = np.asarray(positions, dtype=np.float64)
    if values.shape[1] != len(names):
        nothing = np.full((len(values), len(joints)), np.nan)
        told = f"a message has {len(names)} names and {values.shape[1]} positions"
        return JointPositions(joints, nothing, {WHOLE: told} if values.shape[1] else {})
    found = values.take(first, axis=1)
    faults: dict[str, str] = {}
    for column, place in again:
        differs = ~((found[:, column] == values[:, place]) | np.isnan(found[:, column]))
        if differs.any():
            one, other = values[int(np.argmax(differs)), [first[column], place]]
            faults.setdefault(
                joints[column],
                f"{joints[column]} is twice in a message, at {one:.6g} and at {other:.6g}",
            )
            found[differs, column] = np.nan
    finite = np.isfinite(found)
    if not finite.all():
        for column in np.flatnonzero(~finite.all(axis=0)).tolist():
            value = values[int(np.argmin(finite[:, column])), first[column]]
            faults.setdefault(joints[column], f"the position of {joints[column]} is {value:g}")
        found = np.where(finite, found, np.nan)
    return JointPositions(joints, found, faults)


@functools.lru_cache(maxsize=256)
def _places(
    names: tuple[str, ...],
) -> tuple[tuple[str, ...], np.ndarray, list[tuple[int, int]]]:
    """Return each name once, where it is, and what is there again (its column, its place)."""
    joints = tuple(dict.fromkeys(names))
    column = {name: i for i, name in enumerate(joints)}
    first = [names.index(name) for name in joints]
    again = [(column[n], place) for place, n in enumerate(names) if first[column[n]] != place]
    return joints, np.array(first, dtype=np.intp), again
