"""Which candidate bidirectional decoding takes, on chunks of one and two rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.bid import choose

ONE = np.ones(1)


def chunks(*rows):
    """Chunks [N, H, 1]."""
    return np.array(rows, float)[..., None]


def test_the_candidate_nearest_to_the_previous_chunk_is_taken():
    candidates = chunks([5, 0], [1, 9], [2, 1])
    prev = chunks([0.0, 0.0])[0]
    assert choose(candidates, prev, np.array([1.0, 0.0]), ONE) == 1
    assert choose(candidates, prev, np.array([1.0, 0.5]), ONE) == 2


def test_rows_without_weight_or_without_a_previous_row_are_not_read():
    candidates = chunks([1, 0, 7], [0.5, 9, 8])
    prev = np.array([[0.0], [np.nan]])
    assert choose(candidates, prev, np.array([1.0, 0.0, 0.0]), ONE) == 1


def test_distances_count_in_units_of_the_scale_and_0_leaves_a_dimension_out():
    candidates = np.array([[[1.0, 0.0, 9.0]], [[0.0, 0.5, 0.0]]])
    prev, weights = np.zeros((1, 3)), np.ones(1)
    assert choose(candidates, prev, weights, np.array([1.0, 1.0, 0.0])) == 1
    assert choose(candidates, prev, weights, np.array([10.0, 1.0, 0.0])) == 0


def test_forward_contrast_prefers_what_the_weak_policy_does_not_make():
    # Both candidates are as coherent; the weak policy only makes chunks like the first.
    candidates = chunks([0, -1], [0, 1])
    prev, weights = np.zeros((1, 1)), np.array([1.0, 0.0])
    weak = chunks([0, -1], [0, -1])
    assert choose(candidates, prev, weights, ONE) == 0
    assert choose(candidates, prev, weights, ONE, weak, 2) == 1
    assert choose(candidates, prev, weights, ONE, weak, 0) == 0


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 4))
def test_the_loss_is_the_paper_s_written_out(seed, contrast, k):
    random = np.random.default_rng(seed)
    n, h, a = 5, 4, 2
    candidates, weak = random.normal(size=(2, n, h, a))
    prev, weights = random.normal(size=(3, a)), np.array([1.0, 0.6, 0.2, 0.0])
    scale = np.array([0.5, 2.0])

    def backward(chunk):
        rows = enumerate(weights[:3])
        return sum(w * np.linalg.norm((chunk[i] - prev[i]) / scale) for i, w in rows)

    def apart(one, two):
        return sum(np.linalg.norm((one[i] - two[i]) / scale) for i in range(h))

    loss = np.array([backward(c) for c in candidates])
    if contrast:
        good = sorted(candidates, key=backward)[:k]
        bad = sorted(weak, key=backward)[:k]
        loss += [(sum(apart(c, g) for g in good) - sum(apart(c, b) for b in bad)) / n
                 for c in candidates]  # fmt: skip
    got = choose(candidates, prev, weights, scale, weak if contrast else None, k)
    assert got == loss.argmin()


def test_many_robots_at_once_are_each_by_itself():
    random = np.random.default_rng(0)
    candidates, weak = random.normal(size=(2, 7, 5, 4, 2))
    prev, weights = random.normal(size=(7, 4, 2)), np.array([1.0, 0.6, 0.2, 0.0])
    together = choose(candidates, prev, weights, np.ones(2), weak, 2)
    alone = [
        choose(c, p, weights, np.ones(2), w, 2)
        for c, p, w in zip(candidates, prev, weak, strict=True)
    ]
    np.testing.assert_array_equal(together, alone)
