"""Recordings of earlier versions are read and judged as they were then (test/bags/data)."""

from pathlib import Path

import pytest

from rtc_ros.bags.parameters import recorded_parameters
from rtc_ros.bags.run_reader import read_run
from rtc_ros.core.continuity import judge
from rtc_ros.report.examine import examine

DATA = Path(__file__).with_name("data")


def test_the_demo_of_version_0_1_0_has_its_figures():
    report = examine(DATA / "demo_1").report
    assert report.verdict.passed and report.notes == () and report.unknown == ()
    counts = {
        "steps": 154,
        "ticks": 171,
        "seam_count": 6,
        "chunks_recorded": 8,
        "starved_ticks": 0,
        "waiting_ticks": 17,
        "fault_ticks": 0,
        "misplaced_steps": 0,
        "limited_steps": 30,
        "late_ticks": 0,
        "under_forecast": 1,
    }
    assert {name: getattr(report, name) for name in counts} == counts
    assert dict(report.delays) == {"21 -> 20": 2, "21 -> 29": 1, "29 -> 20": 1, "29 -> 23": 2}
    assert [(s.step, s.row, s.guided) for s in report.seams] == [
        (35, 20, True),
        (65, 29, True),
        (85, 20, True),
        (108, 23, True),
        (131, 23, True),
        (151, 20, True),
    ]
    figures = {
        "rate_hz": (report.rate_hz, 45.02559564),
        "seam's excess": (report.seam_excess_ratio.max, 3.074153365),
        "seam's jump": (report.seam_jump.max, 0.1),
        "frozen rows": (report.prefix_mismatch.max, 0.05990109863),
        "overlap": (report.overlap_rms.max, 0.03597282216),
        "ordinary acceleration": (report.ordinary_acceleration.max, 295.4348787),
        "lateness": (report.lateness_us.p99, 422.9765),
        "SPARC": (report.sparc, -2.333475948),
        "LDLJ": (report.ldlj, -17.1233976),
        "tracking": (report.joints[0].tracking_rms, 0.001764653528),
    }
    for name, (found, then) in figures.items():
        assert found == pytest.approx(then, rel=1e-6), name


def test_what_the_demo_of_version_0_1_0_was_run_with_is_read():
    run = read_run(DATA / "demo_1")
    assert run.commands.provenance is not None and run.commands.wanted is not None
    assert len(run.commands.joints) == 14 and len(run.swaps) == 7
    assert run.settings[-1][1]["policy_path"] == "package:aloha_cube"
    parameters = recorded_parameters(DATA / "demo_1")
    assert set(parameters) == {"/rtc_controller", "/rtc_inference"}
    assert judge(run).misplaced_steps == 0
