"""The chunk ring: action chunks from the inference process to the controller."""

from __future__ import annotations

import math

import numpy as np

from rtc_ros.core.chunk import ActionChunk, check_counts
from rtc_ros.handoff.endpoint import Endpoint
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.files import is_unlocked
from rtc_ros.handoff.records import RING, named
from rtc_ros.handoff.segment import SegmentWriter
from rtc_ros.handoff.segment_reader import Slot
from rtc_ros.handoff.spec import HandoffSpec

_NAMES = ("seq", "epoch", *RING.names)
"""Of a slot's values, as a chunk calls them."""


class ChunkRing(Endpoint[ActionChunk]):
    """One side of a ring of action chunks: the inference creates it, the controller attaches."""

    _record = RING

    @classmethod
    def create(
        cls, name: str, spec: HandoffSpec, *, slots: int = 8, directory: str | None = None
    ) -> ChunkRing:
        """Become the writer of ring ``name``; ``spec.horizon`` must be given.

        Raises WriterPresentError where another process writes it, FullError, AccessError.
        """
        if spec.horizon < 1:
            raise ValueError("a ring's writer must give H: horizon is 0 in its spec")
        return cls(writer=SegmentWriter(RING, name, spec, slots, directory))

    def write(self, chunk: ActionChunk) -> ActionChunk:
        """Hand ``chunk`` over; returns it under its name, the ring's epoch and the next seq.

        Raises HandoffError where its shape isn't [H, A] or an action isn't finite.
        """
        writer = self._writer()
        spec = writer.header.spec
        actions = chunk.actions
        if actions.shape != (spec.horizon, spec.action_dim):
            raise HandoffError(
                f"a chunk of shape {list(actions.shape)} doesn't fit the ring {writer.path}, "
                f"made for [H, A] = [{spec.horizon}, {spec.action_dim}]: create the ring with "
                "the policy's horizon and joints"
            )
        # The sum of squares is finite only if all are, in one call; it may overflow as well.
        if not math.isfinite(np.vdot(actions, actions)) and not np.isfinite(actions).all():
            row, joint = np.argwhere(~np.isfinite(actions))[0]
            raise HandoffError(
                f"the chunk's row {row} is {actions[row, joint]} for joint "
                f"{spec.joint_names[joint]}: a chunk with non-finite actions is never handed over"
            )
        seq = writer.write(RING.values_of(chunk))
        writer.wake()
        return chunk.named(writer.header.epoch, seq)

    def say_ready(self, at_ns: int) -> None:
        """Say when a chunk could last have been made (CLOCK_MONOTONIC ns); the writer's side.

        A controller opens its gate only to a writer that could; 1: not yet. One that never says
        is believed.
        """
        self._writer().say_ready(at_ns)

    def say_hindrance(self, text: str) -> None:
        """Say what a chunk can't be made without, "" for nothing; the writer's side."""
        self._writer().say_hindrance(text)

    @property
    def hindrance(self) -> str:
        """What the writer last said that it lacks; "" for nothing."""
        return self._reader().hindrance

    @property
    def writer_gone(self) -> bool:
        """Whether the writer's process ended without closing the ring, as one that is killed.

        Known by its lock, so in every PID namespace; of a copy that ``rtc_link`` writes the writer
        is ``rtc_link``.
        """
        return not self._reader().retired and is_unlocked(self.path)

    @property
    def writer_left(self) -> bool:
        """Whether the writer closed the ring, or a successor is taking over."""
        return self._reader().retired

    @property
    def ready_ns(self) -> int:
        """When the writer last said that it could make a chunk; 0: it never says."""
        return self._reader().ready_ns

    def read_newest(self) -> ActionChunk | None:
        """Return the newest whole chunk, the same one again if none is newer, None before any.

        Follows a writer that came back; until that one's first chunk the old chunk is returned.
        Raises a HandoffError if a new writer's segment can't be used.
        """
        return self._read()

    def recent(self) -> list[ActionChunk]:
        """Return all whole chunks that the ring of the present writer holds, oldest first."""
        self.poll()
        reader = self._reader()
        return [self._decoded(slot, reader.header.spec) for slot in reader.all()]

    @staticmethod
    def _decode(slot: Slot, spec: HandoffSpec) -> ActionChunk:
        fields = named(_NAMES, slot)
        check_counts(fields["rows"], spec.horizon, fields["origin_step"])
        return ActionChunk.of(fields)
