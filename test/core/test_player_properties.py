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
                player, played = player.tick()
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
            player, result = player.offer(chunk)
            if event[3] != EPOCH:
                assert result is Offer.OTHER_RUN
            elif chunk.end_step <= player.step:
                assert result is Offer.PAST
            else:
                assert result is Offer.TAKEN
        elif event[0] == "repeat" and sent:
            again = sent[event[1] % len(sent)]
            before = player
            player, result = player.offer(again)
            # The newest that was seen of this writer, and all older ones, change nothing.
            known = player.seen is not None and again.epoch == before.seen[0]
            if known and again.seq <= before.seen[1]:
                assert result is Offer.SAME and player is before
            else:
                assert result is not Offer.SAME and player.seen == again.name
        elif event[0] == "restart":
            writer, seq = writer + 1, 0
        elif event[0] == "bad":
            seq += 1
            bad = np.full((3, 1), np.nan)
            chunk = ActionChunk(bad, player.step, step_epoch=EPOCH, epoch=writer, seq=seq)
            player, result = player.offer(chunk)
            assert result is Offer.NOT_FINITE
    assert steps == list(range(player.step))


def chunk(origin, horizon, seq, **fields):
    actions = rows_that_name_their_step(origin, horizon)
    return ActionChunk(actions, origin, step_epoch=EPOCH, epoch=1, seq=seq, **fields)


def played(player, ticks):
    """Return the player after so many ticks, and what they did."""
    steps = []
    for _ in range(ticks):
        player, step = player.tick()
        steps.append(step)
    return player, steps


def test_a_repeat_or_an_older_chunk_changes_nothing():
    old, new = chunk(0, 5, 1), chunk(0, 5, 2)
    player, result = ChunkPlayer(EPOCH, 1).offer(new)
    assert result is Offer.TAKEN
    for again in (new, old):
        assert player.offer(again) == (player, Offer.SAME)
    assert player.tick()[1].chunk is new


def test_a_chunk_for_later_waits_for_its_step():
    player, _ = ChunkPlayer(EPOCH, 1).offer(chunk(0, 5, 1))
    player, _ = played(player, 1)
    player, _ = player.offer(chunk(3, 5, 2))
    _, steps = played(player, 4)
    assert [step.chunk.seq for step in steps] == [1, 1, 2, 2]


def test_a_swap_says_what_it_replaced():
    """H = 5; the second chunk is made for step 1 and comes before step 3: d is 2."""
    player, _ = ChunkPlayer(EPOCH, 1).offer(chunk(0, 5, 1))
    player, steps = played(player, 3)
    assert steps[0].swap.previous is None and steps[1].swap is None
    player, _ = player.offer(chunk(1, 5, 2))
    player, (step,) = played(player, 1)
    assert (step.swap.step, step.swap.row, step.swap.previous_row, step.swap.delay) == (3, 2, 3, 2)
    assert player.last_swap is step.swap and player.swaps == 2


def test_another_number_of_joints_is_refused():
    player, result = ChunkPlayer(EPOCH, 2).offer(chunk(0, 3, 1))
    assert result is Offer.WRONG_SHAPE
    assert player.tick()[1].action is None


def test_only_the_rows_that_may_be_executed_are():
    player, _ = ChunkPlayer(EPOCH, 1).offer(chunk(0, 10, 1, rows=4))
    player, steps = played(player, 6)
    assert [step.row for step in steps] == [0, 1, 2, 3, -1, -1]
    assert (player.step, player.tick_count, player.held_ticks) == (4, 6, 2)
