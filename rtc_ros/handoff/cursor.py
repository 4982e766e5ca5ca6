"""The step cursor: what the controller tells the inference process after every tick."""

from __future__ import annotations

from rtc_ros.core.cursor import CursorState
from rtc_ros.handoff.endpoint import Endpoint
from rtc_ros.handoff.errors import HandoffError
from rtc_ros.handoff.records import CURSOR, named
from rtc_ros.handoff.segment import SegmentWriter
from rtc_ros.handoff.segment_reader import Slot
from rtc_ros.handoff.spec import HandoffSpec

_SCALARS = len(CURSOR.names) - len(CURSOR.array_names)


class StepCursor(Endpoint[CursorState]):
    """One side of a cursor: the controller creates it, the inference attaches.

    ``epoch`` is the run of the controller's process and good for its first step epoch; one that
    starts its count anew within a run takes ``segment.next_epoch(previous)``.
    """

    _record = CURSOR
    _shapes: list[tuple[int, ...]]

    @classmethod
    def create(
        cls, name: str, spec: HandoffSpec, *, slots: int = 8, directory: str | None = None
    ) -> StepCursor:
        """Become the writer of cursor ``name``; ``spec.horizon`` may be 0.

        Raises WriterPresentError where another process writes it, FullError, AccessError.
        """
        cursor = cls(writer=SegmentWriter(CURSOR, name, spec, slots, directory))
        body = CURSOR.body(spec)
        cursor._shapes = [body[array].shape for array in CURSOR.array_names]
        return cursor

    def write(self, state: CursorState) -> None:
        """Publish ``state``; made for every control tick (a few µs, no system call).

        Raises HandoffError where an array's shape isn't that of the joints: a scalar or a row of
        one would otherwise be spread over all of them.
        """
        writer = self._writer()
        values = CURSOR.values_of(state)
        shapes = [array.shape for array in values[_SCALARS:]]
        if shapes != self._shapes:
            raise HandoffError(
                f"{', '.join(CURSOR.array_names)} have the shapes {shapes}, and the cursor "
                f"{writer.path} is made for {self._shapes}"
            )
        writer.write(values)

    def read(self) -> CursorState | None:
        """Return the newest whole state, the same one again if none is newer, None before any.

        Its arrays are read-only. Follows a controller that came back; until that one's first
        tick the old state is returned. Raises a HandoffError if its segment can't be used.
        """
        return self._read()

    @staticmethod
    def _decode(slot: Slot, spec: HandoffSpec) -> CursorState:
        return CursorState.of(named(CURSOR.names, slot[2:]))
