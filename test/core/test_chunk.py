from __future__ import annotations

import numpy as np
import pytest

from rtc_ros.core.chunk import ActionChunk


def test_a_chunk_never_changes_after_it_was_made() -> None:
    mine = np.arange(6.0).reshape(3, 2)
    chunk = ActionChunk(mine, 0)
    mine[:] = -1.0
    assert chunk.actions.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="read-only"):
        chunk.actions[0, 0] = 7.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        chunk.actions.setflags(write=True)


@pytest.mark.parametrize(
    "actions",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array([[0, 3], [1, 4], [2, 5]], np.float32),
        np.array([[0, 3], [1, 4], [2, 5]], ">f8"),
        [[0, 3], [1, 4], [2, 5]],
    ],
)
def test_actions_of_any_make_become_the_same_float64(actions: np.ndarray) -> None:
    made = ActionChunk(actions, 0).actions
    assert made.dtype == np.float64 and made.flags.c_contiguous
    assert made.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_name_changes_nothing_else() -> None:
    chunk = ActionChunk(np.ones((3, 2)), 5, step_epoch=1, rows=2, delay=1, stride=2, guided=True,
                        observation_ns=3, start_ns=4, end_ns=6)  # fmt: skip
    named = chunk.named(7, 8)
    assert named.name == (7, 8)
    assert chunk.name == (0, 0)
    assert vars(named) == {**vars(chunk), "epoch": 7, "seq": 8}
    assert named.actions is chunk.actions


@pytest.mark.parametrize(
    ("shape", "fields", "words"),
    [
        ((3,), {}, r"shape \[H, A\], got \(3,\)"),
        ((0, 2), {}, r"got \(0, 2\)"),
        ((3, 0), {}, r"got \(3, 0\)"),
        ((), {}, r"got \(\)"),
        ((3, 2), {"rows": 0}, "rows is 0, but the chunk has 3 rows"),
        ((3, 2), {"rows": 4}, "rows is 4, but the chunk has 3 rows"),
        ((3, 2), {"origin_step": -1}, "origin_step is -1"),
    ],
)
def test_impossible_chunks_are_refused(shape: tuple[int, ...], fields: dict[str, int],
                                       words: str) -> None:  # fmt: skip
    with pytest.raises(ValueError, match=words):
        ActionChunk(np.zeros(shape), **{"origin_step": 0, **fields})
