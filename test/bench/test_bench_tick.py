"""`rtc_ros bench tick`: what the table says of turns, without a robot that makes them."""

import pytest

from rtc_ros.bench.tick import (
    BARE,
    COST,
    LATE,
    POINTS,
    UNSENT,
    VARIANTS,
    _tick_idly,
    main,
    markdown,
    summary,
)


def turn(source, priority, points, late_ms):
    made = {
        "tick_source": source, "realtime_priority": priority, "realtime": "SCHED_FIFO",
        **dict(zip(LATE, (0.05, late_ms, 1.0), strict=True)), "missed": 0, "ticks": 750,
        "steps": 700, "cores busy [%]": 99.0, **dict(zip(COST, (400, 800, 30, 60), strict=True)),
    }  # fmt: skip
    if points and source != BARE:
        made |= {**dict(zip(POINTS, (0.04, 0.3, 2.0), strict=True)), "set points": 7000, UNSENT: 3}
    return made


@pytest.mark.parametrize("points", [False, True])
def test_the_table_has_what_set_points_cost_and_how_late_they_were(points):
    turns = [turn(*variant, points, late) for late in (0.2, 0.4, 0.3) for variant in VARIANTS]
    rows = summary(turns)
    assert rows[0]["p99"] == 0.3 and rows[0]["cost"] == [400, 800, 30, 60]
    lines = markdown(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1, "each row has each column"
    assert "400, 800" in lines[2]
    if points:
        assert rows[0]["points"]["sent"] == 21000 and rows[0]["points"]["unsent"] == 9
        assert "0.040 | 0.300 | 2.00 | 21000 | 9 | 30, 60" in lines[2]
    else:
        assert "points" not in rows[0] and "set points" not in lines[0]


def test_a_deadline_loop_alone_sends_its_set_points_and_says_what_they_cost():
    figures = _tick_idly(0, 15, 10)
    assert figures["ticks"] >= 10 and figures["set points"] >= 0.5 * 10 * figures["ticks"]
    assert 0 < figures[COST[2]] < 1000 and 0 < figures[COST[0]] < 5000
    assert set(POINTS) <= set(figures)
    assert POINTS[0] not in _tick_idly(0, 5, 1)


def test_a_rate_that_is_no_multiple_is_refused_before_anything_runs(capsys):
    assert main(["--command-rate", "120"]) == 2
    assert "no multiple of the 50 Hz" in capsys.readouterr().err
