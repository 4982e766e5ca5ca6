"""Nodes that are killed or stand still at random moments, and second ones that come along."""

from __future__ import annotations

import dataclasses
import random
import signal
import time

import pytest
from fault_system import HORIZON, JOINTS, MARGIN_TICKS, PERIOD_S, SECOND

from rtc_ros.core.cursor import Mode
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

# Alone: a fault that another test makes isn't the one that is asked for.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_inference_starves_the_arm_until_it_is_back(system, figure, seed):
    time.sleep(random.Random(seed).uniform(0.0, 0.2))
    begun = time.time_ns()
    system.signal("rtc_inference", signal.SIGKILL)
    steps = system.until_holding("starved", begun)
    assert steps <= HORIZON + MARGIN_TICKS
    system.until_said("rtc_controller: motion", "starved", begun)
    epochs = {name[0] for name in list(system.watcher.chunks)}
    system.start("rtc_inference")
    system.until(
        lambda: {name[0] for name in list(system.watcher.chunks)} - epochs, "a new run's chunk"
    )
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after the new run's first chunk")


def test_an_inference_that_stands_still_starves_the_arm_until_it_goes_on(system, figure):
    begun = time.time_ns()
    system.signal("rtc_inference", signal.SIGSTOP)
    steps = system.until_holding("starved", begun)
    assert steps <= HORIZON + MARGIN_TICKS
    system.until_said("rtc_controller: motion", "starved", begun)
    system.signal("rtc_inference", signal.SIGCONT)
    held = system.until_moving()
    assert held <= SECOND
    figure(f"holds after {steps} steps, moves {held} ticks after SIGCONT")


def test_a_controller_that_stands_still_is_named_and_goes_on_where_it_was(system, figure):
    begun = time.time_ns()
    system.signal("rtc_controller", signal.SIGSTOP)
    system.until_said("rtc_inference: inference", "the controller: it has not ticked for", begun)
    before = system.watcher.since(begun - 10**9)[-1]
    system.signal("rtc_controller", signal.SIGCONT)
    held = system.until_moving()
    assert held <= SECOND
    after = system.watcher.since(begun)[-1]
    assert after.step_epoch == before.step_epoch  # the same run, no step lost (the watcher saw)
    figure(f"the arm keeps its last command; moves {held} ticks after SIGCONT")


@pytest.mark.parametrize("seed", [3, 4])
def test_a_killed_controller_leaves_the_arm_where_it_is_and_comes_back(system, figure, seed):
    time.sleep(random.Random(seed).uniform(0.0, 0.2))
    begun = time.time_ns()
    system.signal("rtc_controller", signal.SIGKILL)
    system.until_said("rtc_inference: inference", "the controller: it has not ticked for", begun)
    pose = system.watcher.pose.copy()
    time.sleep(0.2)
    assert (system.watcher.pose == pose).all()
    again = time.time_ns()
    system.start("rtc_controller")
    system.until(lambda: system.watcher.since(again), "a tick of the new run")
    held = system.until_moving()
    assert held <= SECOND
    figure(f"nothing is sent; the new run moves {held} ticks after it was started")


@pytest.mark.parametrize("ahead_s", [5.0, 3600.0])
def test_a_step_cursor_from_the_future_is_not_believed(system, figure, ahead_s):
    """One of another clock, or of before a reboot; it ticks and asks for chunks like any other."""
    system.signal("rtc_controller", signal.SIGKILL)
    begun, spec = time.time_ns(), HandoffSpec(tuple(JOINTS), PERIOD_S)
    ring = ChunkRing.attach("faults.ring", spec)
    try:
        with StepCursor.create("faults.cursor", spec) as cursor:
            state = cursor.inherited

            def tick() -> None:
                nonlocal state
                chunk, step = ring.read_newest(), state.step + 1
                state = dataclasses.replace(
                    state, step=step, tick=state.tick + 1, mode=Mode.RUNNING,
                    tick_ns=time.monotonic_ns() + round(ahead_s * 1e9),
                    seen_epoch=chunk.epoch, seen_seq=chunk.seq,
                    chunk_epoch=chunk.epoch, chunk_seq=chunk.seq,
                    chunk_origin_step=chunk.origin_step, swap_step=step, swap_tick=state.tick,
                )  # fmt: skip
                cursor.write(state)
                time.sleep(PERIOD_S)

            for _ in range(SECOND // 2):  # the inference that ran at the kill ends
                tick()
            before = ring.read_newest().name
            for _ in range(2 * SECOND):
                tick()
            assert ring.read_newest().name == before, "it was believed"
            system.until_said("rtc_inference: inference", "s in the future. Run both", begun)
    finally:
        ring.close()
        system.start("rtc_controller")
    held = system.until_moving()
    figure(f"no chunk for a cursor {ahead_s:g} s ahead; moves {held} ticks after its successor")


@pytest.mark.parametrize("what", ["rtc_controller", "rtc_inference"])
def test_a_second_node_of_a_kind_does_not_disturb_the_first(system, what):
    first = system.running[what]
    begun = time.time_ns()
    system.start(what)
    second, system.running[what] = system.running[what], first
    try:
        assert second.wait(timeout=60) == 2
        assert str(first.pid) in (system.folder / f"{what}.log").read_text()
    finally:
        if second.poll() is None:
            second.send_signal(signal.SIGINT)
            second.wait(timeout=20)
    assert not system.disturbed(begun)
