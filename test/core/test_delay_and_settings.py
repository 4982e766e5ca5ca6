"""Q, and the live settings' validation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.horizons import Horizons, refusal
from rtc_ros.core.settings import RtcSettings


@given(st.lists(st.integers(0, 50)), st.integers(1, 10), st.integers(0, 50))
def test_forecast_is_the_maximum_of_the_window(delays, window, initial):
    q = DelayEstimator(window, initial)
    assert q.forecast() == initial
    for i, delay in enumerate(delays):
        q.observe(delay)
        assert q.forecast() == max(delays[max(0, i + 1 - window) : i + 1])


def test_a_single_slow_inference_is_forgotten():
    q = DelayEstimator(3, 2)
    for delay in (20, 3, 3):
        q.observe(delay)
    assert q.forecast() == 20
    q.observe(3)
    assert q.forecast() == 3


@pytest.mark.parametrize("bad", [-1, 2.5])
def test_a_delay_is_a_whole_number_of_steps(bad):
    with pytest.raises(ValueError, match="whole number"):
        DelayEstimator(3, 0).observe(bad)


def test_the_window_holds_at_least_one():
    with pytest.raises(ValueError, match="window is 0"):
        DelayEstimator(0, 0)
    assert DelayEstimator(1, 0).window == 1


@pytest.mark.parametrize("bad", [-1, 2.5])
def test_the_first_forecast_is_a_delay_too(bad):
    with pytest.raises(ValueError, match="whole number"):
        DelayEstimator(3, bad)


def test_a_restart_forgets_all_and_keeps_the_window_unless_told():
    q = DelayEstimator(3, 2)
    for delay in (9, 8, 7, 6):
        q.observe(delay)
    assert q.observed == (8, 7, 6) and q.window == 3
    q.restart(4)
    assert (q.observed, q.forecast(), q.window) == ((), 4, 3)
    q.restart(5, window=2)
    assert (q.forecast(), q.window) == (5, 2)


@given(st.integers(2, 60), st.integers(1, 60), st.integers(0, 60))
def test_refusal_is_the_inequality(horizon, s_min, delay):
    stride = max(delay, s_min)
    possible = s_min < horizon and delay <= stride <= horizon - delay
    assert (refusal(horizon, s_min, delay) is None) == possible


def test_a_refusal_names_the_numbers():
    assert "s_min must be at most H - d = 35" in refusal(50, 40, 15)
    assert "d must be at most H / 2 = 25" in refusal(50, 5, 30)


def test_a_refusal_s_numbers_at_the_edge_of_what_works():
    # 11 rows are needed and 10 there are; with one s less it works, with one d more nothing does.
    assert "need 11 rows, but a chunk has H = 10" in refusal(10, 6, 5)
    assert refusal(10, 6, 5).endswith("s_min must be at most H - d = 5")
    assert "no s_min works" in refusal(10, 6, 6)
    assert refusal(10, 5, 5) is None and refusal(10, 9, 1) is None
    assert "only H = 10 rows" in refusal(10, 10, 0) and "at most 9" in refusal(10, 10, 0)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((0, 0, 0), "H is 0"),
        ((10, -1, 0), "d is -1"),
        ((10, 0, 11), "s is 11; .* H = 10"),
        ((10, 0, -1), "s is -1"),
    ],
)
def test_horizons_that_can_not_be_are_refused(numbers, sentence):
    with pytest.raises(ValueError, match=sentence):
        Horizons(*numbers)
    Horizons(1, 0, 1), Horizons(1, 0, 0)  # the least there is


def test_what_just_fits_is_not_over_budget():
    horizons = Horizons(horizon=10, delay=6, stride=4)
    assert not horizons.over_budget and horizons.frozen == horizons.overlap == 6


def test_over_budget_shrinks_the_frozen_region():
    horizons = Horizons(horizon=10, delay=9, stride=4)
    assert horizons.over_budget and horizons.frozen == 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"s_min": 0}, "s_min is 0"),
        ({"s_min": 50}, "only H = 50 rows"),
        ({"s_min": 46}, "at most H - d = 45"),
        ({"beta": -1.0}, "beta is -1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"sigma_d": 0.0}, "sigma_d is 0"),
        ({"schedule": "x"}, "schedule is 'x'"),
        ({"jacobian": "x"}, "jacobian is 'x'"),
        ({"strategy": "x"}, "strategy is 'x'"),
        ({"count_from": "x"}, "count_from is 'x'"),
        ({"anchor": "x"}, "anchor is 'x'"),
        ({"num_steps": -1}, "num_steps is -1"),
        ({"inject_latency_ms": -1.0}, "inject_latency_ms is -1"),
        ({"ensemble_decay": float("inf")}, "ensemble_decay is inf"),
        ({"average_new": 1.01}, "average_new is 1.01"),
        ({"average_new": -0.01}, "average_new is -0.01"),
        ({"bid_candidates": 0}, "bid_candidates is 0"),
        ({"bid_contrast": 17}, "within 0 and bid_candidates = 16"),
    ],
)
def test_each_bad_setting_is_refused_with_a_sentence(change, sentence):
    problems = RtcSettings().changed(**change).problems(horizon=50, delay=5)
    assert len(problems) == 1 and sentence in problems[0]


def test_given_rows_need_a_policy_that_was_trained_for_them():
    settings = RtcSettings(strategy="rtc_trained")
    assert settings.problems(50, 8, trained_delay=8) == settings.problems(50, 8) == []
    (untrained,) = settings.problems(50, 0, trained_delay=0)
    assert "rtc_ros finetune CHECKPOINT DATASET --max-delay D" in untrained
    (beyond,) = settings.problems(50, 9, trained_delay=8)
    assert all(word in beyond for word in ("d = 9", "rtc_training_max_delay = 8", "-delay 9"))
    assert RtcSettings().problems(50, 9, trained_delay=8) == []


def test_beyond_its_training_only_what_makes_it_worse_is_refused():
    now = RtcSettings(strategy="rtc_trained")

    def refused(before=now, delay=12, **changes):
        after = before.changed(**changes)
        return after.problems_after(before, 50, delay, 12, None, 10)

    assert refused(beta=2.0) == refused(strategy="rtc") == refused(delay=11) == []
    assert "d = 17" in refused(delay=17, inject_latency_ms=100.0)[0]
    assert "d = 12" in refused(RtcSettings(), strategy="rtc_trained")[0]
    other = RtcSettings().changed(strategy="rtc_trained")
    assert other.problems_after(RtcSettings(), 50, 9, 9, None, 0) != []


def test_the_defaults_are_good():
    assert RtcSettings().problems(50, 5) == []


def test_a_pausing_strategy_has_no_delay_to_cover():
    settings = RtcSettings(strategy="synchronous", s_min=45)
    assert settings.problems(horizon=50, delay=30) == []
    assert settings.changed(strategy="rtc").problems(50, 30) != []


def test_while_the_delay_is_over_budget_only_changes_that_make_it_worse_are_refused():
    now = RtcSettings(s_min=20)
    assert now.problems(horizon=50, delay=26) != []

    def refused(delay=26, **changes):
        return now.changed(**changes).problems_after(now, 50, delay, 26)

    assert refused(beta=2.0) == refused(strategy="naive_async") == refused(s_min=10) == []
    assert refused(strategy="synchronous") == []
    assert "H / 2 = 25" in refused(s_min=30)[0]
    assert refused(delay=36, inject_latency_ms=200.0) != []
    assert "beta is -1" in refused(beta=-1.0)[0]
    assert "s_min is 60" in refused(s_min=60)[0]
    assert now.changed(s_min=31).problems_after(now, 50, 20, 20) != []  # within budget before
