"""What a live change of settings makes of d, before a chunk was made with it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.inference.chunk_costs import ChunkCosts
from rtc_ros.inference.live_settings import LiveSettings
from rtc_ros.inference.parameters import INFERENCE
from rtc_ros.inference.policy_loading import first_estimator
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.ros.parameter_table import COMMON
from rtc_ros.ros.parameters import declare

pytestmark = pytest.mark.ros
SPEC = PolicySpec(50, 14, 14, 10, {"top": (96, 96)}, max_candidates=16)
WARM_S = 0.1


class Live:
    """The node's live settings, with a policy whose steps take ``step_s`` each, guided or not."""

    def __init__(self, node, spec=SPEC, step_s=0.0, **overrides):
        self.node = node
        values = {**declare(node, COMMON), **declare(node, INFERENCE), **overrides}
        self.settings = LiveSettings(node, values, lambda: None)
        self.costs = ChunkCosts(spec, WARM_S)
        estimator = first_estimator(values, self.costs.first_s(self.settings.settings))
        self.settings.use(spec, estimator, None, self.costs)
        self.step_s = step_s

    @property
    def d(self):
        return self.settings.loop.estimator.forecast()

    def set(self, **values):
        """Return why it is refused, "" where it isn't."""
        told = [Parameter(name, value=value) for name, value in values.items()]
        return self.node.set_parameters_atomically(told).reason

    def chunk(self, delay, step_s=None, continues=None):
        """Make a chunk that takes so long, with the settings of now, and see its delay."""
        loop, settings = self.settings.loop, self.settings.settings
        lap = "candidates" if settings.strategy == "bid" else "denoise"
        took_s = (self.step_s if step_s is None else step_s) * self.costs.steps(settings)
        continues = not settings.plan.pauses if continues is None else continues
        guided = continues and settings.plan.prefix is not None
        self.costs.saw(settings, guided, {lap: took_s})
        request = SimpleNamespace(
            start_tick=0, start_still=0, continues=continues, settings=settings, forecast=0
        )
        loop._observe(SimpleNamespace(swap_tick=delay, swap_still=0), request)


@pytest.fixture
def live(ros):
    nodes = []

    def make(**options):
        nodes.append(Node("live", namespace=f"n{len(nodes)}"))
        return Live(nodes[-1], **options)

    yield make
    for node in nodes:
        node.destroy_node()


def test_the_first_forecast_is_of_the_steps_that_are_set(live):
    assert live().d == 6, "100 ms and one period"
    assert live(num_steps=20).d == 11, "10 ms a step, as in the warm-up"
    assert live(num_steps=1).d == 6, "what isn't a step takes as long"
    one = live(num_steps=1)
    assert one.set(num_steps=10) == "" and one.d == 6, "the warm-up counts once"
    assert one.set(num_steps=14) == "" and one.d == 8, "4 more than it had, of 10 ms each"


@pytest.mark.parametrize("name", ["inject_latency_ms", "num_steps"])
def test_changes_that_no_chunk_was_made_with_do_not_add_up(live, name):
    low, high = {"inject_latency_ms": (0.0, 200.0), "num_steps": (10, 20)}[name]
    one = live(step_s=0.02)
    one.chunk(5)
    for _ in range(6):
        assert one.set(**{name: high}) == "" and one.d == 15
        assert one.set(**{name: low}) == "" and one.d == 5
    assert one.set(**{name: high}) == ""
    one.chunk(12)
    assert one.d == 12, "what was seen takes the place of what was expected"
    assert one.set(**{name: low}) == "" and one.set(**{name: high}) == "" and one.d == 12


def test_many_small_changes_are_as_one(live):
    one = live(step_s=0.002)
    one.chunk(8)
    for n in range(11, 31):
        assert one.set(num_steps=n) == ""
    assert one.d == 10, "20 more of 2 ms each"


def test_a_kind_of_step_costs_what_it_cost_before(live):
    one = live(step_s=0.02)
    one.chunk(10)
    assert one.set(strategy="naive_async") == ""
    one.chunk(5, step_s=0.005)
    assert one.set(strategy="rtc", num_steps=20) == ""
    assert one.d == 23, "from 10 steps of 5 ms to 20 of 20 ms: 18 more"
    one = live(step_s=0.02)
    one.chunk(10)
    assert one.set(strategy="bid", bid_candidates=2, bid_contrast=2) == ""
    one.chunk(14, step_s=0.03)
    assert one.set(num_steps=14) == "" and one.d == 20, "candidates, too"


def test_more_candidates_cost_more_where_they_are_made_one_by_one(live):
    one = live(step_s=0.004)
    one.chunk(4)
    refused = one.set(strategy="bid")
    assert "d = 82" in refused, "16 of 100 ms, where a chunk of 40 ms took 4 steps"
    assert one.set(strategy="bid", bid_candidates=2, bid_contrast=2) == "" and one.d == 12
    one.chunk(5, step_s=0.006)
    assert "d = 26" in one.set(bid_candidates=16) and one.d == 5
    assert one.set(bid_candidates=4) == "" and one.d == 8
    gpu = live(spec=replace(SPEC, batches=True), step_s=0.004)
    gpu.chunk(4)
    assert gpu.set(strategy="bid") == "" and gpu.d == 7, "one batch"


def test_the_first_chunk_after_a_start_does_not_hide_what_is_expected(live):
    """Made without guidance, it never enters Q; two chunks were frozen ten rows short."""
    one = live(step_s=0.002)
    one.chunk(5)
    assert one.set(inject_latency_ms=200.0) == "" and one.d == 15
    one.chunk(12, continues=False)
    assert one.d == 15
    one.chunk(13)
    assert one.d == 13


def test_a_slow_inference_that_is_still_in_q_hides_nothing(live):
    one = live(step_s=0.004)
    one.chunk(33)
    assert one.set(beta=7.0) == ""
    one.chunk(4)
    assert one.d == 33, "Q's"
    assert "d = 26" in one.set(num_steps=120) and one.set(num_steps=60) == ""


def test_nothing_is_refused_for_a_slow_spell_long_ago_but_its_delay_is_foreseen_once(live):
    """It may be over. It may also be what the machine takes for good: more rows are held then."""
    for meanwhile in ("synchronous", "naive_async"):
        one = live(step_s=0.05)
        for _ in range(12):
            one.chunk(30)
        assert one.set(strategy=meanwhile) == ""
        for _ in range(60):
            one.chunk(4, step_s=0.003)
        assert one.set(strategy="rtc") == ""
        assert one.d == 28, "50 ms a step where unguided ones take 3"
        one.chunk(6, step_s=0.01)
        assert one.d == 6
        assert one.set(num_steps=20) == "" and one.d == 11


def test_what_was_quick_long_ago_still_is(live):
    """Candidates were refused for good: only they could have told what they take."""
    one = live(step_s=0.004)
    one.chunk(4)
    assert one.set(strategy="bid", bid_candidates=2, bid_contrast=2) == ""
    one.chunk(5, step_s=0.006)
    assert one.set(bid_candidates=16) != "" and one.set(bid_candidates=8) == ""
    one.chunk(8, step_s=0.012)
    assert one.set(strategy="rtc") == ""
    for _ in range(60):
        one.chunk(4)
    assert one.set(strategy="bid") == "" and one.d <= 12


def test_a_node_that_starts_with_candidates_can_be_tuned_before_its_first_chunk(live):
    one = live(strategy="bid")
    assert one.d == 6
    assert one.set(beta=7.0) == "" and one.set(bid_candidates=8) == "" and one.d == 6
    assert one.set(strategy="rtc") == "" and one.d == 6


def test_one_slow_chunk_is_no_cost_of_its_kind(live):
    one = live(step_s=0.004)
    for step_s in (0.004, 0.3, 0.004, 0.004):
        one.chunk(4, step_s=step_s)
    assert one.set(strategy="naive_async") == ""
    one.chunk(4, step_s=0.004)
    assert one.set(strategy="rtc") == "" and one.d == 4


def test_where_there_are_no_steps_their_number_costs_nothing(live):
    spec = PolicySpec(50, 14, 14, 1, {"top": (96, 96)}, flow=False)
    one = live(spec=spec, strategy="naive_async")
    assert one.d == 6 and one.set(num_steps=500) == "" and one.d == 6


def test_what_is_expected_is_never_a_delay_that_was_seen(live):
    """It stayed in Q for ever where a strategy pauses, and kept all others refused."""
    one = live(strategy="synchronous", step_s=0.01)
    one.chunk(9)
    assert one.settings.loop.estimator.observed == (), "the first inference is slow as no other"
    one.chunk(5)
    assert one.set(inject_latency_ms=600.0) == "" and one.d == 35
    assert one.settings.loop.estimator.observed == (5,)
    assert one.set(inject_latency_ms=0.0) == "" and one.d == 5
    assert one.set(strategy="rtc") == ""


def test_more_than_there_are_rows_for_is_refused_with_the_numbers(live):
    one = live(step_s=0.02)
    one.chunk(12)
    assert one.set(num_steps=22) == "" and one.d == 24
    refused = one.set(num_steps=30)
    assert "d = 32" in refused and "H = 50" in refused and one.d == 24
    assert one.set(num_steps=10) == "" and one.d == 12


def test_a_node_that_becomes_active_again_knows_what_its_delays_were_of(live):
    one = live(step_s=0.02)
    one.chunk(5)
    assert one.set(inject_latency_ms=200.0) == ""
    one.chunk(15)
    assert isinstance(one.settings.begin(None), InferenceLoop)
    assert one.set(beta=7.0) == "" and one.d == 15
    assert one.set(inject_latency_ms=300.0) == "" and one.d == 20
