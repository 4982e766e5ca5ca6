"""The virtual run must do what the two nodes do: delays, seams, starvation."""

import numpy as np
import pytest

from rtc_ros.core.continuity import judge
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun

JOINTS = ("a", "b")
PERIOD_NS = 20_000_000


def run(settings, delay, ticks=400, horizon=20, initial=3):
    """Follow a sine: row i of a chunk is the sine at its step, whatever was observed."""
    wide = np.full(2, 1e3)
    controller = Controller(JointLimits(-wide, wide, wide))
    loop = InferenceLoop(horizon, DelayEstimator(10, initial), settings)

    def infer(request, seq):
        requests.append(request)
        steps = request.origin_step + np.arange(horizon)
        return np.stack([np.sin(0.1 * steps), np.cos(0.1 * steps)], axis=1)

    requests = []
    virtual = VirtualRun(controller, loop, infer, delay, PERIOD_NS, JOINTS, np.array([0.0, 1.0]))
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


@pytest.mark.parametrize("count_from", ["inference_start", "swap"])
def test_strides_are_s_min_or_the_delay(count_from):
    _, _, requests = run(RtcSettings(s_min=8, count_from=count_from), lambda seq: 3)
    strides = {r.horizons.stride for r in requests[2:]}
    assert strides == ({8} if count_from == "inference_start" else {11})


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
