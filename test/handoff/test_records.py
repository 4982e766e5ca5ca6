"""The records are declared once: dataclasses, bytes and documents agree with that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from handoff_samples import SPEC, chunk, state

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.cursor import CursorState
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.records import CURSOR, HEAD, HEADER, RING, Record, table
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

DOCS = Path(__file__).parents[2] / "docs"


def names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_field_of_a_state_and_of_a_chunk_crosses() -> None:
    assert set(CURSOR.names) == names(CursorState)
    assert {*RING.names, "seq", "epoch"} == names(ActionChunk)


def test_the_documentation_has_the_declarations_table() -> None:
    text = (DOCS / "handoff.md").read_text(encoding="utf-8")
    assert table() in text, "put the table of `python -m rtc_ros.handoff.records` there"


def test_the_table_has_every_field_once_with_its_type() -> None:
    words = table().split()
    for name in (*HEADER.names, *(n for n, _, _ in HEAD), *CURSOR.names, *RING.names):
        assert name in words, name
    lines = [line.split(maxsplit=1) for line in table().splitlines()]
    assert ["float64[H,", "A]    actions"] in lines
    assert ["float64[64,", "A]   history"] in lines
    assert any(line[0] == "bool" and line[1].split() == ["coherent"] for line in lines)
    assert "header, at 120  uint64           digest published retired" in table()


@pytest.mark.parametrize("record", [RING, CURSOR])
@pytest.mark.parametrize("dim", [1, 7, 14])
def test_slots_are_aligned_and_dense(record: Record, dim: int) -> None:
    spec = HandoffSpec(SPEC.joint_names[:dim], 0.02, 5)
    body, slot = record.body(spec), record.slot(spec)
    end = 0
    for name in body.names:
        kind, at = body.fields[name][:2]
        assert at % kind.base.alignment == 0, name
        assert 0 <= at - end < 8, name
        end = at + kind.itemsize
    assert body.itemsize == end == slot.fields["digest"][1]
    assert slot.itemsize % 64 == 0
    assert 0 <= slot.itemsize - end - 8 < 64


@pytest.mark.parametrize("record", [RING, CURSOR])
def test_any_change_of_a_declaration_changes_its_digest(record: Record) -> None:
    name, kind, shape = record.fields[-1]
    changed = [
        (*record.fields, ("more", "<i8", ())),
        record.fields[:-1],
        (record.fields[1], record.fields[0], *record.fields[2:]),
        (*record.fields[:-1], ("other", kind, shape)),
        (*record.fields[:-1], (name, "<f4", shape)),
        (*record.fields[:-1], (name, kind, (*shape, 1))),
    ]
    digests = {dataclasses.replace(record, fields=fields).digest for fields in changed}
    assert len(digests | {record.digest}) == len(changed) + 1


def test_the_file_holds_what_the_declaration_says(shm: Path) -> None:
    """Read both segments with the dtypes alone, as any other program may."""
    ring, cursor = ChunkRing.create("ring", SPEC), StepCursor.create("cursor", SPEC)
    for number in range(1, 4):
        ring.write(chunk(number))
        cursor.write(state(number))
    for side, record, wanted in ((ring, RING, chunk(3)), (cursor, CURSOR, state(3))):
        data = Path(side.path).read_bytes()
        header = np.frombuffer(data, HEADER, 1)[0]
        assert (header["magic"], header["layout_version"]) == (b"rtc_ros\n", 4)
        assert (header["kind"], header["published"], header["retired"]) == (record.kind, 3, 0)
        assert (header["horizon"], header["action_dim"], header["slots"]) == (50, 14, 8)
        assert header["joint_names"].decode().split("\n") == list(SPEC.joint_names)
        assert (header["period_ns"], header["epoch"]) == (20_000_000, side.epoch)
        slots = np.frombuffer(data, record.slot(SPEC), 8, HEADER.itemsize)
        assert slots.itemsize == header["slot_bytes"]
        body = slots[3]["body"]
        assert (body["seq"], body["run"]) == (3, side.epoch)
        for name in record.names:
            assert np.array_equal(body[name], getattr(wanted, name)), name
    ring.close()
    assert np.frombuffer(Path(ring.path).read_bytes(), HEADER, 1)["retired"] == 1
