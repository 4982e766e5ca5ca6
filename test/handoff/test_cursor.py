from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from handoff_samples import JOINTS, SPEC, same_state, state
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import HandoffError, MismatchError
from rtc_ros.handoff.records import CURSOR
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.segment import next_epoch
from rtc_ros.handoff.spec import HandoffSpec


def test_nothing_then_newest_then_the_same_again(shm: Path) -> None:
    with StepCursor.create("cursor", SPEC) as cursor, StepCursor.attach("cursor", SPEC) as reader:
        assert reader.read() is None
        for number in range(1, 20):
            cursor.write(state(number))
            assert reader.poll()
            got = reader.read()
            assert got is not None and same_state(got, state(number))
            assert not reader.poll()
            assert reader.read() is got


@settings(max_examples=60)
@given(data=st.data())
def test_every_field_and_bit_crosses(data: st.DataObject, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    dim = data.draw(st.integers(1, 5))
    spec, directory = HandoffSpec(JOINTS[:dim], 0.02), str(tmp_path_factory.getbasetemp())
    row = st.lists(st.floats(width=64), min_size=dim, max_size=dim).map(np.array)
    values = {}
    for field in dataclasses.fields(CursorState):
        kind = CURSOR.body(spec)[field.name]
        if kind.shape == (dim,):
            values[field.name] = data.draw(row)
        elif kind.shape:
            values[field.name] = np.zeros(kind.shape)
            values[field.name][data.draw(st.integers(0, len(values[field.name]) - 1))] = data.draw(
                row
            )
        elif field.name == "mode":
            values[field.name] = data.draw(st.sampled_from(Mode))
        elif kind.kind == "b":
            values[field.name] = data.draw(st.booleans())
        else:
            values[field.name] = data.draw(st.integers(-(2**63), 2**63 - 1))
    made = CursorState(**values)
    cursor = StepCursor.create("every_field", spec, directory=directory)
    reader = StepCursor.attach("every_field", spec, directory=directory)
    cursor.write(made)
    got = reader.read()
    assert got is not None
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            assert getattr(got, name).tobytes() == value.tobytes(), name
            assert not getattr(got, name).flags.writeable
        else:
            assert getattr(got, name) == value, name
            assert type(getattr(got, name)) is type(value), name
    reader.close()
    cursor.unlink()


def test_a_read_state_never_changes(shm: Path) -> None:
    cursor, reader = StepCursor.create("cursor", SPEC), StepCursor.attach("cursor", SPEC)
    cursor.write(state(1))
    got = reader.read()
    for number in range(2, 40):
        cursor.write(state(number))
    assert got is not None and same_state(got, state(1))


def test_a_controller_that_comes_back_has_a_new_epoch_and_inherits(shm: Path) -> None:
    cursor = StepCursor.create("cursor", SPEC)
    reader = StepCursor.attach("cursor", SPEC)
    cursor.write(state(3))
    old = reader.read()
    cursor.close()
    again = StepCursor.create("cursor", SPEC)
    assert again.epoch > cursor_epoch(reader)
    assert again.inherited is not None and same_state(again.inherited, state(3))
    assert reader.read() is old
    again.write(state(4))
    assert same_state(reader.read(), state(4))  # type: ignore[arg-type]


def cursor_epoch(reader: StepCursor) -> int:
    """Return the epoch that the reader has mapped, without a look for a newer one."""
    return reader.epoch


@pytest.mark.parametrize(
    "change",
    [
        {"command": np.zeros(1)},
        {"command": np.float64(0.0)},
        {"lower": np.zeros(13)},
        {"upper": np.zeros((1, 14))},
        {"max_step": np.zeros(15)},
        {"max_bend": np.zeros(1)},
        {"turn": np.float64(0.0)},
        {"last_step": np.zeros((14, 1))},
        {"history": np.zeros((HISTORY_ROWS, 1))},
        {"history": np.zeros((HISTORY_ROWS - 1, 14))},
    ],
)
def test_arrays_of_other_shapes_are_refused(shm: Path, change: dict) -> None:  # type: ignore[type-arg]
    cursor, reader = StepCursor.create("cursor", SPEC), StepCursor.attach("cursor", SPEC)
    with pytest.raises(HandoffError, match="have the shapes"):
        cursor.write(dataclasses.replace(state(1), **change))
    assert reader.read() is None


def test_a_ring_is_not_a_cursor(shm: Path) -> None:
    with (
        ChunkRing.create("handoff", SPEC),
        pytest.raises(MismatchError, match="it is a ring and a cursor is wanted"),
    ):
        StepCursor.attach("handoff", SPEC)


def test_other_joints_and_periods_are_refused_but_any_horizon_fits(shm: Path) -> None:
    with StepCursor.create("cursor", HandoffSpec(JOINTS, 0.02)):
        StepCursor.attach("cursor", HandoffSpec(JOINTS, 0.02, 50)).close()
        with pytest.raises(MismatchError, match="A is 14 there and 2 here"):
            StepCursor.attach("cursor", HandoffSpec(JOINTS[:2], 0.02))
        with pytest.raises(MismatchError, match="Δt is 0.02 s there and 0.01 s here"):
            StepCursor.attach("cursor", HandoffSpec(JOINTS, 0.01))


def test_epochs_only_grow_and_fit_a_float64() -> None:
    first = next_epoch()
    assert next_epoch(first) > first
    assert next_epoch(first + 10**12) == first + 10**12 + 1
    assert first < 2**53
