"""What the inference side reads out of a step cursor: executed rows, and the step of a moment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode

PERIOD_NS = 20_000_000
TICK_NS = 1_000 * PERIOD_NS + 7


def state(step, tick_ns=TICK_NS, **fields):
    row = np.zeros(2)
    history = np.arange(2.0 * HISTORY_ROWS).reshape(-1, 2)
    return CursorState(1, step, step, tick_ns, Mode.RUNNING, row, history, row, row, row, **fields)


@pytest.mark.parametrize(
    ("before_the_tick_ns", "steps_ago"),
    [
        (0, 0),
        (1, 1),
        (PERIOD_NS - 1, 1),
        (PERIOD_NS, 1),
        (PERIOD_NS + 1, 2),
        (5 * PERIOD_NS // 2, 3),
        (10 * PERIOD_NS, 10),
        (-1, 0),  # after the tick the next step is due, however late that one is
        (-PERIOD_NS, 0),
        (-100 * PERIOD_NS, 0),
    ],
)
def test_the_step_that_was_due_at_a_time(before_the_tick_ns, steps_ago):
    got = state(100).step_at(TICK_NS - before_the_tick_ns, PERIOD_NS * 1e-9)
    assert got == 100 - steps_ago
    assert type(got) is int


@pytest.mark.parametrize(("step", "ago", "due"), [(3, 2, 1), (3, 3, 0), (3, 4, 0), (0, 0, 0),
                                                 (0, 1, 0), (5, 1000, 0)])  # fmt: skip
def test_no_step_is_before_the_first(step, ago, due):
    assert state(step).step_at(TICK_NS - ago * PERIOD_NS, 0.02) == due


def test_a_time_since_boot_of_weeks_loses_no_step():
    """Nanoseconds of a hundred days are no longer exact in a float64."""
    tick_ns = 100 * 86400 * 10**9 + 1
    for ago_ns, steps in ((0, 0), (1, 1), (PERIOD_NS, 1), (PERIOD_NS + 1, 2)):
        assert state(50, tick_ns).step_at(tick_ns - ago_ns, 0.02) == 50 - steps


@given(
    step=st.integers(0, 10**9),
    period_ns=st.integers(10**6, 10**9),
    ticks_ago=st.integers(0, 200),
    within=st.floats(0.01, 0.99),
)
def test_an_image_between_two_ticks_belongs_to_the_later_ones_step(
    step, period_ns, ticks_ago, within
):
    """Step j is executed at the tick that is ``step - 1 - j`` periods ago: due until then."""
    moment = TICK_NS - ticks_ago * period_ns - round(within * period_ns)
    assert state(step).step_at(moment, period_ns * 1e-9) == max(0, step - 1 - ticks_ago)


def test_executed_rows_are_known_as_long_as_they_are_kept():
    for step in (0, 1, HISTORY_ROWS - 1, HISTORY_ROWS, HISTORY_ROWS + 1, 1000):
        cursor = state(step)
        first = max(0, step - HISTORY_ROWS)
        for known in range(first, step):
            assert cursor.executed(known)[0] == 2 * (known % HISTORY_ROWS)
        for unknown in (first - 1, step, step + 1, -HISTORY_ROWS, -1):
            assert cursor.executed(unknown) is None


def test_a_state_of_fields_is_the_constructors_and_a_mode_is_one_of_them():
    made = state(7, coherent=True)
    same = CursorState.of(dict(vars(made), mode=int(made.mode)))
    assert vars(same) == vars(made)
    assert type(same.mode) is Mode
    with pytest.raises(ValueError, match="99 is not a valid Mode"):
        CursorState.of(dict(vars(made), mode=99))


def test_names_of_chunks_that_are_not_there():
    assert state(1).chunk_name is None and state(1).seen_name is None
    named = state(1, chunk_epoch=4, chunk_seq=0, seen_epoch=5, seen_seq=9)
    assert (named.chunk_name, named.seen_name) == ((4, 0), (5, 9))
