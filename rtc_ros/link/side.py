"""One machine's side of the link, without ROS: messages in, messages out, time as an argument.

The robot's side reads the cursor and writes the copy of the ring, the GPU machine's side the other
way round. A slot is sent when it is new, and again until the other side says that it has it or a
newer one. Between slots a beat says that this side lives, what it has, and whom it hears.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtc_ros.handoff.records import CURSOR, RING
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.link.clock import ClockOffset
from rtc_ros.link.envelope import Envelope, EnvelopeError, unpack
from rtc_ros.link.mirror import Mirror, Source, ready_here
from rtc_ros.link.peer import LEASE_NS, Identity, Peer

BEAT_NS = 50_000_000
_AGAIN_NS = 20_000_000
"""A slot that wasn't acknowledged is sent again after this and the round trip."""
_COPY_NS = 4_000_000
"""A chunk is sent once more after this: one that is lost would be missed for a round trip."""
_TICK_NS = "tick_ns"
_AGES = 500


@dataclass(frozen=True)
class Role:
    """Which of the two machines: what is read there and what is written, by their records."""

    here: str
    there: str
    reads: int
    writes: int


ROBOT = Role("robot", "GPU machine", CURSOR.kind, RING.kind)
GPU = Role("GPU machine", "robot", RING.kind, CURSOR.kind)
_NAMES = {CURSOR.kind: "cursor", RING.kind: "ring"}
_RECORDS = {CURSOR.kind: CURSOR, RING.kind: RING}


class Side:
    """One side. Not safe to use from two threads at once.

    Args:
        role: ``ROBOT`` or ``GPU``.
        own: this process.
        handoff: the beginning of the segments' names.
        spec: the joints and Δt of this machine's nodes; H may be 0.
        beat_ns: a message goes out at least so often.
    """

    def __init__(
        self,
        role: Role,
        own: Identity,
        handoff: str,
        spec: HandoffSpec,
        directory: str | None = None,
        beat_ns: int = BEAT_NS,
    ) -> None:
        self.role, self.own, self._beat_ns = role, own, beat_ns
        self.peer = Peer(own, role.there)
        self.clock = ClockOffset()
        reads, writes = role.reads, role.writes
        self.source = Source(_RECORDS[reads], f"{handoff}.{_NAMES[reads]}", spec, directory)
        self.mirror = Mirror(_RECORDS[writes], f"{handoff}.{_NAMES[writes]}", spec, directory)
        self.image_request = 0
        """How many images were asked for here; changed by whoever asks."""
        self.torn = ""
        """The last message that wasn't whole."""
        self.torn_ns = 0
        self.urgent = False
        """Whether there is something to say before the next beat."""
        self.ages_ns: deque[int] = deque(maxlen=_AGES)
        """How old the last slots were when they were mirrored."""
        self._number = 0
        self._sent_ns = 0
        self._sent: tuple[int, int] = (0, 0)
        """The newest slot that was sent, and is to be sent until it is acknowledged."""
        self._copied = False
        self._echo = (0, 0)
        self._boot = 0
        self._since_ns = 0

    # -- what comes -------------------------------------------------------------------------

    def take(self, data: bytes, now_ns: int) -> Envelope | None:
        """Take what came from the other machine; None where nothing of it was believed."""
        try:
            message = unpack(data)
        except EnvelopeError as error:
            self.peer.counts["torn"] += 1
            self.torn, self.torn_ns = str(error), now_ns
            return None
        session = self.peer.session
        if message.kind != self.role.writes or not self.peer.hear(message, now_ns):
            return None
        if self.peer.session != session:  # another process, maybe of another machine
            self.clock = ClockOffset()
            self._sent = (0, 0)
        if self._boot not in (0, message.boot):
            # What was made for the steps of before may count like those of now.
            self._since_ns = now_ns
        self._boot = message.boot
        self._echo = (message.sent_ns, now_ns)
        if message.to == self.own.session:
            self.clock.add(
                message.echo_sent_ns, message.echo_received_ns, message.sent_ns, now_ns
            )
            self._copy(message, now_ns)
        return message

    def _copy(self, message: Envelope, now_ns: int) -> None:
        """Bring the copy up to what the message says."""
        if not message.run or not self.clock.known:
            return
        try:
            spec = message.spec()
        except EnvelopeError as error:
            self.mirror.problem = str(error)
            return
        mirror, ours = self.mirror, self.clock.ours
        if message.retired and mirror.run != message.run:
            return  # nothing that is over is begun here
        if not mirror.follow(message.run, spec, now_ns):
            return
        if message.body:
            before = mirror.seq
            if problem := mirror.write(message.body, ours, now_ns):
                self.peer.counts["torn"] += 1
                self.torn, self.torn_ns = f"{self.peer.sender} sent {problem}", now_ns
            elif mirror.seq > before:
                # A chunk's acknowledgement; cursors come at each tick.
                self.urgent |= self.role is ROBOT
                self._note_age(message.body, spec, now_ns)
        ready_ns = ready_here(message.ready_ns, ours, now_ns)
        mirror.tell(ready_ns, message.hindrance, retired=message.retired)

    def _note_age(self, body: bytes, spec: HandoffSpec, now_ns: int) -> None:
        stamp = _TICK_NS if self.mirror.record is CURSOR else "end_ns"
        slot: np.ndarray = np.ndarray((), self.mirror.record.body(spec), body)
        self.ages_ns.append(max(0, now_ns - self.clock.ours(int(slot[stamp]))))

    # -- what goes --------------------------------------------------------------------------

    def message(self, now_ns: int, wall_ns: Callable[[], int]) -> bytes | None:
        """Return the message that is due, None while none is; ``wall_ns`` tells ROS time."""
        source = self.source
        source.look(now_ns)
        newest = (source.run, source.seq)
        # On the GPU machine: made before this robot's machine was started.
        stale = self.role is GPU and source.start_ns < self._since_ns
        slot = bool(source.body) and not stale and not self._acknowledged(newest)
        new = slot and newest != self._sent
        again_ns = _AGAIN_NS + (self.clock.round_trip_ns if self.clock.known else 0)
        if self.role is GPU and not self._copied:
            again_ns = _COPY_NS
        silent_ns = now_ns - self._sent_ns
        again = slot and silent_ns >= again_ns
        if not (new or again or self.urgent or silent_ns >= self._beat_ns):
            return None
        if slot:
            self._copied = not new
            self._sent = newest
        return self._envelope(source.body if slot else b"", now_ns, wall_ns()).pack()

    def _acknowledged(self, slot: tuple[int, int]) -> bool:
        heard = self.peer.newest
        if heard is None or heard.to != self.own.session:
            return False
        return heard.ack_run == slot[0] and heard.ack_seq >= slot[1]

    def _envelope(self, body: bytes, now_ns: int, wall_ns: int) -> Envelope:
        source, spec = self.source, self.source.made_for
        self._number += 1
        self._sent_ns, self.urgent = now_ns, False
        return Envelope(
            robot=self.own.robot,
            sender=self.own.sender,
            boot=self.own.boot,
            session=self.own.session,
            to=self.peer.session,
            number=self._number,
            sent_ns=now_ns,
            wall_ns=wall_ns,
            kind=self.role.reads,
            echo_sent_ns=self._echo[0],
            echo_received_ns=self._echo[1],
            ack_run=self.mirror.run,
            ack_seq=self.mirror.seq,
            image_request=self.image_request,
            horizon=spec.horizon,
            period_ns=spec.period_ns,
            run=source.run if source.there else 0,
            retired=source.retired,
            ready_ns=source.ready_ns,
            hindrance=source.hindrance,
            names=spec.names_text(),
            body=body,
        )

    # -- how it stands ----------------------------------------------------------------------

    def problem(self, now_ns: int) -> str:
        """Say what keeps the two machines from each other; "" where nothing does."""
        peer, there = self.peer, self.role.there
        if not peer.session:
            return f"no rtc_link of the {there} was heard yet"
        silent_ns = peer.silent_ns(now_ns)
        if silent_ns > LEASE_NS:
            return (
                f"nothing was heard from the {there} ({peer.sender}) for {silent_ns / 1e9:.1f} s"
            )
        deaf_ns = now_ns - peer.hears_us_ns
        if not peer.hears_us_ns:
            return f"the {there} ({peer.sender}) is heard, but hears nothing from here yet"
        if deaf_ns > 2 * LEASE_NS:
            return (
                f"the {there} ({peer.sender}) is heard, but heard nothing from here for "
                f"{deaf_ns / 1e9:.1f} s: the way there is down"
            )
        return self.mirror.problem or self.source.problem

    def close(self) -> None:
        """End this side; the nodes on this machine see that the other has left."""
        self.mirror.close()
        self.source.close()
