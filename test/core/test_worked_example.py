"""H=10, s_min=4, d=3, row by row: the README's worked example and the paper's count."""

import numpy as np
import pytest
from algorithm import Bench

A0 = [(0, i) for i in range(10)]
A1 = [(1, i) for i in range(10)]
A2 = [(2, i) for i in range(10)]


def first_cycle(**settings):
    """Play until the second chunk is in use; the first one is there at once."""
    bench = Bench(initial_delay=3, s_min=4, **settings)
    bench.begin(0)
    first = bench.requests[0]
    assert (first.origin_step, first.prev, first.weights) == (0, None, None)
    bench.finish()
    for _ in range(4):
        assert bench.begin(3) is None  # not before s_min actions were executed
        bench.tick()
    request = bench.begin(3)
    for _ in range(3):
        bench.tick()
    return bench, request


def test_first_cycle_executes_a0_to_a6_and_starts_after_a3():
    bench, request = first_cycle()
    assert bench.log == A0[:7]
    assert request.origin_step == 4
    np.testing.assert_array_equal(request.prev[:, 0], [4, 5, 6, 7, 8, 9])
    assert (request.horizons.delay, request.horizons.stride) == (3, 4)


@pytest.mark.parametrize(
    ("schedule", "soft"),
    [("exp_shifted", [0.34, 0.18, 0.07]), ("exp", [0.4876, 0.1888, 0.0413])],
)
def test_mask_of_the_first_cycle(schedule, soft):
    _, request = first_cycle(schedule=schedule)
    np.testing.assert_array_equal(request.weights[:3], 1)
    np.testing.assert_allclose(request.weights[3:6], soft, atol=5e-3 if soft[0] == 0.34 else 5e-5)
    np.testing.assert_array_equal(request.weights[6:], 0)


def test_the_swap_goes_on_at_row_d():
    bench, _ = first_cycle()
    bench.finish()
    swap = bench.tick().played.swap
    assert (swap.step, swap.row, swap.delay, swap.previous_row) == (7, 3, 3, 7)
    assert bench.log[-1] == A1[3]


def test_second_cycle_counted_from_the_swap():
    """The README's example: a7' a8' a9' b6 are executed, then A_prev = [b7 b8 b9]."""
    bench, _ = first_cycle(count_from="swap")
    bench.finish()
    for row in (3, 4, 5, 6):
        assert bench.begin(3) is None
        bench.tick()
        assert bench.log[-1] == A1[row]
    request = bench.begin(3)
    np.testing.assert_array_equal(request.prev[:, 0], [107, 108, 109])
    assert (request.origin_step, request.horizons.stride) == (11, 7)
    # H − s = 3 = d: the mask is hard.
    np.testing.assert_array_equal(request.weights, [1] * 3 + [0] * 7)
    for _ in range(3):
        bench.tick()
    bench.finish()
    bench.tick()
    assert bench.log == A0[:7] + A1[3:10] + A2[3:4]


def test_second_cycle_counted_from_the_inference_start():
    """The paper: rows 0..3 of the new chunk count, so one more row and the next one starts."""
    bench, _ = first_cycle(count_from="inference_start")
    bench.finish()
    assert bench.begin(3) is None
    bench.tick()
    assert bench.log[-1] == A1[3]
    request = bench.begin(3)
    assert (request.origin_step, request.horizons.stride) == (8, 4)
    np.testing.assert_array_equal(request.prev[:, 0], [104, 105, 106, 107, 108, 109])
    for _ in range(3):
        bench.tick()
    bench.finish()
    bench.tick()
    assert bench.log == A0[:7] + A1[3:7] + A2[3:4]


def test_s_is_the_larger_of_d_and_s_min():
    """With s_min = 2 < d = 3 an inference starts as soon as the last chunk is in use."""
    bench = Bench(initial_delay=3, s_min=2)
    bench.begin(0)
    bench.finish()
    bench.run(60, duration=3)
    assert {r.horizons.stride for r in bench.requests[3:]} == {3}
    assert None not in bench.log


def test_a_delay_is_observed_in_steps():
    bench, _ = first_cycle()
    bench.finish()
    bench.tick()
    bench.begin(3)
    assert bench.loop.estimator.observed == (3,)
    assert bench.loop.under_forecasts == 0
