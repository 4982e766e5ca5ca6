"""Where bare commands came from, found by comparing them with the chunks beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity.run_log import CommandLog, Provenance
from rtc_ros.core.cursor import Mode

DECIMALS = 6
"""A command is a chunk's row where all joints agree to so many decimals."""

LEAST_SHARE = 0.5
"""With a smaller share of commands that are a chunk's row, nothing is inferred."""

_RECENT = 3
"""Chunks that a command may come from: the newest ones that had arrived."""


def with_origins(
    log: CommandLog, chunks: Sequence[tuple[int, np.ndarray]]
) -> tuple[CommandLog, list[ActionChunk], float] | None:
    """Return the log with inferred provenance, the chunks at their steps, and the share matched.

    A command that is a row of a chunk that had arrived comes from there; one that repeats the
    command before it is a hold; any other one goes on in its chunk, changed on its way (counted
    as limited). What needs to be told, forecasts and lateness, stays unknown.

    Args:
        log: commands without provenance.
        chunks: when each one came [ns], in order, and its rows [H, A] in the order of the joints.

    Returns:
        None where too few commands are a chunk's row to say anything.
    """
    if not len(log) or not chunks:
        return None
    times = np.array([at for at, _ in chunks])
    rows_of = [_places(rows) for _, rows in chunks]
    newest = np.searchsorted(times, log.stamp_ns, side="right") - 1
    keys = _keys(log.command)
    chunk, row, step, known = NO_STEP, NO_STEP, 0, 0
    columns = np.zeros((len(log), len(Provenance.names())))
    origins: dict[int, int] = {}
    for k, key in enumerate(keys):
        found = _find(key, chunk, row, int(newest[k]), rows_of)
        held = found is None and k > 0 and key == keys[k - 1]
        ends = chunk == NO_STEP or row + 1 >= len(chunks[chunk][1])
        if found is not None:
            chunk, row = found
            known += 1
        elif not held and not ends:
            row += 1
        executed = found is not None or not (held or ends)
        if executed:
            origins.setdefault(chunk, step - row)
        mode = Mode.RUNNING if executed else Mode.WAITING if chunk == NO_STEP else Mode.STARVED
        columns[k] = (
            *(step, k, row if executed else NO_STEP, step - row if executed else NO_STEP),
            *(0, chunk, 0, int(executed and found is None), np.nan, mode),
        )
        step += executed
    if known < LEAST_SHARE * len(log):
        return None
    origin = Provenance.from_columns(columns)
    origin = replace(origin, lateness_us=np.full(len(log), np.nan))
    placed = [
        ActionChunk(chunks[i][1], at, seq=i, delay=NO_STEP, stride=NO_STEP)
        for i, at in origins.items()
        if at >= 0
    ]
    return replace(log, provenance=origin), placed, known / len(log)


def _find(
    key: bytes, chunk: int, row: int, newest: int, rows_of: Sequence[dict[bytes, list[int]]]
) -> tuple[int, int] | None:
    """Return the chunk and row that a command is, None where it is none's.

    Where two chunks share rows (frozen ones) it is the newer's: that is executed as it comes.
    """
    for i in range(newest, max(chunk, newest - _RECENT), -1):
        if key in rows_of[i]:
            return i, rows_of[i][key][0]
    if chunk == NO_STEP:
        return None
    ahead = [r for r in rows_of[chunk].get(key, ()) if r > row]
    return (chunk, ahead[0]) if ahead else None


def _keys(rows: np.ndarray) -> list[bytes]:
    # Adding 0 makes -0 the same as 0.
    return [row.tobytes() for row in np.round(rows, DECIMALS) + 0.0]


def _places(rows: np.ndarray) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for i, key in enumerate(_keys(rows)):
        places.setdefault(key, []).append(i)
    return places
