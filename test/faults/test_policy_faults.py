"""Inference that hangs, fails or makes nonsense: the arm holds, is told why, and goes on."""

from __future__ import annotations

import time

import pytest
from fault_system import HORIZON, MARGIN_TICKS, SECOND, warned
from lifecycle_msgs.msg import Transition

pytestmark = [pytest.mark.ros, pytest.mark.slow]


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
    begun = time.time_ns()
    system.fault(word)
    steps = system.until_holding("starved", begun)
    assert steps <= HORIZON + MARGIN_TICKS
    system.until_said("rtc_inference: inference", sentence, begun)
    system.fault("")
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the end")


def test_a_chunk_far_outside_the_limits_moves_the_arm_no_faster(system, figure):
    begun = time.time_ns()
    system.fault("leap")
    system.until(lambda: abs(system.watcher.pose).max() > 0.99, "the position limit")
    assert not system.disturbed(begun)
    figure("not held: every command within position and velocity limits")


def test_a_forecast_far_too_small_is_counted_and_every_row_stays_in_place(system, figure):
    begun = time.time_ns()
    system.fault("slow:0.24")  # 12 steps where Q says 1 or 2; above 15, no s fits H = 30
    system.until_said("rtc_inference: delay", "d = 1", begun)

    def known():
        return any(
            at > begun and name == "rtc_inference: delay" and int(text.split()[2][:-1]) >= 12
            for at, name, text in list(system.said)
            if text.startswith("d = ")
        )

    system.until(known, "Q to know of the delay")
    held = sum(ticks for _, ticks in system.holds(begun))
    assert held <= SECOND
    figure(f"{held} ticks held until Q knew")


def test_chunks_later_than_the_horizon_starve_and_go_on_at_the_same_step(system, figure):
    begun = time.time_ns()
    system.fault("slow:0.9")  # 45 steps, H = 30
    steps = system.until_holding("starved", begun)
    system.until_said("rtc_inference: delay", "over budget", begun)
    system.fault("")
    held = system.until_moving()
    assert held <= SECOND + 45
    figure(f"holds after {steps} steps, moves {held} ticks after the end")
