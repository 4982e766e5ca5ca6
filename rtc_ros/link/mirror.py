"""A segment's two ends on one machine: the one that is read here, the copy that is written here.

Both keep the run and the numbers that the segment's first writer gave: the inference knows what
became of a chunk by its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from rtc_ros.handoff.errors import AbsentError, HandoffError
from rtc_ros.handoff.files import segment_path
from rtc_ros.handoff.layout import MAX_EPOCH
from rtc_ros.handoff.records import CURSOR, RING, Record
from rtc_ros.handoff.segment import SegmentWriter
from rtc_ros.handoff.segment_reader import SegmentReader
from rtc_ros.handoff.spec import HandoffSpec

STAMPS = {
    RING.kind: ("observation_ns", "start_ns", "end_ns"),
    CURSOR.kind: ("tick_ns",),
}
"""What the slots have of the writing machine's clock."""
_NEVER_NS = 1
_SLOTS = 8
_RETRY_NS = 200_000_000
_SOON_S = 0.001


class Source:
    """The segment whose writer is on this machine, as long as there is one that fits."""

    def __init__(
        self, record: Record, name: str, spec: HandoffSpec, directory: str | None = None
    ) -> None:
        self.record, self.spec = record, spec
        self.path = segment_path(name, directory)
        self.problem = ""
        self.run = self.seq = 0
        self.start_ns = 0
        self.found_ns = 0
        """When the newest slot was found."""
        self.body = b""
        """The newest slot, or empty."""
        self._reader: SegmentReader | None = None
        self._looked = 0
        self._due_ns = 0

    def look(self, now_ns: int) -> bool:
        """Look for something newer; tell whether there is. Below a µs where there isn't."""
        try:
            if self._reader is None and not self._attach(now_ns):
                return False
            reader = self._reader
            assert reader is not None
            self._looked = reader.published
            if not reader.changed(self.seq):
                return False
            if reader.header.epoch != self.run:
                self.run, self.seq, self.body = reader.header.epoch, 0, b""
            slot = reader.newest(self.seq)
        except HandoffError as error:
            self.problem, self._reader = str(error), None
            return False
        if slot is None:
            return False
        whole = np.zeros((), self.record.body(reader.header.spec))
        whole[()] = slot
        self.seq, self.body, self.found_ns = slot[0], whole.tobytes(), now_ns
        self.start_ns = int(whole["start_ns"]) if self.record is RING else 0
        return True

    def _attach(self, now_ns: int) -> bool:
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + _RETRY_NS
        try:
            self._reader = SegmentReader(self.record, self.path, self.spec)
        except AbsentError:
            self.problem = ""
            return False
        self.problem, self.body = "", b""
        self.run, self.seq = self._reader.header.epoch, 0
        return True

    @property
    def news(self) -> bool:
        """Whether ``look`` would find a newer slot, at a glance; from any thread."""
        reader = self._reader
        return reader is not None and reader.published != self.seq

    def wait(self, limit_s: float) -> None:
        """Wait for what its writer publishes next, for ``limit_s`` at most."""
        reader = self._reader
        if reader is None:
            time.sleep(limit_s)
        else:
            # What was looked at may have been no whole slot yet: then it is looked at again soon.
            reader.wait(self._looked, limit_s if self._looked == self.seq else _SOON_S)

    @property
    def there(self) -> bool:
        """Whether there is a segment."""
        return self._reader is not None

    @property
    def made_for(self) -> HandoffSpec:
        """The joints, Δt and H of its writer."""
        return self.spec if self._reader is None else self._reader.header.spec

    @property
    def retired(self) -> bool:
        """Whether its writer has left it."""
        return self._reader is not None and self._reader.retired

    @property
    def ready_ns(self) -> int:
        """See ``SegmentReader.ready_ns``."""
        return 0 if self._reader is None else self._reader.ready_ns

    @property
    def hindrance(self) -> str:
        """See ``SegmentReader.hindrance``."""
        return "" if self._reader is None else self._reader.hindrance

    def close(self) -> None:
        """Let go of it; the mapping goes with the last reference."""
        self._reader = None


class Mirror:
    """The copy, on this machine, of a segment of the other machine; this process writes it."""

    def __init__(
        self, record: Record, name: str, spec: HandoffSpec, directory: str | None = None
    ) -> None:
        self.record, self.spec = record, spec
        self._name, self._directory = name, directory
        self.problem = ""
        self.run = self.seq = 0
        """Of the newest slot that was written."""
        self._writer: SegmentWriter | None = None
        self._retired = False
        self._due_ns = 0

    def follow(self, run: int, spec: HandoffSpec, now_ns: int) -> bool:
        """Make the copy ready for slots of ``run``, made for ``spec``; tell whether it is."""
        writer = self._writer
        if writer is not None and writer.header.epoch == run and writer.header.spec == spec:
            return True
        if differences := self.spec.differences(spec):
            self.problem = (
                f"the {self.record.name} of the other machine doesn't fit this one: "
                f"{'; '.join(differences)}. Give both machines one parameter file"
            )
            return False
        if not 0 < run < MAX_EPOCH:
            self.problem = f"{run} can't be the run of a {self.record.name}"
            return False
        if self.problem and now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + _RETRY_NS
        try:
            if writer is not None:
                self._writer = None
                writer.close()
            self._writer = SegmentWriter(
                self.record, self._name, spec, _SLOTS, self._directory, run=run
            )
        except (HandoffError, ValueError) as error:
            self.problem = str(error)
            return False
        self.problem, self._retired = "", False
        self.run, self.seq = run, 0
        return True

    def write(self, body: bytes, ours: Callable[[int], int], now_ns: int) -> str:
        """Write a slot with its times by this machine's clock; return "" or why it isn't.

        One that is no newer than the newest is passed over.
        """
        writer = self._writer
        assert writer is not None
        kind = self.record.body(writer.header.spec)
        if len(body) != kind.itemsize:
            return f"a slot of {len(body)} bytes where {kind.itemsize} are due"
        slot: np.ndarray = np.ndarray((), kind, bytearray(body))
        seq, run = int(slot["seq"]), int(slot["run"])
        if run != writer.header.epoch or seq < 1:
            return f"slot {seq} of run {run} under the name of run {writer.header.epoch}"
        if seq <= self.seq:
            return ""
        for stamp in STAMPS[self.record.kind]:
            at_ns = int(slot[stamp])
            # Whatever the offset's error: nothing comes before it was sent.
            slot[stamp] = min(ours(at_ns), now_ns) if at_ns else 0
        writer.mirror(slot.tobytes(), seq)
        self.seq = seq
        return ""

    def tell(self, ready_ns: int, hindrance: str, *, retired: bool) -> None:
        """Pass on what the writer says of itself; ``ready_ns`` by this machine's clock."""
        writer = self._writer
        if writer is None or self._retired:
            return
        writer.say_hindrance(hindrance)
        writer.say_ready(ready_ns)
        if retired:
            self._retired = True
            writer.retire()

    def close(self) -> None:
        """End the copy: its readers see that its writer has left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def ready_here(ready_ns: int, ours: Callable[[int], int], now_ns: int) -> int:
    """Return the other machine's ``ready_ns`` by this machine's clock.

    A writer that never says is believed as long as it is heard, not for ever.
    """
    if ready_ns == _NEVER_NS:
        return _NEVER_NS
    return min(ours(ready_ns), now_ns) if ready_ns else now_ns
