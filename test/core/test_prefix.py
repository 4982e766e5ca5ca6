"""The soft mask against the design's table, and its properties for any H, s, d."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.core.prefix import SCHEDULES, prefix_weights

TABLE = {
    "exp": [0.4876, 0.1888, 0.0413],
    "exp_shifted": [0.3399, 0.1765, 0.0687],
    "linear": [0.75, 0.50, 0.25],
    "cosine": [0.8536, 0.5000, 0.1464],
    "ones": [1, 1, 1],
    "zeros": [0, 0, 0],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_worked_example(schedule):
    weights = prefix_weights(10, 3, 4, schedule)
    np.testing.assert_array_equal(weights[:3], 1.0)
    np.testing.assert_allclose(weights[3:6], TABLE[schedule], atol=5e-5)
    np.testing.assert_array_equal(weights[6:], 0.0)


def test_every_schedule_of_the_table_is_there():
    assert set(SCHEDULES) == set(TABLE)


@st.composite
def horizons(draw):
    horizon = draw(st.integers(1, 80))
    return horizon, draw(st.integers(0, 100)), draw(st.integers(0, horizon))


@given(horizons(), st.sampled_from(sorted(SCHEDULES)))
def test_properties(numbers, schedule):
    horizon, delay, stride = numbers
    weights = prefix_weights(horizon, delay, stride, schedule)
    assert weights.shape == (horizon,) and weights.dtype == np.float64
    assert (weights >= 0).all() and (weights <= 1).all()
    assert (np.diff(weights) <= 1e-15).all()
    assert (weights[: min(delay, horizon - stride)] == 1).all()
    assert (weights[horizon - stride :] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 0, 0, "exp"), "H is 0"),
        ((10, -1, 4, "exp"), "d is -1"),
        ((10, 3, 11, "exp"), "s is 11"),
        ((10, 3, 4, "sigmoid"), "'sigmoid'.*exp_shifted"),
    ],
)
def test_bad_input_is_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        prefix_weights(*arguments)
