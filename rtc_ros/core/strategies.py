"""The ways of executing chunks that can be chosen with the ``strategy`` parameter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Strategy:
    """How chunks are made and played.

    ``guided``: the new chunk is guided to the previous one. ``schedule``: the mask's schedule,
    or None for the one that the ``schedule`` parameter names. ``pauses``: the arm holds during
    inference, and only s_min rows of each chunk are executed.
    """

    name: str
    guided: bool
    pauses: bool
    schedule: str | None
    description: str


STRATEGIES = {
    s.name: s
    for s in (
        Strategy("rtc", True, False, None, "guided by the soft mask (the paper)"),
        Strategy("rtc_hard", True, False, "zeros", "guided on the first d rows only"),
        Strategy(
            "naive_async", False, False, None, "infer while executing, switch when ready, unguided"
        ),
        Strategy(
            "synchronous", False, True, None, "execute s_min rows, hold while inferring, go on"
        ),
    )
}
