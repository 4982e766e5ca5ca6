"""The comparison on the simulated robot: real nodes in sim time, figures on hand-made runs."""

import csv
import dataclasses

import numpy as np
import pytest

from rtc_ros.bench import robot
from rtc_ros.bench.robot_figures import Measured, Point, limit_events, ticks_kept
from rtc_ros.bench.robot_report import draw, markdown
from rtc_ros.bench.robot_run import nodes_of
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.running.robot_client import RobotError

RUN = example_run(ExampleSettings(ticks=300))


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.rendering
def test_quick_run_goes_through_the_nodes_in_simulated_time(tmp_path, capsys):
    words = ["--quick", "--seconds", "6", "--realtime-factor", "2", "--out", str(tmp_path)]
    assert robot.main(words) == 0
    text = capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "robot.csv").open())
    assert row["strategy"] == "rtc" and row["episodes"] == "1"
    assert 0.0 < float(row["simulated_s"]) <= 6.0
    # 100 ms are five periods, and the policy takes some time, too.
    assert float(row["delay"]) >= 5 and int(row["seams"]) > 0
    assert row["misplaced_steps"] == "0" and float(row["ticks_kept"]) > 0.1
    assert "+100 ms** (2 times real time)" in text and "| rtc | " in text
    assert (tmp_path / "robot.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "results.jsonl").read_text()
    assert robot.main(words) == 0, "nothing is left to be measured"
    assert (tmp_path / "results.jsonl").read_text() == before
    assert robot.main([*words, "--seed", "1"]) == 2
    assert "was made with seed 9000 (now 1)" in capsys.readouterr().err


def measured(point, **changes):
    figures = {
        f.name: 0 for f in dataclasses.fields(Measured) if f.name not in ("key", "strategy")
    }
    return Measured(
        **{
            **figures,
            **dataclasses.asdict(point),
            "key": point.key,
            "episodes": 4,
            "done": 3,
            "low": 0.3,
            "high": 0.95,
            "time_s": 4.25,
            "jump": (0.1, 0.2, 0.3),
            "excess": None,
            "acceleration": None,
            **changes,
        }
    )


def test_a_point_that_fails_is_said_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(point, **options):
        asked.append(point)
        if point.strategy == "bid":
            raise RobotError("rtc_inference refused this")
        return measured(point)

    monkeypatch.setattr(robot, "measure", measure)
    words = ["--strategies", "bid", "rtc", "--latency-ms", "0", "200", "--out", str(tmp_path)]
    words += ["--realtime-factor", "2"]
    assert robot.main(words) == 2
    said = capsys.readouterr()
    assert "bid +200 ms x2: rtc_inference refused this" in said.err and "Traceback" not in said.err
    assert "2 of 4 points" in said.out and "| rtc | 3/4 | 30–95 |" in said.out
    # Where nothing is injected there is nothing to take off: real time.
    assert [(p.strategy, p.latency_ms, p.factor) for p in asked] == [
        ("bid", 200.0, 2.0),
        ("rtc", 200.0, 2.0),
        ("bid", 0.0, 1.0),
        ("rtc", 0.0, 1.0),
    ]
    asked.clear()
    assert robot.main(words) == 2
    assert {p.strategy for p in asked} == {"bid"}, "what was measured is not measured again"


def test_an_interrupted_run_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    def measure(point, **options):
        if point.strategy == "rtc_hard":
            raise KeyboardInterrupt
        return measured(point)

    monkeypatch.setattr(robot, "measure", measure)
    words = ["--strategies", "rtc", "rtc_hard", "--latency-ms", "100", "--out", str(tmp_path)]
    assert robot.main(words) == 130
    assert "1 of 2 points" in capsys.readouterr().out


def test_faster_than_real_time_everything_follows_the_driver_s_clock(tmp_path):
    def by_name(point):
        nodes = nodes_of(point, "package:aloha_cube", 7, tmp_path / "bag")
        return {n.executable: n.parameters for n in nodes}

    real, quick = by_name(Point("rtc", 100.0)), by_name(Point("rtc", 100.0, 2.0))
    assert list(real)[-1] == "rtc_recorder"
    assert "publish_clock" not in real["rtc_sim"] and "use_sim_time" not in real["rtc_controller"]
    assert all(p["use_sim_time"] is True for p in quick.values())
    assert quick["rtc_sim"]["state_rate_hz"] == 200.0
    assert quick["rtc_sim"]["camera.top.rate_hz"] == 40.0
    assert quick["rtc_inference"]["inject_latency_ms"] == 50.0
    assert real["rtc_inference"]["inject_latency_ms"] == 100.0
    # Not what a single inference takes while all start up.
    assert real["rtc_inference"]["initial_delay"] == quick["rtc_inference"]["initial_delay"] == 10


def changed(joint, ticks, by=0.01):
    """Return the example with a joint's commands at some ticks changed as limits would."""
    log = RUN.commands
    command = log.command.copy()
    command[ticks, log.joints.index(joint)] += by
    return dataclasses.replace(RUN, commands=dataclasses.replace(log, command=command))


def test_limits_that_act_are_counted_by_event_and_not_in_the_soft_start():
    arm, gripper = "left_elbow", "left_gripper"
    run = changed(arm, [30, 100, 101, 102, 104, 200])
    first = int(RUN.commands.provenance.step[30])
    assert sum(limit_events(run, [arm]).values()) == 4
    assert limit_events(run, [arm], after_step=first + 1) == {1: 3}
    assert limit_events(run, [gripper]) == {1: 0}


def test_ticks_that_were_missed_show_in_the_share_that_was_kept():
    assert ticks_kept(RUN) == pytest.approx(1.0)
    log = RUN.commands
    late = log.stamp_ns + np.where(np.arange(len(log)) >= 150, 100_000_000, 0)
    paused = dataclasses.replace(RUN, commands=dataclasses.replace(log, stamp_ns=late))
    assert ticks_kept(paused) == pytest.approx(300 / 305)


def test_tables_and_figure_show_what_there_is(tmp_path):
    rows = [
        measured(Point("rtc", 200.0, 2.0), stops=2, stopped_episodes=1),
        measured(Point("bid", 0.0), delay=None, time_s=None, done=0, jump=None),
    ]
    text = markdown(rows)
    assert text.index("+0 ms** (1 times") < text.index("+200 ms** (2 times")
    assert "0.100, 0.200, 0.300" in text and "| 2 | 1/4 |" in text
    draw(rows, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000
