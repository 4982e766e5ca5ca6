"""The offset of two clocks, against the truth of simulated ones."""

import random

import pytest

from rtc_ros.link.clock import WINDOW_NS, ClockOffset

HOUR_S = 3600.0


def exchange(offset, now_s, there_s, back_s, ours, theirs, held_s=0.004):
    """One round trip that begins at ``now_s`` of true time; returns when it ended."""
    arrived, left = now_s + there_s, now_s + there_s + held_s
    offset.add(ours(now_s), theirs(arrived), theirs(left), ours(left + back_s))
    return left + back_s


def clock(ahead_s, ppm):
    return lambda s: round((ahead_s + s * (1 + ppm * 1e-6)) * 1e9)


@pytest.mark.parametrize("ahead_s", [0.0, 7 * HOUR_S, -300 * HOUR_S])
@pytest.mark.parametrize("ppm", [(0, 0), (200, -200), (-200, 200)])
@pytest.mark.parametrize("one_way", [(0.0001, 0.0001), (0.08, 0.08), (0.005, 0.08)])
def test_the_truth_lies_within_the_bound_for_an_hour(ahead_s, ppm, one_way):
    chance = random.Random(f"{ahead_s}{ppm}{one_way}")
    ours, theirs = clock(400 * HOUR_S, ppm[0]), clock(400 * HOUR_S + ahead_s, ppm[1])
    offset, now_s, bounds = ClockOffset(), 0.0, []
    assert not offset.known
    while now_s < HOUR_S:
        trip = [s + chance.expovariate(1 / (0.2 * s + 1e-5)) for s in one_way]
        end_s = exchange(offset, now_s, *trip, ours, theirs)
        for later_s in (0.0, 0.05):
            now_ns = ours(end_s + later_s)
            truth = theirs(end_s + later_s) - now_ns
            assert abs(offset.offset_ns - truth) <= offset.error_ns(now_ns) + 2
        bounds.append(offset.error_ns(now_ns))
        now_s = end_s + (0.05 if len(bounds) % 500 else 60.0)
    assert offset.steps == 0
    # Half of the shortest round trip, and what its age adds.
    assert min(bounds) <= (sum(one_way) / 2 + 4e-4) * 1e9
    assert sorted(bounds)[len(bounds) // 2] <= (sum(one_way) / 2 * 1.1 + 6e-3) * 1e9


def test_a_clock_that_stood_still_is_noticed_at_once():
    offset, ours = ClockOffset(), clock(1e5, 0)
    for i in range(100):
        exchange(offset, 0.05 * i, 0.001, 0.001, ours, clock(2e5, 0))
    exchange(offset, 5.0, 0.03, 0.03, ours, clock(2e5 - 30, 0))  # they were suspended for 30 s
    assert offset.steps == 1
    assert abs(offset.offset_ns - (1e5 - 30) * 1e9) <= 0.03e9 + 1


def test_what_cannot_be_a_round_trip_teaches_nothing():
    offset = ClockOffset()
    offset.add(1000, 500, 400, 2000)  # answered before it came
    offset.add(1000, 500, 5000, 2000)  # held for longer than it was away
    assert not offset.known


def test_without_answers_the_bound_grows_and_the_offset_stays():
    offset, ours = ClockOffset(), clock(1e5, 0)
    exchange(offset, 0.0, 0.001, 0.001, ours, clock(2e5, 0))
    before = offset.error_ns(ours(0.01))
    assert offset.error_ns(ours(100.0)) > before + 0.04e9
    assert offset.known and WINDOW_NS < 100e9
    assert offset.ours(round(2e5 * 1e9)) == pytest.approx(1e5 * 1e9, abs=1e6)
