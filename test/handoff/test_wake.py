"""Waiting for a slot: woken by the writer, at once where it is there already, else in time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.handoff import wake
from rtc_ros.handoff.records import RING
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.segment_reader import SegmentReader
from rtc_ros.handoff.spec import HandoffSpec

SPEC = HandoffSpec(("a", "b"), 0.02, 5)


@pytest.fixture
def pair(shm: Path):
    with ChunkRing.create("waited", SPEC, directory=str(shm)) as ring:
        yield ring, SegmentReader(RING, ring.path, SPEC)


def write(ring: ChunkRing) -> None:
    ring.write(ActionChunk(np.zeros((5, 2)), 0, step_epoch=1))


@pytest.mark.parametrize("futex", [True, False])
def test_a_chunk_wakes_who_waits_for_it(pair, monkeypatch, futex) -> None:
    if not futex:
        monkeypatch.setattr(wake, "_SYS_FUTEX", 0)
    elif not wake.can_wait():
        pytest.skip("no futex here")
    ring, reader = pair
    for seq in range(1, 4):
        threading.Timer(0.05, write, [ring]).start()
        begun, spent = time.monotonic(), time.thread_time()
        while reader.published < seq and time.monotonic() < begun + 10.0:
            reader.wait(seq - 1, 5.0)
        assert reader.published == seq
        assert 0.04 < time.monotonic() - begun < 2.0
        if futex:  # it slept, once
            assert time.thread_time() - spent < 0.01
        assert reader.newest(seq - 1)[0] == seq


@pytest.mark.parametrize("futex", [True, False])
def test_what_is_there_is_not_waited_for_nor_nothing_for_ever(pair, monkeypatch, futex) -> None:
    if not futex:
        monkeypatch.setattr(wake, "_SYS_FUTEX", 0)
    ring, reader = pair
    begun = time.monotonic()
    reader.wait(0, 0.2)
    assert 0.15 < time.monotonic() - begun < 2.0
    write(ring)
    begun = time.monotonic()
    reader.wait(0, 30.0)
    assert time.monotonic() - begun < 2.0
