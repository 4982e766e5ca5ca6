"""Images come about once for each inference, just before it begins, and never too seldom."""

import pytest

from rtc_ros.link.demand import LEAD_NS, ImageDemand

KEEP_MS, TRIP_MS = 200, 60
FLIGHT_MS = TRIP_MS + LEAD_NS // 10**6


def asked(apart_ms, seconds=10):
    """Ask for images beside inferences so far apart; return when it asked and when they began."""
    demand, asks, starts = ImageDemand(KEEP_MS * 10**6), [], []
    for ms in range(1000 * seconds):
        if apart_ms and ms % apart_ms == 0:
            if starts:  # that one began is known when its chunk is there
                demand.began(starts[-1] * 10**6)
            starts.append(ms)
        if demand.due(ms * 10**6, TRIP_MS * 10**6):
            asks.append(ms)
    return [a for a in asks if a > 2000], [s for s in starts if s > 2500]


@pytest.mark.parametrize("apart_ms", [40, 110, 160, 390, 700])
def test_each_inference_has_a_fresh_image_and_few_are_sent(apart_ms):
    asks, starts = asked(apart_ms)
    for start in starts:
        newest = max(a + FLIGHT_MS for a in asks if a + FLIGHT_MS <= start)
        assert start - newest <= 5
    rate = len(asks) / 8
    assert rate <= 1000 / apart_ms + 1000 / KEEP_MS
    if apart_ms < KEEP_MS:
        assert rate == pytest.approx(1000 / apart_ms, rel=0.1)


def test_without_inferences_images_never_get_too_old():
    asks, _ = asked(0)
    assert {b - a for a, b in zip(asks, asks[1:], strict=False)} == {KEEP_MS}
