"""Chunks and states whose every number follows from one number, so that a mixture shows."""

from __future__ import annotations

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
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
    return bool(np.array_equal(got.actions, wanted.actions)) and all(
        getattr(got, key) == getattr(wanted, key)
        for key in (
            "origin_step", "step_epoch", "rows", "delay", "stride", "guided", "observation_ns",
            "start_ns", "end_ns",
        )
    )  # fmt: skip


def state(number: int, spec: HandoffSpec = SPEC) -> CursorState:
    """Return the state that a controller's ``number``-th tick has."""
    dim = spec.action_dim
    rows = np.arange((HISTORY_ROWS + 7) * dim).reshape(-1, dim) + number * 1e6
    whole = ("step", "tick", "tick_ns", "chunk_epoch", "chunk_seq", "chunk_origin_step",
             "seen_epoch", "seen_seq", "swap_step", "swap_tick", "swaps",
             "soft_start_ticks")  # fmt: skip
    numbers = {name: number + offset for offset, name in enumerate(whole)}
    return CursorState(
        epoch=number + 50,
        mode=Mode(number % len(Mode)),
        coherent=bool(number % 2),
        command=rows[0],
        lower=rows[1],
        upper=rows[2],
        max_step=rows[3],
        max_bend=rows[4],
        turn=rows[5],
        last_step=rows[6],
        history=rows[7:],
        **numbers,
    )


def same_state(got: CursorState, wanted: CursorState) -> bool:
    """Compare every field."""
    return all(np.array_equal(value, getattr(wanted, key)) for key, value in vars(got).items())
