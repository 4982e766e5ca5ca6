"""Real processes die by SIGKILL at random moments; the other side must not notice but by epoch."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import handoff_samples as samples
import numpy as np
import pytest
import xxhash

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import CursorState
from rtc_ros.handoff import layout
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import WriterPresentError
from rtc_ros.handoff.ring import ChunkRing

KILLS = 300
"""At least; more while none has hit a slot half written, which takes luck on a busy machine"""

SLOTS = 4


def _number(seq: int) -> int:
    """Return the sample that a worker's write ``seq`` had."""
    return (seq - 1) % 8 + 1


def _is_torn(path: Path, slot: int, body_bytes: int) -> bool:
    """Check a slot of a dead writer's file by hand, with the layout's words alone."""
    data = path.read_bytes()
    start = layout.HEADER_BYTES + slot * ((body_bytes + 8 + 63) // 64 * 64)
    body = data[start : start + body_bytes]
    (digest,) = layout.WORD.unpack_from(data, start + body_bytes)
    return any(body) and xxhash.xxh3_64_intdigest(body) != digest


def _has_torn_slot(path: Path, body_bytes: int) -> bool:
    return any(_is_torn(path, slot, body_bytes) for slot in range(SLOTS))


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

    for kill in range(5 * KILLS):
        if kill >= KILLS and torn:
            break
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
            torn += _has_torn_slot(shm / "ring", ChunkRing._body_bytes(samples.BIG_RING))

    print(f"{len(epochs)} runs, {torn} left a torn slot, {used} chunks used")
    assert torn > 0, "no kill hit a slot half written: the test showed nothing"
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

    for kill in range(5 * KILLS):
        if kill >= KILLS and torn:
            break
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
            torn += _has_torn_slot(shm / "cursor", StepCursor._body_bytes(samples.BIG_CURSOR))

    print(f"{len(epochs)} runs, {torn} left a torn slot, {used} states used")
    assert torn > 0, "no kill hit a slot half written: the test showed nothing"
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
    workers.kill(pid)
    with ChunkRing.create("ring", samples.SPEC) as ring:
        assert ring.inherited is not None and ring.inherited.name == reader.read_newest().name
        named = ring.write(samples.chunk(2))
        assert reader.read_newest().name == named.name


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
