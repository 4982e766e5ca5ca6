"""Who makes the chunks, said by one thread while the tick of another lets go of the ring."""

import sys
import time

import pytest

from rtc_ros.controller import chunk_input
from rtc_ros.controller.chunk_input import ChunkInput
from rtc_ros.handoff import endpoint, segment_reader
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.ros.diagnostics import ERROR, OK, WARN

SPEC = HandoffSpec(("a", "b"), 0.02, 10)
OTHER = HandoffSpec(("a", "c"), 0.02, 10)
FILES = {module.__file__ for module in (chunk_input, endpoint, segment_reader)}
ABSENT = "no rtc_inference: there is no r in shared memory"


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    inputs = ChunkInput("r", SPEC)
    yield inputs
    inputs.close()


def attached(inputs):
    ring = ChunkRing.create("r", SPEC)
    ring.say_ready(time.monotonic_ns())
    inputs._due_s = 0.0
    inputs.newest(1)
    assert inputs.missing() == "" and inputs.report().level == OK
    return ring


def interrupted(call, act, after):
    """Return what ``call`` returns when ``act`` happens before its line number ``after``."""
    lines = [0]

    def trace(frame, event, _):
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == after:
                sys.settrace(None)
                act()
        return trace

    sys.settrace(trace)
    try:
        answer = call()
    finally:
        sys.settrace(None)
    return answer, lines[0] >= after


def test_what_is_missing_is_right_wherever_the_tick_lets_go_of_the_ring(inputs):
    after, more = 0, True
    while more:
        after += 1
        ring = attached(inputs)
        said, more = interrupted(inputs.missing, inputs.close, after)
        assert said == "" or said.startswith(ABSENT)
        assert inputs.missing().startswith(ABSENT) or not more
        ring.close()
        inputs.close()
    assert after > 10


def test_what_is_missing_is_right_wherever_the_tick_finds_another_ring(inputs):
    """The ring's writer has ended, and one with other joints comes while that is being said."""
    after, more = 0, True
    while more:
        after += 1
        ring = attached(inputs)
        ring.close()
        assert "has ended" in inputs.missing()
        other = []

        def comes(other=other):
            other.append(ChunkRing.create("r", OTHER))
            inputs.newest(1)

        said, more = interrupted(inputs.missing, comes, after)
        assert "has ended" in said or "doesn't fit this process" in said
        for each in other:
            assert "doesn't fit this process" in inputs.missing()
            each.close()
        inputs.close()
    assert after > 10


def test_the_report_is_right_wherever_the_tick_lets_go_of_the_ring(inputs):
    after, more = 0, True
    while more:
        after += 1
        ring = attached(inputs)
        report, more = interrupted(inputs.report, inputs.close, after)
        assert report.level in (OK, WARN, ERROR)
        assert report.message in ("attached", "no inference node yet: the ring is absent")
        assert report.message != "attached" or report.values["H"] == 10
        ring.close()
        inputs.close()
    assert after > 5


def left_over(spec=SPEC):
    """A ring as a process of an earlier run left it."""
    ring = ChunkRing.create("r", spec)
    ring.say_ready(time.monotonic_ns())
    ring.close()


def looked(inputs, there=False):
    inputs._due_s = 0.0
    inputs.newest(1)
    return inputs.missing(lambda: there)


LOADS = "a node rtc_inference is there and hands nothing over: it is still loading its policy, can"


@pytest.mark.parametrize("spec", [SPEC, OTHER])
def test_a_ring_of_an_earlier_run_is_told_from_an_inference_of_this_one(inputs, spec):
    """Before, ~/start named the process of the earlier run while this one's was loading."""
    assert looked(inputs, there=True).startswith(LOADS)
    left_over(spec)
    said = looked(inputs)
    assert said.startswith("no rtc_inference runs: ") and "r is of an earlier run" in said
    assert "(process" not in said and "r is of an earlier run" in inputs.report().message
    assert inputs.report().level == WARN
    said = looked(inputs, there=True)
    assert said.startswith(LOADS) and "r is of an earlier run" in said and "(process" not in said
    ring = ChunkRing.create("r", SPEC)
    ring.say_ready(time.monotonic_ns())
    assert looked(inputs, there=True) == "" and inputs.report().level == OK
    ring.close()
    assert "has ended or was deactivated" in looked(inputs), "it is of this run"
    assert LOADS in looked(inputs, there=True)
