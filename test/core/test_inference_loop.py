"""When inferences start, what they get, and what is learnt from them."""

from dataclasses import replace

import numpy as np
import pytest
from algorithm import Bench
from arms import guards_of, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.controller import ControllerSettings, Inputs
from rtc_ros.core.cursor import Mode
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES


@settings(max_examples=150, deadline=None)
@given(
    st.integers(4, 30),
    st.integers(1, 15),
    st.lists(st.integers(0, 25), min_size=1, max_size=20),
    st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from(["inference_start", "swap"]),
)
def test_any_sequence_of_inference_times(horizon, s_min, durations, strategy, count_from):
    s_min = min(s_min, horizon - 1)
    bench = Bench(horizon, s_min=s_min, strategy=strategy, count_from=count_from)
    for duration in durations:
        for _ in range(40):
            bench.begin(duration)
            if bench.running is not None and bench.running[1] <= 0:
                bench.finish()
                break
            bench.tick()
    for request in bench.requests:
        if request.weights is not None:
            assert request.prev is not None
            assert (request.weights[len(request.prev) :] == 0).all()
            assert request.horizons.stride + len(request.prev) <= horizon
    # Every executed row was the one made for its step.
    step = 0
    for played in bench.log:
        if played is not None:
            seq, row = played
            assert bench.chunks[seq].origin_step + row == step
            step += 1


def test_constant_delay_never_starves_and_d_is_learnt():
    bench = Bench(horizon=20, s_min=5, initial_delay=0)
    bench.begin(0)
    bench.finish()
    bench.run(200, duration=4)
    assert None not in bench.log
    assert set(bench.loop.estimator.observed) == {4}
    assert bench.loop.under_forecasts == 1  # the first, forecast as 0
    assert {r.horizons.delay for r in bench.requests[3:]} == {4}


def test_the_first_inference_never_enters_q():
    bench = Bench(horizon=20, s_min=5, initial_delay=2)
    bench.run(30, duration=9)
    assert bench.loop.estimator.observed == ()
    assert bench.loop.estimator.forecast() == 2


def test_held_ticks_count_as_delay():
    """A chunk that came after starvation took as long as it took, executed steps or not."""
    bench = Bench(horizon=10, s_min=4, initial_delay=3)
    bench.begin(0)
    bench.finish()
    bench.run(5, duration=12)
    while bench.requests[-1] is not None and bench.running[1] > 0:
        bench.tick()
    bench.finish()
    bench.tick()
    bench.begin(1)
    assert bench.log.count(None) == 6
    assert bench.loop.estimator.observed == (12,)


def test_a_chunk_that_was_replaced_before_the_next_look_tells_its_delay():
    """A node that begins each inference when the last one's chunk is written (s = d)."""
    bench = Bench(horizon=20, s_min=1, initial_delay=3)
    bench.begin(0)
    bench.finish()
    bench.tick()
    for delay in (4, 6):
        assert bench.begin(delay) is not None
        for _ in range(delay):
            bench.tick()
        bench.finish()
    # Busy with what it wrote, the node looks when the second one is in use, too.
    bench.tick()
    bench.begin(1)
    assert bench.loop.estimator.observed == (4, 6)


def test_a_chunk_of_the_run_before_is_not_waited_for():
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.begin(0)
    bench.finish()
    bench.run(6, duration=3)
    assert bench.running is not None
    bench.controller.start(2, np.zeros(1))
    bench.finish()
    bench.written = None  # the controller wouldn't take it
    assert not bench.begin(3).continues


def test_strategies_differ_in_guidance_and_pauses():
    for strategy, guided in (("rtc", True), ("rtc_hard", True), ("naive_async", False)):
        bench = Bench(horizon=20, s_min=5, strategy=strategy, initial_delay=3)
        bench.run(40, duration=3)
        later = bench.requests[2]
        assert later.prev is not None
        assert (later.weights is not None) == guided
    assert Bench(horizon=20, s_min=5, strategy="rtc_hard").loop.settings.mask_schedule == "zeros"


def test_synchronous_executes_s_min_rows_then_holds_while_inferring():
    bench = Bench(horizon=20, s_min=5, strategy="synchronous")
    bench.run(30, duration=3)
    rows = [None if p is None else p[1] for p in bench.log]
    assert rows[:19] == [None] * 3 + [0, 1, 2, 3, 4] + [None] * 3 + [0, 1, 2, 3, 4] + [None] * 3
    assert all(r.prev is None for r in bench.requests)


def test_a_slow_inference_is_forgotten_also_while_the_arm_pauses():
    """Else no strategy that needs more rows could be set any more."""
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.run(40, duration=4)
    bench.run(30, duration=9)
    assert bench.loop.estimator.forecast() == 9
    bench.loop.settings = bench.loop.settings.changed(strategy="synchronous")
    bench.run(200, duration=1)
    assert set(bench.loop.estimator.observed) == {1}, "what guidance adds is LiveSettings' to know"


def test_over_budget_is_reported_and_nothing_breaks():
    bench = Bench(horizon=10, s_min=4, initial_delay=8)
    bench.run(40, duration=8)
    request = bench.requests[-1]
    assert request.horizons.over_budget
    assert (request.weights[: request.horizons.overlap] == 1).all()


def test_no_inference_while_stopped_or_faulty():
    bench = Bench()
    cursor = bench.controller.cursor(0)
    assert bench.loop.next_request(None) is None
    for mode in (Mode.STOPPED, Mode.FAULT):
        assert bench.loop.next_request(replace(cursor, mode=mode)) is None
    assert bench.loop.next_request(cursor) is not None


def test_a_restarted_inference_goes_on_from_the_chunk_in_use():
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.run(20, duration=3)
    in_use = bench.controller.state.player.current
    for known, continues in ((in_use, True), (None, False)):
        loop = InferenceLoop(20, DelayEstimator(5, 3), RtcSettings(s_min=1), known)
        assert loop.next_request(bench.controller.cursor(0)).continues == continues


def test_a_restarted_controller_begins_at_step_0():
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.run(20, duration=3)
    bench.controller.start(2, np.zeros(1))
    request = bench.loop.next_request(bench.controller.cursor(0))
    assert (request.step_epoch, request.origin_step, request.continues) == (2, 0, False)


def test_a_refused_chunk_is_counted_and_the_loop_goes_on():
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.begin(0)
    bench.finish(np.full((20, 1), np.nan))
    bench.tick()
    assert bench.begin(3) is not None
    assert bench.loop.refused_chunks == 1


def test_a_chunk_that_comes_during_a_fault_is_learnt_of_when_it_is_over():
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.run(8, duration=3)
    while bench.begin(2) is None:
        bench.tick()
    bench.tick()
    bench.finish()
    free = bench.controller.settings.limits
    bench.controller.settings = ControllerSettings(free, guards=guards_of(free))
    for _ in range(4):
        bench.tick(seen([0.0], "a joint state's cable"))
        assert bench.begin(3) is None and bench.loop.refused_chunks == 0
    learnt, bench.loop.last_delay = bench.loop.estimator.forecast(), -1
    bench.tick()
    bench.begin(3)
    assert bench.controller.state.player.current is bench.chunks[-1]
    assert bench.loop.refused_chunks == 0 and bench.loop.last_delay >= 1, learnt


@pytest.mark.parametrize("known", [False, True], ids=["the first delay", "a later one"])
@pytest.mark.parametrize("held", [2, 30])
def test_a_delay_in_which_ticks_stood_still_is_not_known(held, known):
    """It looked as quick as the ticks before the hold, and too few rows were frozen."""
    bench = Bench(horizon=40, s_min=12, initial_delay=10)
    bench.begin(10)
    bench.finish()
    bench.run(1, duration=10)
    if known:
        bench.run(60, duration=10)
        while bench.running is not None:
            bench.run(1, duration=10)
    while bench.begin(10) is None:
        bench.tick()
    before = len(bench.loop.estimator.observed)
    bench.loop.estimator.expect(14)  # as after a change of settings
    bench.tick()
    for left in reversed(range(held)):  # the chunk comes within the hold, or at its end
        if not left:
            bench.finish()
        bench.tick(Inputs(hold="until the joint state of a is heard of"))
    bench.tick()
    assert bench.controller.state.player.current is bench.chunks[-1]
    bench.begin(14)
    assert len(bench.loop.estimator.observed) == before
    assert bench.loop.estimator.forecast() == 14, "nothing has shown it"
    bench.running = (bench.running[0], 14) if bench.running else None
    bench.run(40, duration=14)
    assert bench.loop.under_forecasts == 0 and bench.loop.estimator.observed[before:] == (14,) * (
        len(bench.loop.estimator.observed) - before
    )


@pytest.mark.parametrize("duration", [1, 3, 6])
@pytest.mark.parametrize("held", [2, 8, 30])
@pytest.mark.parametrize("first", [True, False])
def test_a_chunk_that_waits_for_a_hold_to_end_is_gone_on_from(first, held, duration):
    """Counted as refused, another one was made without guidance: it came in mid-motion."""
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    if not first:
        bench.run(12, duration=duration)
        while bench.controller.state.mode is not Mode.STARVED:
            bench.tick()
        bench.running = None
    request = bench.begin(duration)
    assert request is not None and not request.continues
    unguided = len(bench.requests)
    for tick in range(held + 40):
        if bench.running is not None and bench.running[1] <= 0:
            bench.finish()
        bench.begin(duration)
        until = "until the driver has come to where motion begins"
        bench.tick(Inputs(hold=until if tick < held + duration else ""))
    assert bench.loop.refused_chunks == 0 and bench.controller.state.mode is Mode.RUNNING
    after = bench.requests[unguided:]
    assert len(after) > 3 and all(r.continues for r in after)


def test_a_request_goes_by_one_set_of_settings_though_another_thread_changes_them():
    class Changed(InferenceLoop):
        """Its settings are others each time that they are read."""

        reads = 0

        @property
        def settings(self):
            self.reads += 1
            return RtcSettings(strategy=("rtc", "naive_async")[self.reads % 2], s_min=4)

        @settings.setter
        def settings(self, _):
            pass

    bench = Bench(horizon=20, s_min=4, initial_delay=3)
    bench.run(20, duration=3)
    loop = Changed(20, DelayEstimator(5, 3), RtcSettings(), bench.controller.state.player.current)
    guided = set()
    for _ in range(20):
        request = loop.next_request(bench.controller.cursor(0))
        if request is not None:
            guided.add((request.settings.strategy, request.weights is not None))
    assert guided == {("rtc", True), ("naive_async", False)}


def test_observation_anchor_counts_from_the_image():
    bench = Bench(horizon=20, s_min=5, initial_delay=3, anchor="observation")
    bench.begin(0)
    bench.finish()
    for _ in range(8):
        bench.tick()
    cursor = bench.controller.cursor(0)
    request = bench.loop.next_request(cursor, observed_step=6)
    assert (request.origin_step, request.horizons.stride, request.horizons.delay) == (6, 6, 5)
    np.testing.assert_array_equal(request.prev[:, 0], np.arange(6, 20))
    assert (request.weights[:5] == 1).all() and request.forecast == 3


@pytest.mark.parametrize("observed", [-5, 100])
def test_an_image_can_be_older_than_the_chunk_or_from_the_future(observed):
    bench = Bench(horizon=20, s_min=5, initial_delay=3, anchor="observation")
    bench.begin(0)
    bench.finish()
    for _ in range(8):
        bench.tick()
    request = bench.loop.next_request(bench.controller.cursor(0), observed_step=observed)
    origin = bench.controller.state.player.current.origin_step
    assert origin <= request.origin_step <= bench.controller.state.player.step


@pytest.mark.parametrize(("s_min", "begins"), [(9, 7), (8, 7), (7, 7), (6, 6)])
def test_an_inference_begins_while_its_d_rows_are_still_there(s_min, begins):
    """H = 10, d = 3: at step 7 there are just 3 rows left, however large s_min is."""
    bench = Bench(horizon=10, s_min=s_min, initial_delay=3)
    bench.begin(0)
    bench.finish()
    while (request := bench.begin(3)) is None:
        bench.tick()
    assert request.start_step == begins and request.horizons.stride == begins


def test_a_chunk_that_a_newer_one_overtook_is_forgotten_with_it():
    """The controller looked again only when the second was there: the first is never played."""
    bench = Bench(horizon=20, s_min=1, initial_delay=1)
    bench.begin(0)
    bench.finish()
    bench.tick()
    bench.begin(0)
    overtaken = bench.finish()
    bench.written = None
    bench.tick()
    bench.begin(0)
    newer = bench.finish()
    bench.tick()
    assert bench.controller.state.player.current is newer
    request = bench.begin(0)
    assert request.previous == newer.name != overtaken.name
    np.testing.assert_array_equal(request.prev, newer.actions[request.horizons.stride :])
    assert bench.loop.refused_chunks == 0


def test_what_was_on_its_way_to_a_run_that_is_over_holds_up_nothing():
    bench = Bench(horizon=20, s_min=1, initial_delay=1)
    for _ in range(3):  # the controller hears of the first alone
        bench.begin(0)
        bench.finish()
        if len(bench.chunks) > 1:
            bench.written = None
        bench.tick()
    assert bench.begin(0) is None, "two are on their way"
    bench.controller.stop()
    bench.controller.start(2, np.zeros(1))
    request = bench.begin(0)
    assert (request.step_epoch, request.origin_step, request.prev) == (2, 0, None)
    assert bench.loop.refused_chunks == 0


# ----------------------------------------------------------------------------- given rows


def test_beyond_the_training_the_frozen_region_is_cut_and_counted():
    bench = Bench(20, s_min=4, initial_delay=7, trained_delay=5, strategy="rtc_trained")
    bench.begin(7)
    bench.finish()
    bench.run(60, duration=7)
    assert None not in bench.log
    for request in bench.requests[3:]:
        assert request.horizons.delay == 7 and request.cut(5) == 2
        assert request.weights.tolist() == [1.0] * 5 + [0.0] * 15
    within = Bench(20, s_min=4, initial_delay=5, trained_delay=5, strategy="rtc_trained")
    within.begin(5)
    within.finish()
    within.run(60, duration=5)
    assert {r.cut(5) for r in within.requests} == {0}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(1, 12), st.integers(0, 8), st.integers(0, 10**6))
def test_given_rows_are_executed_to_the_bit_and_no_others(delay, s_min, trained, seed):
    random = np.random.default_rng(seed)
    bench = Bench(20, 3, delay, s_min=s_min, trained_delay=trained, strategy="rtc_trained")
    for _ in range(80):
        request = bench.begin(delay)
        if bench.running is not None and bench.running[1] <= 0:
            request = bench.running[0]
            made = random.normal(size=(20, 3))
            rows = bench.loop.blended(made, request)
            given = 0 if request.prev is None else int(request.weights.sum())
            if request.prev is not None:
                assert given == min(request.horizons.frozen, trained, len(request.prev))
                assert np.array_equal(rows[:given], request.prev[:given])
            assert np.array_equal(rows[given:], made[given:])
            bench.finish(rows)
        bench.tick()


def test_a_node_that_becomes_active_again_goes_on_from_the_chunk_that_waits_in_a_hold():
    """The new loop made an unguided one meanwhile, which took over in mid-motion at k = 1."""
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.begin(0)
    chunk = bench.finish()
    held = Inputs(hold="until the driver has come")
    bench.tick(held)
    bench.loop = InferenceLoop(20, DelayEstimator(10, 3), bench.loop.settings, known=chunk)
    for _ in range(10):
        assert bench.begin(3) is None, "no other chunk is made while that one waits"
        bench.tick(held)
    while bench.begin(3) is None:
        bench.tick()
    assert bench.requests[-1].start_step == 5 and bench.requests[-1].continues


@pytest.mark.parametrize("strategy", ["rtc", "synchronous"])
def test_a_delay_that_was_over_before_ticks_stood_still_is_known(strategy):
    """With slow joint states each pause ended in such a hold, and no delay was ever learnt."""
    bench = Bench(horizon=40, s_min=12, initial_delay=10, strategy=strategy)
    bench.run(60, duration=6)
    while bench.running is not None:
        bench.run(1, duration=6)
    while bench.begin(6) is None:
        bench.tick()
    bench.loop.estimator.restart(10)  # all before is seen
    for _ in range(6):
        bench.tick()
    bench.finish()
    for _ in range(4):
        bench.tick(Inputs(hold="until the joint state of a is heard of"))
    bench.tick()
    bench.tick(Inputs(hold="until the joint state of a is heard of"))
    bench.begin(6)
    assert bench.loop.estimator.observed == (6,)


@pytest.mark.parametrize("count_from", ["inference_start", "swap"])
@pytest.mark.parametrize("strategy", ["rtc", "synchronous", "naive_async"])
@pytest.mark.parametrize("s_min", [5, 12])
def test_a_chunk_that_a_link_dropped_is_not_waited_for(s_min, strategy, count_from):
    """Who wrote it is gone, the next one inherits it, and the controller never saw it."""
    settings = {"s_min": s_min, "strategy": strategy, "count_from": count_from}
    bench = Bench(horizon=20, initial_delay=3, **settings)
    bench.run(2 * s_min + 8, duration=3)
    while bench.running is not None:
        bench.run(1, duration=3)
    while bench.begin(3) is None:
        bench.tick()
    for _ in range(3):
        bench.tick()
    chunk, bench.written = bench.finish(), None
    loop = InferenceLoop(20, DelayEstimator(10, 3), RtcSettings(**settings), known=chunk)
    for _ in range(30):
        request = loop.next_request(bench.controller.cursor(0))
        if request is not None and request.previous != chunk.name:
            return
        bench.tick()
    raise AssertionError("it waits for ever")


def test_a_node_that_becomes_active_again_goes_on_from_the_chunk_that_was_just_written():
    """Written before the end, not looked at by the controller yet: the next tick swaps to it."""
    bench = Bench(horizon=20, s_min=5, initial_delay=3)
    bench.run(12, duration=3)
    while bench.begin(3) is None:
        bench.tick()
    bench.tick()
    chunk = bench.finish()
    for tried in (bench.loop.settings, RtcSettings(s_min=1)):
        loop = InferenceLoop(20, DelayEstimator(10, 3), tried, known=chunk)
        request = loop.next_request(bench.controller.cursor(0))
        assert request is None or request.previous == chunk.name
    bench.tick()
    assert bench.controller.state.player.current is chunk


def test_a_chunk_that_is_not_finite_is_never_gone_on_from():
    """With s = d the next inference begins as it is written: one made five that were refused."""
    bench = Bench(horizon=20, s_min=1, initial_delay=4)
    bench.run(40, duration=4)
    while bench.running is None or bench.running[1] > 0:
        bench.begin(4)
        bench.tick()
    good = bench.loop._current(bench.controller.cursor(0)).name
    bench.finish(np.full((20, 1), np.nan))
    request = bench.begin(4)
    assert request.previous == good and np.isfinite(request.prev).all()
    bench.run(40, duration=4)
    assert bench.loop.refused_chunks == 1 and None not in bench.log[4:]


def test_a_chunk_that_the_controller_passed_over_is_not_gone_on_from():
    """It stood still for a whole inference, and the next chunk, which it read, was not finite."""
    bench = Bench(horizon=20, s_min=1, initial_delay=4)
    bench.run(40, duration=4)
    while bench.running is None or bench.running[1] > 0:
        bench.begin(4)
        bench.tick()
    in_use = bench.controller.cursor(0).chunk_name
    passed_over = bench.finish()
    assert bench.begin(0).previous == passed_over.name
    bench.finish(np.full((20, 1), np.nan))
    bench.tick()
    request = bench.begin(4)
    assert bench.controller.cursor(0).chunk_name == in_use
    assert request.previous in (in_use, None) and request.previous != passed_over.name
