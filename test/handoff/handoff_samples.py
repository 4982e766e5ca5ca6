"""Chunks and states whose every number follows from one number, so that a mixture shows."""

from __future__ import annotations

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import CursorState, Mode
from rtc_ros.handoff.records import CURSOR, RING
from rtc_ros.handoff.spec import HandoffSpec

JOINTS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in "abcdefg")
SPEC = HandoffSpec(JOINTS, 0.02, 50)

# So large that a killed writer is often in the middle of a slot.
BIG_RING = HandoffSpec(JOINTS, 0.02, 3000)
BIG_CURSOR = HandoffSpec(tuple(f"joint{i}" for i in range(300)), 0.02)


def chunk(number: int, spec: HandoffSpec = SPEC) -> ActionChunk:
    """Return the chunk that a writer's ``number``-th write has."""
    shape = (spec.horizon, spec.action_dim)
    return ActionChunk(
        np.arange(shape[0] * shape[1]).reshape(shape) + number * 1e6,
        origin_step=number,
        step_epoch=number + 1,
        rows=1 + number % spec.horizon,
        delay=number % 7,
        stride=number % 5,
        guided=bool(number % 2),
        observation_ns=number + 2,
        start_ns=number + 3,
        end_ns=number + 4,
    )


def same_chunk(got: ActionChunk, wanted: ActionChunk) -> bool:
    """Compare all but the chunk's name."""
    return _same(got, wanted, RING.names)


def state(number: int, spec: HandoffSpec = SPEC) -> CursorState:
    """Return the state that a controller's ``number``-th tick has."""
    first, fields = CURSOR.names.index("step"), {}
    for offset, name in enumerate(CURSOR.names):
        kind = CURSOR.body(spec)[name]
        if kind.shape:
            values = np.arange(np.prod(kind.shape)).reshape(kind.shape)
            fields[name] = values + number * 1e6 + offset * 1e9
        else:
            fields[name] = bool(number % 2) if kind.kind == "b" else number + offset - first
    return CursorState(**{**fields, "mode": Mode(number % len(Mode))})


def same_state(got: CursorState, wanted: CursorState) -> bool:
    """Compare every field."""
    return _same(got, wanted, CURSOR.names)


def _same(got: object, wanted: object, names: tuple[str, ...]) -> bool:
    return all(np.array_equal(getattr(got, name), getattr(wanted, name)) for name in names)
