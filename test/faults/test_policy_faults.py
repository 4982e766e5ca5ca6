"""Inference that hangs, fails or makes nonsense: the arm holds, is told why, and goes on."""

from __future__ import annotations

import time

import pytest
from fault_system import HORIZON, MARGIN_TICKS, SECOND, warned
from lifecycle_msgs.msg import Transition

# Alone: a fault that another test makes isn't the one that is asked for.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


def test_an_inference_that_hangs_is_named_and_starves_the_arm(system, figure):
    begun = time.time_ns()
    system.fault("hang")
    steps = system.until_holding("starved", begun)
    assert steps <= HORIZON + MARGIN_TICKS
    system.until_said("rtc_inference: inference", "an inference has been running for", begun)
    assert warned(system.diagnostics["rtc_inference: inference"])
    system.fault("")
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the end")


def test_a_policy_that_still_runs_is_not_run_by_a_second_thread(system, figure):
    """Deactivated while an inference hangs, and activated again before that has ended."""
    begun = time.time_ns()
    system.fault("hang")
    system.until_said("rtc_inference: inference", "an inference has been running for", begun)
    assert system.change_inference(Transition.TRANSITION_DEACTIVATE)
    assert not system.change_inference(Transition.TRANSITION_ACTIVATE)
    system.until_said("rtc_inference: inference", "the policy can't make two at once", begun)
    system.fault("")
    system.until(
        lambda: system.change_inference(Transition.TRANSITION_ACTIVATE), "the policy to be free"
    )
    held = system.until_moving()
    assert held <= SECOND
    figure(f"refused while it hangs, moves {held} ticks after it is active again")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("raise", "inference failed: ValueError: the network fell over"),
        ("oom", "Unable to allocate"),
        ("columns", "inference failed: "),
        ("rows", "inference failed: "),
        ("nan", "with non-finite actions is never handed over"),
    ],
)
def test_an_inference_that_fails_is_named_and_tried_again(system, figure, word, sentence):
    begun, log = time.time_ns(), system.folder / "rtc_inference.log"
    before = log.stat().st_size
    system.fault(word)
    steps = system.until_holding("starved", begun)
    assert steps <= HORIZON + MARGIN_TICKS
    system.until_said("rtc_inference: inference", sentence, begun)
    system.until_said("rtc_inference: inference", sentence, time.time_ns())  # still
    system.fault("")
    held = system.until_moving()
    assert held <= SECOND
    logged = log.read_text()[before:]
    assert sentence in logged.split("[WARN]")[1], logged
    assert logged.count("Traceback") == 1, "not five times a second"
    figure(f"holds after {steps} steps, moves {held} ticks after the end")


def test_a_chunk_far_outside_the_limits_moves_the_arm_no_faster(system, figure):
    begun = time.time_ns()
    system.fault("leap")
    system.until(lambda: abs(system.watcher.pose).max() > 0.99, "the position limit")
    assert not system.disturbed(begun)
    figure("not held: every command within position and velocity limits")


def test_a_forecast_far_too_small_is_counted_and_every_row_stays_in_place(system, figure):
    def said(what):
        return int(system.values["rtc_inference: delay"][what])

    system.until(lambda: said("d forecast [steps]") < 6, "Q to know of no long delay")
    counted, begun = said("under-forecasts"), time.time_ns()
    system.fault("slow:0.24")  # 12 steps where Q says fewer; above 15, no s fits H = 30
    system.until(lambda: said("d forecast [steps]") >= 12, "Q to know of the delay")
    assert said("under-forecasts") > counted
    held = [ticks for _, ticks in system.holds(begun)]
    assert max(held, default=0) <= SECOND
    figure(f"{sum(held)} ticks held until Q knew")


def test_chunks_later_than_the_horizon_starve_and_go_on_at_the_same_step(system, figure):
    begun = time.time_ns()
    system.fault("slow:0.9")  # 45 steps, H = 30
    steps = system.until_holding("starved", begun)
    system.until_said("rtc_inference: delay", "over budget", begun)
    system.fault("")
    held = system.until_moving()
    assert held <= SECOND + 45
    figure(f"holds after {steps} steps, moves {held} ticks after the end")
