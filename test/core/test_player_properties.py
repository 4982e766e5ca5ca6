"""Whatever comes in: no row at the wrong step, no step skipped, hold when there is nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.chunk_player import ChunkPlayer, Offer

EPOCH = 7

events = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.integers(1, 8)),
        # origin relative to the current step, rows, step epoch
        st.tuples(
            st.just("chunk"), st.integers(-30, 5), st.integers(1, 12), st.sampled_from([7, 7, 8])
        ),
        st.tuples(st.just("repeat"), st.integers(0, 30)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("bad")),
    ),
    max_size=60,
)


def rows_that_name_their_step(origin, rows):
    return np.arange(origin, origin + rows, dtype=float)[:, None]


@settings(max_examples=400, deadline=None)
@given(events)
def test_any_sequence_of_chunks_losses_repeats_and_restarts(sequence):
    player = ChunkPlayer(EPOCH, 1)
    writer, seq, sent, steps = 1, 0, [], []
    for event in sequence:
        if event[0] == "tick":
            for _ in range(event[1]):
                before = player.step
                played = player.tick()
                if played.action is None:
                    assert player.step == before == played.step
                    current = player.current
                    assert current is None or current.row_of(before) is None
                else:
                    assert played.row == before - played.chunk.origin_step
                    assert played.action[0] == before  # the row made for this very step
                    assert 0 <= played.row < played.chunk.rows
                    steps.append(before)
        elif event[0] == "chunk":
            origin = max(0, player.step + event[1])
            seq += 1
            actions = rows_that_name_their_step(origin, 12)
            chunk = ActionChunk(
                actions, origin, step_epoch=event[3], epoch=writer, seq=seq, rows=event[2]
            )
            sent.append(chunk)
            result = player.offer(chunk)
            if event[3] != EPOCH:
                assert result is Offer.OTHER_RUN
            elif chunk.end_step <= player.step:
                assert result is Offer.PAST
            else:
                assert result is Offer.TAKEN
        elif event[0] == "repeat" and sent:
            assert player.offer(sent[event[1] % len(sent)]) in set(Offer)
        elif event[0] == "restart":
            writer, seq = writer + 1, 0
        elif event[0] == "bad":
            seq += 1
            bad = np.full((3, 1), np.nan)
            chunk = ActionChunk(bad, player.step, step_epoch=EPOCH, epoch=writer, seq=seq)
            assert player.offer(chunk) is Offer.NOT_FINITE
    assert steps == list(range(player.step))


def test_a_repeat_or_an_older_chunk_changes_nothing():
    player = ChunkPlayer(EPOCH, 1)
    old = ActionChunk(rows_that_name_their_step(0, 5), 0, step_epoch=EPOCH, epoch=1, seq=1)
    new = ActionChunk(rows_that_name_their_step(0, 5), 0, step_epoch=EPOCH, epoch=1, seq=2)
    assert player.offer(new) is Offer.TAKEN
    assert player.offer(new) is Offer.SAME
    assert player.offer(old) is Offer.SAME
    assert player.tick().chunk is new


def test_a_chunk_for_later_waits_for_its_step():
    player = ChunkPlayer(EPOCH, 1)
    now = ActionChunk(rows_that_name_their_step(0, 5), 0, step_epoch=EPOCH, epoch=1, seq=1)
    later = ActionChunk(rows_that_name_their_step(3, 5), 3, step_epoch=EPOCH, epoch=1, seq=2)
    player.offer(now)
    player.tick()
    player.offer(later)
    assert [player.tick().chunk.seq for _ in range(4)] == [1, 1, 2, 2]


def test_another_number_of_joints_is_refused():
    player = ChunkPlayer(EPOCH, 2)
    chunk = ActionChunk(np.zeros((3, 1)), 0, step_epoch=EPOCH, seq=1)
    assert player.offer(chunk) is Offer.WRONG_SHAPE
    assert player.tick().action is None


def test_only_the_rows_that_may_be_executed_are():
    player = ChunkPlayer(EPOCH, 1)
    player.offer(ActionChunk(rows_that_name_their_step(0, 10), 0, step_epoch=EPOCH, seq=1, rows=4))
    assert [player.tick().row for _ in range(6)] == [0, 1, 2, 3, -1, -1]
    assert (player.step, player.tick_count, player.held_ticks) == (4, 6, 2)
