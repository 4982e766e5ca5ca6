from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import handoff_samples as samples
import numpy as np
import pytest
from handoff_samples import JOINTS, SPEC, chunk, same_chunk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.handoff import layout, segment_reader
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import AbsentError, CorruptError, HandoffError, MismatchError
from rtc_ros.handoff.records import RING
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

INT64 = st.integers(-(2**63), 2**63 - 1)


def test_nothing_then_newest_then_the_same_again(shm: Path) -> None:
    with ChunkRing.create("ring", SPEC) as ring, ChunkRing.attach("ring", SPEC) as reader:
        assert not reader.poll()
        assert reader.read_newest() is None
        named = ring.write(chunk(1))
        assert named.name == (ring.epoch, 1)
        assert reader.poll()
        got = reader.read_newest()
        assert got is not None and got.name == named.name and same_chunk(got, chunk(1))
        assert not reader.poll()
        assert reader.read_newest() is got
        ring.write(chunk(2))
        ring.write(chunk(3))
        assert reader.read_newest().seq == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("slots", [4, 5, 8])
def test_recent_is_what_the_ring_still_holds_oldest_first(shm: Path, slots: int) -> None:
    with ChunkRing.create("ring", SPEC, slots=slots) as ring:
        reader = ChunkRing.attach("ring", SPEC)
        assert reader.recent() == []
        for number in range(1, 12):
            ring.write(chunk(number))
            got = reader.recent()
            assert [c.seq for c in got] == list(range(max(1, number - slots + 1), number + 1))
            assert all(same_chunk(c, chunk(c.seq)) for c in got)


@settings(max_examples=60)
@given(data=st.data())
def test_every_field_and_bit_crosses(data: st.DataObject, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    horizon, dim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(finite, min_size=horizon * dim, max_size=horizon * dim))
    made = ActionChunk(
        np.array(values).reshape(horizon, dim),
        data.draw(st.integers(0, 2**63 - 1)),
        rows=data.draw(st.integers(1, horizon)),
        guided=data.draw(st.booleans()),
        **{
            name: data.draw(INT64)
            for name in ("step_epoch", "delay", "stride", "observation_ns", "start_ns", "end_ns")
        },
    )
    spec = HandoffSpec(JOINTS[:dim], data.draw(st.floats(1e-3, 10.0)), horizon)
    directory = str(tmp_path_factory.getbasetemp())
    ring = ChunkRing.create("every_field", spec, directory=directory)
    reader = ChunkRing.attach("every_field", HandoffSpec(spec.joint_names, spec.control_period_s),
                              directory=directory)  # fmt: skip
    ring.write(made)
    got = reader.read_newest()
    assert got is not None and same_chunk(got, made)
    assert got.actions.tobytes() == made.actions.tobytes()
    assert not got.actions.flags.writeable
    assert reader.spec.horizon == horizon
    reader.close()
    ring.unlink()


def test_wrong_shapes_and_non_finite_actions_are_refused(shm: Path) -> None:
    with ChunkRing.create("ring", SPEC) as ring, ChunkRing.attach("ring", SPEC) as reader:
        with pytest.raises(HandoffError, match=r"\[49, 14\].*\[50, 14\]"):
            ring.write(ActionChunk(np.zeros((49, 14)), 0))
        for bad in (np.nan, np.inf, -np.inf):
            actions = np.zeros((50, 14))
            actions[7, 8] = bad
            with pytest.raises(HandoffError, match=f"row 7 is {bad} for joint right_b"):
                ring.write(ActionChunk(actions, 0))
        assert reader.read_newest() is None
        assert ring.write(chunk(1)).seq == 1


def test_absent_is_an_error_to_poll_on(shm: Path) -> None:
    with pytest.raises(AbsentError, match="its writer hasn't started yet"):
        ChunkRing.attach("ring", SPEC)
    assert ChunkRing.attach_or_none("ring", SPEC) is None
    with ChunkRing.create("ring", SPEC):
        reader = ChunkRing.attach_or_none("ring", SPEC)
        assert reader is not None and reader.writer_pid == os.getpid()


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example(text="ü" * 400)
@example(text="x" + "é" * 400)
def test_what_the_writer_lacks_is_read_as_it_was_said(text: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ChunkRing.create("ring", SPEC, directory=folder) as ring,
    ):
        reader = ChunkRing.attach("ring", SPEC, directory=folder)
        assert reader.hindrance == ""
        ring.say_hindrance(text)
        assert text.startswith(reader.hindrance)
        assert reader.hindrance == text or len(reader.hindrance.encode()) > 348
        ring.say_hindrance("")
        assert reader.hindrance == ""
        ring.write(chunk(1))
        assert reader.read_newest() is not None, "the slots are as before"


def test_a_torn_hindrance_is_none(shm: Path) -> None:
    """Its writer may be killed at any byte of it, or be at it."""
    with ChunkRing.create("ring", SPEC) as ring:
        ring.say_hindrance("no image yet from camera top")
        reader = ChunkRing.attach("ring", SPEC)
        at = layout.place("hindrance")
        whole = Path(ring.path).read_bytes()
        with open(ring.path, "r+b") as file:  # its size stays: it is mapped
            for place in (at, at + 10, at + 351, layout.place("hindrance_digest")):
                for value in (whole[place] ^ 1, whole[place]):
                    file.seek(place)
                    file.write(bytes([value]))
                    file.flush()
                    is_whole = value == whole[place]
                    for each in (reader, ChunkRing.attach("ring", SPEC)):
                        assert bool(each.hindrance) is is_whole
        assert reader.hindrance == "no image yet from camera top"


def test_a_writer_that_comes_back_has_a_new_epoch_and_inherits(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    assert ring.inherited is None
    reader = ChunkRing.attach("ring", SPEC)
    for number in range(1, 11):
        last = ring.write(chunk(number))
    old = reader.read_newest()
    ring.close()
    assert reader.read_newest() is old
    late = ChunkRing.attach("ring", SPEC)
    assert late.read_newest().name == last.name  # type: ignore[union-attr]
    again = ChunkRing.create("ring", SPEC)
    assert again.epoch > last.epoch
    assert again.inherited is not None and again.inherited.name == last.name
    assert same_chunk(again.inherited, chunk(10))
    assert reader.poll(), "a reader must hear of the new writer at its next poll"
    assert reader.read_newest() is old, "and keeps what it has until the first new chunk"
    named = again.write(chunk(20))
    for side in (reader, late):
        got = side.read_newest()
        assert got is not None and got.name == named.name and same_chunk(got, chunk(20))
        assert side.epoch == again.epoch
    again.unlink()


@pytest.mark.parametrize("period_s", [1 / 30, 1 / 60, 0.02, 0.1 + 0.2])
def test_a_period_that_is_no_whole_nanoseconds_inherits_too(shm: Path, period_s: float) -> None:
    spec = HandoffSpec(JOINTS, period_s, 50)
    for kind, made, same in (
        (ChunkRing, chunk(3), same_chunk),
        (StepCursor, samples.state(3), samples.same_state),
    ):
        with kind.create("segment", spec) as writer:
            writer.write(made)
        with kind.create("segment", spec) as heir:
            assert same(heir.inherited, made)


def test_other_spec_inherits_nothing(shm: Path) -> None:
    with ChunkRing.create("ring", SPEC) as ring:
        ring.write(chunk(1))
    with ChunkRing.create("ring", HandoffSpec(JOINTS, 0.04, 50)) as ring:
        assert ring.inherited is None


def test_a_file_replaced_behind_the_writers_back_is_noticed(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    reader = ChunkRing.attach("ring", SPEC, check_every=5)
    ring.write(chunk(1))
    assert reader.read_newest() is not None
    (shm / "ring").unlink()
    (shm / "ring.lock").unlink()
    other = ChunkRing.create("ring", SPEC)
    other.write(chunk(2))
    polls = [reader.poll() for _ in range(5)]
    assert polls == [False] * 4 + [True]
    assert same_chunk(reader.read_newest(), chunk(2))  # type: ignore[arg-type]


def test_the_name_is_looked_up_no_oftener_than_asked(
    shm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    ring = ChunkRing.create("ring", SPEC)
    reader = ChunkRing.attach("ring", SPEC, check_every=5)
    look_up = segment_reader.inode
    monkeypatch.setattr(segment_reader, "inode", lambda p: looked.append(p) or look_up(p))
    for polls in range(1, 24):
        assert not reader.poll()
        assert len(looked) == polls // 5
    ring.close()
    assert not reader.poll() and len(looked) == 5, "the writer left: who comes next is looked for"


def test_a_hint_that_leads_nowhere_does_not_bind_the_reader(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    reader = ChunkRing.attach("ring", SPEC)
    ring.write(chunk(1))
    with open(shm / "ring", "r+b") as file:
        file.seek(layout.place("published"))
        file.write(b"\xff" * 8)
    for _ in range(3):
        assert reader.poll()
        assert reader.read_newest().seq == 1  # type: ignore[union-attr]
    ring.close()
    with ChunkRing.create("ring", SPEC) as again:
        named = again.write(chunk(5))
        reader.read_newest()
        assert reader.read_newest().name == named.name  # type: ignore[union-attr]


def test_the_newest_slot_torn_gives_the_one_before(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC, slots=4)
    reader = ChunkRing.attach("ring", SPEC)
    for number in range(1, 7):
        ring.write(chunk(number))
    slots = [body for body, _ in ring._writer()._memory.slots]
    slots[7 % 4][:500] = slots[6 % 4][:500]  # dies here: slot of 7, which held 3
    assert [c.seq for c in reader.recent()] == [4, 5, 6]
    slots[6 % 4][500:900] = b"\x01" * 400
    assert reader.read_newest().seq == 5  # type: ignore[union-attr]
    assert reader.poll()
    for slot in range(4):
        slots[slot][500:900] = b"\x01" * 400
    assert reader.read_newest().seq == 5  # type: ignore[union-attr]


def test_a_slot_from_an_earlier_run_is_never_taken(shm: Path) -> None:
    with ChunkRing.create("ring", SPEC) as ring:
        ring.write(chunk(1))
        old = (shm / "ring").read_bytes()
    with ChunkRing.create("ring", SPEC) as ring:
        reader = ChunkRing.attach("ring", SPEC)
        with open(shm / "ring", "r+b") as file:
            file.seek(layout.HEADER_BYTES)
            file.write(old[layout.HEADER_BYTES :])
        assert reader.read_newest() is None
        assert reader.recent() == []


def test_a_whole_slot_without_a_number_is_never_taken(shm: Path) -> None:
    """Numbers begin at 1: 0 is what memory is full of that nobody wrote."""
    ring, reader = ChunkRing.create("ring", SPEC), ChunkRing.attach("ring", SPEC)
    ring._writer().seq = -1
    ring.write(chunk(1))
    assert reader.recent() == [] and reader.read_newest() is None
    assert ring.write(chunk(2)).seq == 1
    assert [c.seq for c in reader.recent()] == [1]


def test_a_slot_in_another_ones_place_is_never_taken(shm: Path) -> None:
    with ChunkRing.create("ring", SPEC) as ring, ChunkRing.attach("ring", SPEC) as reader:
        for number in range(1, 4):
            ring.write(chunk(number))
        size = ring._writer().header.slot.itemsize
        with open(shm / "ring", "r+b") as file:
            file.seek(layout.HEADER_BYTES + 3 * size)
            slot = file.read(size)
            file.seek(layout.HEADER_BYTES + 1 * size)
            file.write(slot)
        assert [c.seq for c in reader.recent()] == [2, 3]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (HandoffSpec(JOINTS[:13], 0.02, 50), "A is 14 there and 13 here.*right_g.*right_f"),
        (HandoffSpec((*JOINTS[:13], "nose"), 0.02, 50), r"right_g\] there and .*nose\] here"),
        (HandoffSpec(JOINTS[::-1], 0.02, 50), "the same joints come in another order"),
        (HandoffSpec(JOINTS, 0.02, 10), "H is 50 steps there and 10 here"),
        (HandoffSpec(JOINTS, 0.05, 50), "Δt is 0.02 s there and 0.05 s here"),
        (HandoffSpec(JOINTS[1:], 0.1, 7), "A is 14.*H is 50.*Δt is 0.02"),
    ],
)
def test_mismatches_are_refused_by_name(shm: Path, spec: HandoffSpec, words: str) -> None:
    with ChunkRing.create("ring", SPEC), pytest.raises(MismatchError, match=words) as caught:
        ChunkRing.attach("ring", spec)
    assert f"process {os.getpid()}" in str(caught.value)


def test_a_writer_that_comes_back_otherwise_is_refused_but_the_old_chunk_stays(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    reader = ChunkRing.attach("ring", SPEC)
    ring.write(chunk(1))
    ring.close()
    reader.read_newest()
    other = ChunkRing.create("ring", HandoffSpec(JOINTS, 0.02, 10))
    for _ in range(2):
        with pytest.raises(MismatchError, match="H is 10 steps there and 50 here"):
            reader.poll()
    assert [c.seq for c in _quietly(reader)] == [1]
    other.close()
    ring = ChunkRing.create("ring", SPEC)
    ring.write(chunk(9))
    assert same_chunk(reader.read_newest(), chunk(9))  # type: ignore[arg-type]


def _quietly(reader: ChunkRing) -> list[ActionChunk]:
    try:
        return reader.recent()
    except MismatchError:
        return [reader._last] if reader._last else []


def test_files_modes_close_and_unlink(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    for name in ("ring", "ring.lock"):
        assert stat.S_IMODE((shm / name).stat().st_mode) == 0o600
    reader = ChunkRing.attach("ring", SPEC)
    reader.close()
    reader.close()
    with pytest.raises(HandoffError, match="attach one first"):
        reader.poll()
    with pytest.raises(HandoffError, match="attach one first"):
        ring.read_newest()
    ring.close()
    assert (shm / "ring").exists()
    with pytest.raises(HandoffError, match="create it first"):
        ring.write(chunk(1))
    with pytest.raises(HandoffError, match="closed by this process"):
        _ = ring.spec
    reader = ChunkRing.attach("ring", SPEC)
    with pytest.raises(HandoffError, match="doesn't write"):
        reader.unlink()
    ChunkRing.create("ring", SPEC).unlink()
    assert os.listdir(shm) == []
    assert reader.read_newest() is None


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "ü", "a b", "x.lock", "a" * 129])
def test_names_that_cannot_be_files_are_refused(shm: Path, name: str) -> None:
    with pytest.raises(ValueError, match="can't be the name of a segment"):
        ChunkRing.create(name, SPEC)
    with pytest.raises(ValueError, match="can't be the name of a segment"):
        ChunkRing.attach(name, SPEC)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((), 0.02, 5), "joint_names is empty"),
        ((("a", "b", "a"), 0.02, 5), "has a more than once"),
        ((("a", "b\nc"), 0.02, 5), "can't be a joint name"),
        ((("x" * 4000,), 0.02, 5), "take 4000 bytes"),
        ((("a",), 0.0, 5), "control_period is 0.0 s"),
        ((("a",), float("nan"), 5), "control_period is nan s"),
        ((("a",), 0.02, -1), "horizon is -1"),
    ],
)
def test_impossible_specs_are_refused(arguments: tuple, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=words):
        HandoffSpec(*arguments)


def test_impossible_rings_are_refused(shm: Path) -> None:
    with pytest.raises(ValueError, match="horizon is 0"):
        ChunkRing.create("ring", HandoffSpec(JOINTS, 0.02))
    with pytest.raises(ValueError, match="slots is 3"):
        ChunkRing.create("ring", SPEC, slots=3)
    with pytest.raises(ValueError, match="use fewer slots"):
        ChunkRing.create("ring", HandoffSpec(JOINTS, 0.02, 65535), slots=1024)
    assert os.listdir(shm) == []


def test_whole_slots_with_impossible_content_are_a_sentence(shm: Path) -> None:
    ring = ChunkRing.create("ring", SPEC)
    reader = ChunkRing.attach("ring", SPEC)
    ring._writer().write(RING.values_of(ActionChunk.of(dict(vars(chunk(1)), rows=0))))
    with pytest.raises(CorruptError, match="rows is 0"):
        reader.read_newest()
    ring.write(samples.chunk(2))
    assert reader.read_newest().seq == 2  # type: ignore[union-attr]
