"""The picture can be drawn of any report, and shows what is in it."""

import dataclasses

import cv2
import numpy as np
import pytest

from rtc_ros.core.continuity import judge
from rtc_ros.core.continuity.evidence import spans
from rtc_ros.core.continuity.run_log import CommandLog, Provenance, RunLog
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.report.figure import draw_report, joint_groups

SHORT = ExampleSettings(ticks=200)


def cut(run, count):
    """Return the first ``count`` records of ``run``."""
    log = run.commands
    part = CommandLog(
        log.joints,
        log.stamp_ns[:count],
        log.command[:count],
        log.wanted[:count],
        log.reason[:count],
        log.reasons,
        Provenance(*(getattr(log.provenance, n)[:count] for n in Provenance.names())),
    )
    return RunLog(part, notes=("cut off",))


def drawn(run, path):
    draw_report(judge(run), run, "a run", path)
    return cv2.imread(str(path))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30])
def test_recordings_too_short_to_judge(tmp_path, count):
    assert drawn(cut(example_run(SHORT), count), tmp_path / "f.png").shape == (1200, 1900, 3)


def test_commands_without_provenance(tmp_path):
    log = dataclasses.replace(example_run(SHORT).commands, provenance=None)
    assert drawn(RunLog(log), tmp_path / "f.png") is not None


def test_a_frozen_arm(tmp_path):
    run = example_run(SHORT)
    still = np.ones_like(run.commands.command)
    log = dataclasses.replace(run.commands, command=still, wanted=still)
    assert drawn(RunLog(log), tmp_path / "f.png") is not None


def pinkness(picture):
    """Return how many pixels are of the shade that lies over starved ticks."""
    blue, green, red = (picture[..., i].astype(int) for i in range(3))
    pink = (abs(green - blue) < 10) & (red - green > 35) & (green > 150)
    return int(pink.sum())


def test_starvation_is_seen(tmp_path):
    good = drawn(example_run(SHORT), tmp_path / "good.png")
    starved = dataclasses.replace(SHORT, delays=(5, 25), horizon=20)
    bad = drawn(example_run(starved), tmp_path / "bad.png")
    assert pinkness(bad) > 50_000 > 10 * pinkness(good)


def test_joints_are_grouped_by_arm_and_colour():
    arms = [f"{side}_{i}" for side in ("left", "right") for i in range(7)]
    assert joint_groups(arms) == [("left arm", [*range(7)]), ("right arm", [*range(7, 14)])]
    assert joint_groups(["a", "b"]) == [("joints", [0, 1])]
    assert [len(m) for _, m in joint_groups([str(i) for i in range(9)])] == [7, 2]


def test_spans():
    assert spans(np.array([0, 1, 1, 0, 1], dtype=bool)) == [(1, 3), (4, 5)]
    assert spans(np.zeros(3, dtype=bool)) == []
