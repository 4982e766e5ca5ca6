"""Chunks out of the inference node's ring, as long as there is one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.files import is_unlocked, segment_path
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report

T = TypeVar("T")

_RETRY_S = 0.2
_READY_S = 2.0
"""rtc_inference looks at its inputs at least once a second, but for while the policy runs."""
_NEVER_NS = 1


class ChunkInput:
    """Attaches to a ring whenever there is one that fits; looked at once a tick, never waits."""

    def __init__(self, name: str, spec: HandoffSpec) -> None:
        self._name = name
        self._spec = spec
        self._ring: ChunkRing | None = None
        self._problem = ""
        self._due_s = 0.0
        self._left_over, self._old_epoch = "", 0
        """What an earlier run left there, and its epoch where it fits."""

    def newest(self, step_epoch: int) -> ActionChunk | None:
        """Return the newest chunk if there is a newer one than at the last call, else None.

        Of a ring that was just found only a chunk that counts the steps of ``step_epoch``.
        """
        try:
            if self._ring is not None:
                return self._ring.read_newest() if self._ring.poll() else None
            chunk = self._attached()
            return chunk if chunk is not None and chunk.step_epoch == step_epoch else None
        except HandoffError as error:
            self.close()
            problem, left_over = str(error), ""
            if is_unlocked(path := segment_path(self._name)):
                problem, left_over = "", f"{path} is of an earlier run and doesn't fit this one"
            self._problem, self._left_over = problem, left_over
            return None

    def _attached(self) -> ActionChunk | None:
        now = time.monotonic()
        if now < self._due_s:
            return None
        self._due_s = now + _RETRY_S
        ring = ChunkRing.attach_or_none(self._name, self._spec)
        left_over = ""
        if ring is not None and (ring.writer_left or ring.writer_gone):
            left_over = f"{ring.path} is of an earlier run, whose process has ended"
            self._old_epoch = ring.epoch
        self._left_over, self._problem, self._ring = left_over, "", ring
        return None if ring is None else ring.read_newest()

    def missing(self, there: Callable[[], bool] = lambda: False) -> str:
        """Say why no chunk could come now; "" where one could. Safe to call from any thread.

        ``there`` tells whether an rtc_inference is in the ROS graph, which may take a while.
        """
        found = self._of_the_ring(lambda ring: (self._is_old(ring), *_hindrance(ring)))
        if problem := self._problem:
            return problem
        old, dead, said = (bool(self._left_over), True, "") if found is None else found
        if not dead:
            return said
        if not there():
            absent = (
                f"no rtc_inference: there is no {self._name} in shared memory (not started, not "
                "activated, or another handoff_name)"
            )
            old_one = f"no rtc_inference runs: {self._left_over} (not started, or not activated)"
            return said if said and not old else old_one if old else absent
        loads = (
            "a node rtc_inference is there and hands nothing over: it is still loading its "
            "policy, can't be configured, or has another handoff_name (its log and "
            "rtc_inference: inference in /diagnostics say which)"
        )
        if old:
            return f"{loads}; {self._left_over}"
        return f"{said}; {loads}" if said else loads

    def _is_old(self, ring: ChunkRing) -> bool:
        """Tell whether the ring had no writer any more when it was found."""
        return bool(self._left_over) and ring.epoch == self._old_epoch

    def report(self) -> Report:
        """Say whether there is a ring, and whether it fits. Safe to call from any thread."""
        values = self._of_the_ring(
            lambda ring: (
                self._is_old(ring),
                {"ring": ring.path, "H": ring.spec.horizon, "epoch": ring.epoch},
            )
        )
        if problem := self._problem:
            return Report(ERROR, problem)
        if values is None:
            absent = self._left_over or "the ring is absent"
            return Report(WARN, f"no inference node yet: {absent}")
        old, facts = values
        if old:
            return Report(WARN, f"no inference node yet: {self._left_over}", facts)
        return Report(OK, "attached", facts)

    def _of_the_ring(self, say: Callable[[ChunkRing], T]) -> T | None:
        """Return what is said of the ring, None without one; the tick may let go of it in that."""
        for _ in range(2):
            ring = self._ring
            with contextlib.suppress(HandoffError):
                return None if ring is None else say(ring)
        return None

    def close(self) -> None:
        """Let go of the ring."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()


def _hindrance(ring: ChunkRing) -> tuple[bool, str]:
    """Say whether the ring's writer is gone, and why it can't make a chunk; "" where it could."""
    process, said_ns = f"rtc_inference (process {ring.writer_pid})", ring.ready_ns
    if ring.writer_left:
        return True, f"{process} has ended or was deactivated"
    if ring.writer_gone:
        return True, (
            f"process {ring.writer_pid}, which wrote {ring.path} (rtc_inference, or rtc_link in "
            "its place), is gone: it was killed or crashed; start it again"
        )
    age_s = (time.monotonic_ns() - said_ns) * 1e-9
    if not said_ns or age_s <= _READY_S:
        return False, ""
    since = "yet" if said_ns == _NEVER_NS else f"for {age_s:.1f} s"
    why = ring.hindrance or "it has ended, or an inference takes longer than the last one"
    return False, (
        f"{process} couldn't make a chunk {since}: {why} (see rtc_inference: inference in "
        "/diagnostics)"
    )
