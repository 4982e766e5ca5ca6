"""Who is executed at each step, on hand-made chunks: averaging strategies through both halves."""

from __future__ import annotations

import numpy as np
import pytest
from algorithm import Bench
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.core.blending import Blender, average_of_predictions, average_with_previous
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import AVERAGE, ENSEMBLE, STRATEGIES

H = 6


class Blending(Bench):
    """Hands over what the loop makes of chunks whose every row is the chunk's number."""

    def finish(self, values=None):
        made = np.full((self.loop.horizon, 1), float(len(self.chunks)))
        return super().finish(self.loop.blended(made, self.running[0]))

    def executed(self, ticks, delay):
        """Return the commanded values; the first chunk comes at once, the others after d."""
        self.begin(0)
        self.finish()
        values = []
        for _ in range(ticks):
            self.begin(delay)
            if self.running is not None and self.running[1] <= 0:
                self.finish()
                self.begin(delay)
            values.append(float(self.tick().target[0]))
        return values


def play(strategy, delay=1, s_min=2, ticks=7, **settings):
    bench = Blending(H, initial_delay=delay, strategy=strategy, s_min=s_min, **settings)
    return bench, bench.executed(ticks, delay)


def test_naive_asynchronous_executes_the_newest_chunk():
    assert play("naive_async")[1] == [0, 0, 0, 1, 1, 2, 2]


def test_temporal_ensembling_executes_the_mean_of_all_that_was_predicted_for_the_step():
    # Chunks 0, 1, 2 … begin at steps 0, 2, 4 … and are there one step later.
    bench, values = play("temporal_ensembling", ticks=9)
    seen = [[0], [0], [0], [0, 1], [0, 1], [0, 1, 2], [1, 2], [1, 2, 3], [2, 3]]
    assert values == [np.mean(numbers) for numbers in seen]
    assert [r.weights for r in bench.requests] == [None] * len(bench.requests)
    # The chunk in use is the newest one, and the row is k - origin_step.
    assert bench.log == [
        (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)
    ]  # fmt: skip


def test_act_s_weights_count_from_the_oldest_prediction_of_the_step():
    m = 0.5
    values = play("temporal_ensembling", ticks=7, ensemble_decay=m)[1]
    w = np.exp(-m * np.arange(3))
    assert values[5] == pytest.approx((w * [0, 1, 2]).sum() / w.sum())
    assert values[6] == pytest.approx((w[:2] * [1, 2]).sum() / w[:2].sum())


def test_dense_temporal_ensembling_infers_back_to_back_whatever_s_min_is():
    bench, values = play("temporal_ensembling_dense", delay=2, s_min=3, ticks=8)
    assert [r.origin_step for r in bench.requests[1:4]] == [1, 3, 5]
    assert [r.horizons.stride for r in bench.requests[2:5]] == [2, 2, 2]
    # Chunk 1 is for steps 1 to 6 and there at 3; chunk 2 for 3 to 8, there at 5.
    assert values[:7] == [0, 0, 0, 0.5, 0.5, 1.0, 1.5]


def test_weighted_average_takes_0_3_of_what_was_there_and_0_7_of_the_new():
    _, values = play("weighted_average", ticks=7)
    assert values[:5] == pytest.approx([0, 0, 0, 0.7, 0.7])
    # What was there is itself an average as far as chunk 0 reached: rows for steps 4 and 5.
    assert values[5:] == pytest.approx([0.3 * 0.7 + 0.7 * 2, 0.3 * 1.0 + 0.7 * 2])


def test_weighted_average_is_of_what_the_limits_let_out():
    prev, actions = np.full((2, 1), 0.25), np.ones((3, 1))
    blended = average_with_previous(prev, actions, 0.7)
    np.testing.assert_allclose(blended[:, 0], [0.775, 0.775, 1.0])


def test_strategies_that_do_not_blend_hand_over_the_same_array():
    actions = np.ones((H, 1))
    blender = Blender()
    for how in (None, AVERAGE):
        assert blender.blend(how, actions, 0, 1, None, 0.0, 0.7) is actions


def test_predictions_of_another_run_and_those_that_are_not_finite_are_never_averaged():
    blender, ones = Blender(), np.ones((H, 1))
    blender.blend(ENSEMBLE, 9 * ones, 0, 1, None, 0.0, 0.7)
    np.testing.assert_array_equal(blender.blend(ENSEMBLE, ones, 0, 2, None, 0.0, 0.7), ones)
    broken = blender.blend(ENSEMBLE, np.nan * ones, 1, 2, None, 0.0, 0.7)
    assert np.isnan(broken).all()  # the controller refuses it
    np.testing.assert_array_equal(blender.blend(ENSEMBLE, ones, 2, 2, None, 0.0, 0.7), ones)


def test_a_change_to_ensembling_while_running_knows_the_chunks_before():
    blender, ones = Blender(), np.ones((H, 1))
    blender.blend(None, ones, 0, 1, None, 0.0, 0.7)
    got = blender.blend(ENSEMBLE, 3 * ones, 4, 1, None, 0.0, 0.7)
    np.testing.assert_array_equal(got[:, 0], [2, 2, 3, 3, 3, 3])


@pytest.mark.parametrize(("decay", "counts"), [(-10.0, 199), (10.0, 0)])
def test_only_the_newest_or_the_oldest_prediction_counts_at_the_ends(decay, counts):
    """Weights of e^1990 are no numbers; the arm starved, as such chunks are refused."""
    predictions = [(0, np.full((3, 1), float(k))) for k in range(200)]
    got = average_of_predictions(predictions, decay)
    np.testing.assert_allclose(got[:, 0], counts, atol=1e-3)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), max_size=6),
    st.floats(-2, 2),
    st.integers(0, 2**32 - 1),
)
def test_the_average_is_the_definition_row_by_row(spans, decay, seed):
    random = np.random.default_rng(seed)
    predictions = sorted(
        ((begin, random.normal(size=(rows, 2))) for begin, rows in [*spans, (8, 5)]),
        key=lambda p: p[0],
    )
    origin, newest = predictions[-1]
    got = average_of_predictions(predictions, decay)
    for row in range(len(newest)):
        step = origin + row
        known = [a[step - b] for b, a in predictions if b <= step < b + len(a)]
        weights = np.exp(-decay * np.arange(len(known)))
        expected = (weights[:, None] * known).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(got[row], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(durations=st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_each_executed_row_is_the_one_for_its_step_whatever_the_strategy(strategy, durations):
    bench = Blending(12, s_min=3, strategy=strategy)
    for duration in durations:
        for _ in range(30):
            bench.begin(duration)
            if bench.running is not None and bench.running[1] <= 0:
                bench.finish()
                break
            bench.tick()
    played = [p for p in bench.log if p is not None]
    assert [bench.chunks[seq].origin_step + row for seq, row in played] == list(range(len(played)))


@pytest.mark.parametrize(
    ("change", "horizon", "delay", "sentence"),
    [
        ({"strategy": "temporal_ensembling", "s_min": 12}, 10, 1, "s_min is 12, but a chunk has"),
        (
            {"strategy": "temporal_ensembling", "s_min": 6}, 10, 4,
            "with s = 6 and d = 4 no step that is executed has two: s + d must be at most H - 1",
        ),
        ({"strategy": "temporal_ensembling_dense"}, 10, 5, "with s = 5 and d = 5 no step"),
        ({"strategy": "bid", "s_min": 2}, 10, 1, "bid_candidates = 16 chunks in one batch, but"),
        ({"ensemble_decay": float("inf"), "s_min": 2}, 10, 1, "ensemble_decay is inf"),
        ({"average_new": 1.2, "s_min": 2}, 10, 1, "average_new is 1.2"),
        ({"bid_candidates": 0, "s_min": 2}, 10, 1, "bid_candidates is 0"),
        ({"bid_contrast": 17, "s_min": 2}, 10, 1, "within 0 and bid_candidates = 16"),
    ],
)  # fmt: skip
def test_a_combination_that_cannot_work_is_refused_with_a_sentence(
    change, horizon, delay, sentence
):
    problems = RtcSettings(**change).problems(horizon, delay, max_candidates=4)
    assert len(problems) == 1 and sentence in problems[0]


def test_what_a_strategy_does_not_use_is_no_reason_to_refuse():
    assert RtcSettings(s_min=2).problems(10, 1, max_candidates=1) == []
    assert RtcSettings(s_min=2, strategy="bid").problems(10, 1, max_candidates=16) == []
    # Dense inferences have s = d: an s_min beyond the horizon is not in the way.
    dense = RtcSettings(strategy="temporal_ensembling_dense", s_min=60)
    assert dense.problems(10, 2) == [] and dense.least_stride == 1


def test_a_live_change_to_a_strategy_that_needs_more_rows_is_refused():
    now = RtcSettings(s_min=6)
    change = now.changed(strategy="temporal_ensembling")
    assert "no step that is executed has two" in change.problems_after(now, 10, 4, 4)[0]
    assert now.changed(strategy="weighted_average").problems_after(now, 10, 4, 4) == []


@pytest.mark.parametrize("how", ["average", "ensemble"])
def test_angles_of_an_endless_joint_are_averaged_where_they_are_near(how):
    free = np.full(2, np.inf)
    limits = JointLimits(-free, free, free, turn=np.array([2 * np.pi, 0.0]))
    prev, actions = np.full((4, 2), 3.12), np.full((4, 2), -3.10)
    if how == "average":
        out = average_with_previous(prev, actions, 0.5, limits)
    else:
        out = average_of_predictions([(0, prev), (0, actions)], 0.0, limits)
    np.testing.assert_allclose(out[:, 0], (3.12 - 2 * np.pi - 3.10) / 2)
    np.testing.assert_allclose(out[:, 1], 0.01)  # it doesn't turn endlessly
