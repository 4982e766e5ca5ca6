"""The virtual run must do what the two nodes do: delays, seams, starvation."""

import numpy as np
import pytest
from algorithm import Bench

from rtc_ros.core.continuity import judge
from rtc_ros.core.continuity.run_logger import RunLogger
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun

JOINTS = ("a", "b")
PERIOD_NS = 20_000_000


def run(settings, delay, ticks=400, horizon=20, initial=3, **options):
    """Follow a sine: row i of a chunk is the sine at its step, whatever was observed."""
    wide = np.full(2, 1e3)
    controller = Controller(JointLimits(-wide, wide, wide))
    loop = InferenceLoop(horizon, DelayEstimator(10, initial), settings)

    def infer(request, seq):
        requests.append(request)
        steps = request.origin_step + np.arange(horizon)
        return np.stack([np.sin(0.1 * steps), np.cos(0.1 * steps)], axis=1)

    requests = []
    virtual = VirtualRun(
        controller, loop, infer, delay, PERIOD_NS, JOINTS, np.array([0.0, 1.0]), **options
    )
    commands = [virtual.tick() for _ in range(ticks)]
    return virtual, commands, requests


def test_the_observed_delay_is_the_given_one_and_every_step_is_in_its_place():
    virtual, commands, requests = run(RtcSettings(s_min=4), lambda seq: 5)
    report = judge(virtual.log())
    assert report.misplaced_steps == 0 and report.starved_ticks == 0
    assert report.verdict.passed
    assert {s.delay_observed for s in report.seams} == {5}
    assert set(virtual.loop.estimator.observed) == {5}
    moved = [c for c in commands if c.wanted is not None]
    for c in moved:
        np.testing.assert_allclose(c.wanted[0], np.sin(0.1 * c.played.step))
    # The first chunk took five ticks, too.
    assert len(moved) == 400 - 5


def test_runs_logged_one_behind_the_other_are_judged_as_one_recording():
    logger, alone = RunLogger(JOINTS), []
    for epoch, delay in ((1, 5), (2, 3)):
        options = {"ticks": 200, "epoch": epoch}
        run(RtcSettings(s_min=6), lambda seq, d=delay: d, logger=logger, **options)
        virtual, _, _ = run(RtcSettings(s_min=6), lambda seq, d=delay: d, **options)
        alone.append(judge(virtual.log()))
    report = judge(logger.log())
    assert report.misplaced_steps == report.starved_ticks == 0
    assert report.steps == sum(r.steps for r in alone) == 400 - 5 - 3
    assert [s.excess_ratio for s in report.seams] == [
        s.excess_ratio for r in alone for s in r.seams
    ]
    assert [s.delay_observed for s in report.seams[:1] + report.seams[-1:]] == [5, 3]
    counts = [r.ordinary_excess_ratio.count for r in (report, *alone)]
    assert counts[0] == sum(counts[1:])


@pytest.mark.parametrize("count_from", ["inference_start", "swap"])
@pytest.mark.parametrize(("delay", "s_min"), [(3, 8), (3, 3), (3, 1), (1, 1), (9, 1), (0, 2)])
def test_strides_are_s_min_or_the_delay(count_from, delay, s_min):
    settings = RtcSettings(s_min=s_min, count_from=count_from)
    _, _, requests = run(settings, lambda seq: delay, initial=delay)
    strides = {r.horizons.stride for r in requests[2:]}
    from_swap = count_from == "swap"
    assert strides == {delay + s_min if from_swap else max(delay, s_min)}


@pytest.mark.parametrize("delay", range(6))
@pytest.mark.parametrize("s_min", range(1, 6))
def test_it_is_algorithm_1_stepped_without_a_clock(delay, s_min):
    bench = Bench(horizon=10, action_dim=2, initial_delay=delay, s_min=s_min)
    bench.run(60, delay)

    def infer(request, seq):
        requests.append(request)
        return np.tile(np.arange(10.0)[:, None] + 100.0 * (seq - 1), 2)

    requests = []
    loop = InferenceLoop(10, DelayEstimator(10, delay), RtcSettings(s_min=s_min))
    controller = Controller(JointLimits.none(2))
    virtual = VirtualRun(
        controller, loop, infer, lambda seq: delay, PERIOD_NS, JOINTS, np.zeros(2)
    )
    for place, command in zip(bench.log, [virtual.tick() for _ in range(60)], strict=True):
        played = command.played
        assert place == (None if played.action is None else (played.chunk.seq - 1, played.row))
    assert [told(r) for r in requests] == [told(r) for r in bench.requests]
    assert {r.horizons.stride for r in requests[2:]} == {max(delay, s_min)}


def told(request):
    arrays = (request.prev, request.weights)
    return (
        request.origin_step, request.start_tick, request.horizons,
        *(None if a is None else a.tolist() for a in arrays),
    )  # fmt: skip


def test_a_delay_beyond_the_chunk_starves_and_is_told():
    virtual, commands, _ = run(RtcSettings(s_min=4), lambda seq: 18, ticks=300)
    report = judge(virtual.log())
    assert report.starved_ticks > 0 and report.misplaced_steps == 0
    assert report.verdict.passed is False


def test_a_pausing_strategy_pauses_for_the_delay():
    virtual, commands, requests = run(RtcSettings(s_min=6, strategy="synchronous"), lambda seq: 4)
    report = judge(virtual.log())
    pauses = [s.held_ticks for s in report.seams]
    assert pauses and set(pauses) == {4}
    assert all(r.weights is None and r.rows == 6 for r in requests)


def test_delays_may_differ_and_the_forecast_is_their_recent_maximum():
    virtual, _, requests = run(RtcSettings(s_min=4), lambda seq: 7 if seq % 5 == 0 else 2)
    assert max(r.forecast for r in requests[6:]) == 7
    report = judge(virtual.log())
    assert report.misplaced_steps == 0 and report.starved_ticks == 0
