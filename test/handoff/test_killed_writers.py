"""Real processes die by SIGKILL; the other side must not notice but by epoch.

At chosen bytes of a store, which shows each time what a torn slot does, and at random moments.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import handoff_samples as samples
import numpy as np
import pytest
import xxhash

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import CursorState
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import WriterPresentError
from rtc_ros.handoff.files import is_unlocked
from rtc_ros.handoff.records import CURSOR, HEADER, RING
from rtc_ros.handoff.ring import ChunkRing

KILLS = 300
SLOTS = 4


def _number(seq: int) -> int:
    """Return the sample that a worker's write ``seq`` had."""
    return (seq - 1) % 8 + 1


def _slot(path: Path, slot: int, layout: np.dtype) -> tuple[np.ndarray, bool]:
    """Return a slot of a dead writer's file and whether it is torn, by its digest alone."""
    data = path.read_bytes()
    start = HEADER.itemsize + slot * layout.itemsize
    found = np.frombuffer(data, layout, 1, start)
    body = data[start : start + layout["body"].itemsize]
    return found[0], any(body) and xxhash.xxh3_64_intdigest(body) != found[0]["digest"]


def _has_torn_slot(path: Path, layout: np.dtype) -> bool:
    return any(_slot(path, slot, layout)[1] for slot in range(SLOTS))


def _publish(path: Path, seq: int) -> None:
    """Store the published number, as a reader on aarch64 may see it before the slot."""
    with open(path, "r+b") as file:
        file.seek(HEADER.fields["published"][1])
        file.write(seq.to_bytes(8, "little"))


KINDS = {
    "ring": (ChunkRing, ChunkRing.read_newest, samples.chunk, samples.same_chunk),
    "cursor": (StepCursor, StepCursor.read, samples.state, samples.same_state),
}
WHOLE = 10**9
"""More bytes than there are."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "at", "torn", "newest"),
    [
        ("body", 0, False, 6),  # nothing of it is there: the slot still holds number 3
        ("body", 1, True, 6),
        ("body", 8, True, 6),  # its number, above the old payload
        ("body", 16, True, 6),
        ("body", 17, True, 6),
        ("body", 96, True, 6),  # and some of the scalars
        ("body", 3000, True, 6),  # and some of the arrays
        ("body", WHOLE, True, 6),  # under the digest of number 3
        ("digest", 0, True, 6),
        ("digest", 4, True, 6),
        ("digest", 8, False, 7),  # whole, though not told of
        ("published", 0, False, 7),
        ("published", 8, False, 7),
    ],
)
def test_a_writer_killed_at_a_chosen_byte_leaves_the_last_whole_one(  # type: ignore[no-untyped-def]
    shm: Path, workers, kind: str, where: str, at: int, torn: bool, newest: int
) -> None:
    cls, read, make, same = KINDS[kind]
    path = shm / "segment"
    workers.wait(workers.start("die_writing", "segment", kind, where, at))
    slot, is_torn = _slot(path, 7 % SLOTS, cls._record.slot(samples.SPEC))
    assert is_torn == torn
    assert slot["body"]["seq"] == (3 if (where, at) == ("body", 0) else 7)
    told = 7 if (where, at) == ("published", 8) else 6
    with cls.attach("segment", samples.SPEC) as reader:
        assert same(read(reader), make(told))
        if isinstance(reader, ChunkRing):
            whole = {3, 4, 5, 6} if at == 0 and where == "body" else {4, 5, 6, newest}
            assert [c.seq for c in reader.recent()] == sorted(whole)
            assert all(same(c, make(c.seq)) for c in reader.recent())
        _publish(path, 7)
        assert same(read(reader), make(newest))
    with cls.attach("segment", samples.SPEC) as late:
        assert same(read(late), make(newest))
    with cls.create("segment", samples.SPEC) as heir:
        assert same(heir.inherited, make(newest))


@pytest.mark.parametrize("kind", KINDS)
def test_no_mixture_of_two_slots_passes_wherever_it_is_cut(shm: Path, kind: str) -> None:
    """Each cut, each side new, under either digest: what a reader may see of a copy."""
    cls, read, make, same = KINDS[kind]
    writer = cls.create("segment", samples.SPEC, slots=SLOTS)
    memory = writer._writer()._memory
    bodies, seals = [], []
    for number in range(1, 8):
        writer.write(make(number))
        if number % SLOTS == 7 % SLOTS:
            body, seal = memory.slots[7 % SLOTS]
            bodies.append(bytes(body))
            seals.append(seal[0])
    reader = cls.attach("segment", samples.SPEC)
    seen = 0
    for cut in (*range(1, 200), *range(200, len(bodies[0]), 97)):
        for one, two in (bodies, bodies[::-1]):
            mixed = one[:cut] + two[cut:]
            for sealed in seals:
                if (mixed, sealed) in zip(bodies, seals, strict=True):
                    continue  # the cut lies where both are alike: no mixture
                memory.slots[7 % SLOTS][0][:] = mixed
                memory.slots[7 % SLOTS][1][0] = sealed
                reader._seq = 0
                reader._last = None
                assert same(read(reader), make(6)), (cut, sealed)
                seen += 1
    assert seen > 800


@pytest.mark.slow
def test_ring_survives_its_writers(shm: Path, workers) -> None:  # type: ignore[no-untyped-def]
    wanted = {n: samples.chunk(n, samples.BIG_RING) for n in range(1, 9)}
    chance = random.Random(1)
    reader: ChunkRing | None = None
    last: ActionChunk | None = None
    epochs: set[int] = set()
    used = torn = 0

    def use() -> None:
        nonlocal last, used
        assert reader is not None
        got = reader.read_newest()
        if got is not None and got is not last:
            assert samples.same_chunk(got, wanted[_number(got.seq)]), got.name
            assert last is None or got.name > last.name
            epochs.add(got.epoch)
            last, used = got, used + 1

    for kill in range(KILLS):
        pid = workers.start("write_ring", "ring")
        # Every third dies wherever its start has got to, the others while they write.
        end = time.monotonic() + chance.uniform(0.0, 0.008)
        epochs_before = len(epochs)
        while time.monotonic() < end or (kill % 3 and len(epochs) == epochs_before):
            assert time.monotonic() < end + 60, f"writer {kill} never came back"
            if reader is None:
                reader = ChunkRing.attach_or_none("ring", samples.BIG_RING)
            else:
                use()
        workers.kill(pid)
        if reader is not None:
            use()
            assert all(samples.same_chunk(c, wanted[_number(c.seq)]) for c in reader.recent())
        if (shm / "ring").exists():
            torn += _has_torn_slot(shm / "ring", RING.slot(samples.BIG_RING))

    print(f"{len(epochs)} runs, {torn} left a torn slot, {used} chunks used")
    assert len(epochs) >= KILLS * 2 // 3
    with ChunkRing.create("ring", samples.BIG_RING, slots=SLOTS) as heir:
        inherited = heir.inherited
        assert inherited is not None
        assert samples.same_chunk(inherited, wanted[_number(inherited.seq)])
        assert heir.epoch > max(epochs)
        assert sorted(os.listdir(shm)) == ["ring", "ring.lock"], "leftovers of killed writers"


@pytest.mark.slow
def test_cursor_survives_its_controllers(shm: Path, workers) -> None:  # type: ignore[no-untyped-def]
    wanted = {n: samples.state(n, samples.BIG_CURSOR) for n in range(1, 9)}
    chance = random.Random(2)
    reader: StepCursor | None = None
    last: CursorState | None = None
    epochs: set[int] = set()
    used = torn = 0

    def use() -> None:
        nonlocal last, used
        assert reader is not None
        got = reader.read()
        if got is not None and got is not last:
            assert samples.same_state(got, wanted[got.step]), got.step
            epochs.add(reader.epoch)
            last, used = got, used + 1

    for kill in range(KILLS):
        pid = workers.start("write_cursor", "cursor")
        end = time.monotonic() + chance.uniform(0.0, 0.008)
        used_before = used
        while time.monotonic() < end or (kill % 3 and used == used_before):
            assert time.monotonic() < end + 60, f"controller {kill} never came back"
            if reader is None:
                reader = StepCursor.attach_or_none("cursor", samples.BIG_CURSOR)
            else:
                use()
        workers.kill(pid)
        if reader is not None:
            use()
        if (shm / "cursor").exists():
            torn += _has_torn_slot(shm / "cursor", CURSOR.slot(samples.BIG_CURSOR))

    print(f"{len(epochs)} runs, {torn} left a torn slot, {used} states used")
    assert len(epochs) >= KILLS * 2 // 3
    with StepCursor.create("cursor", samples.BIG_CURSOR) as heir:
        assert heir.inherited is not None
        assert samples.same_state(heir.inherited, wanted[heir.inherited.step])
        assert sorted(os.listdir(shm)) == ["cursor", "cursor.lock"]


def test_second_writer_is_refused_until_the_first_is_gone(shm: Path, workers) -> None:  # type: ignore[no-untyped-def]
    pid = workers.start("hold_ring", "ring")
    while (reader := ChunkRing.attach_or_none("ring", samples.SPEC)) is None:
        time.sleep(0.001)
    assert reader.writer_pid == pid
    while reader.read_newest() is None:
        time.sleep(0.001)
    with pytest.raises(WriterPresentError, match=rf"process {pid}\b.*process {os.getpid()}\b"):
        ChunkRing.create("ring", samples.SPEC)
    assert np.array_equal(reader.read_newest().actions, samples.chunk(1).actions)
    assert not reader.writer_gone
    workers.kill(pid)
    assert reader.writer_gone and not reader.writer_left
    with ChunkRing.create("ring", samples.SPEC) as ring:
        assert ring.inherited is not None and ring.inherited.name == reader.read_newest().name
        named = ring.write(samples.chunk(2))
        assert reader.read_newest().name == named.name
        assert not reader.writer_gone
    assert reader.writer_left and not reader.writer_gone, "it closed the ring"


def test_asking_for_the_writer_keeps_none_from_starting(shm: Path) -> None:
    """Were the lock looked at by taking it for a moment, one would."""
    ChunkRing.create("ring", samples.SPEC).close()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            is_unlocked(str(shm / "ring"))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(200):
            ChunkRing.create("ring", samples.SPEC).close()
    finally:
        stop.set()
        thread.join()


def test_a_readers_exit_leaves_the_segment(shm: Path, workers) -> None:  # type: ignore[no-untyped-def]
    with ChunkRing.create("ring", samples.SPEC) as ring:
        ring.write(samples.chunk(1))
        workers.wait(workers.start("read_ring", "ring"))
        pid = workers.start("read_ring_for_ever", "ring")
        while f"{shm / 'ring'}\n" not in Path(f"/proc/{pid}/maps").read_text():
            time.sleep(0.001)
        time.sleep(0.05)
        workers.kill(pid)
        ring.write(samples.chunk(2))
        with ChunkRing.attach("ring", samples.SPEC) as reader:
            assert reader.read_newest().seq == 2
        assert sorted(os.listdir(shm)) == ["ring", "ring.lock"]
