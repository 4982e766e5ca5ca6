"""Preflight of each kind of policy by `policy_path` alone: what it has is checked and named."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "policy"))

from tiny_act import write_act  # noqa: E402
from tiny_pi import small, write_pi  # noqa: E402

from rtc_ros.preflight.checkpoint import look_at_checkpoint  # noqa: E402
from rtc_ros.preflight.findings import Level  # noqa: E402
from rtc_ros.preflight.probe import Probe  # noqa: E402
from rtc_ros.preflight.setup import read_setup  # noqa: E402
from rtc_ros.preflight.timing import check_latency, measured_latency_s  # noqa: E402

pytestmark = pytest.mark.ros

SIZES = {"action_dim": 14, "state_dim": 14, "cameras": {"observation.images.top": (96, 96)}}


def checkpoint(folder: Path, kind: str) -> Path:
    if kind == "act":
        return write_act(folder, chunk_size=50, **SIZES)
    return write_pi(folder, kind, chunk_size=50, max_action_dim=14, max_state_dim=14, **SIZES)


@pytest.mark.parametrize("kind", ["pi0", "pi05", "act"])
def test_each_kind_is_looked_at_and_its_chunk_timed(kind, robot, tmp_path):
    folder = checkpoint(tmp_path / kind, kind)
    # What all of them can; by `policy_path` alone but for that.
    robot.change("/**/rtc_inference", policy_path=str(folder), strategy="naive_async")
    with Probe() as probe, nullcontext() if kind == "act" else small(kind):
        setup = read_setup(robot.parameter_file(), {}, probe.context)
        findings, spec, _ = look_at_checkpoint(setup)
        latency_s = measured_latency_s(setup)
        timed = list(check_latency(setup, spec, latency_s))
    assert all(f.level is Level.GOOD for f in findings), findings
    said = {f.subject: f.sentence for f in findings}
    label = {"pi0": "pi0", "pi05": "pi0.5", "act": "ACT"}[kind]
    sizes = said["checkpoint against joints and cameras"]
    assert sizes.startswith(f"{label} {kind}: A = 14, H = 50, images observation.images.top")
    if kind == "act":
        assert "backbone" not in said and "task" not in said
    else:
        assert said["backbone"] == f"found at {folder / 'backbone'}"
        (count,) = re.findall(r"^(\d+) of (?:48|200) tokens$", said["task"])
        # The prompt of π0.5 also tells 14 joints, in up to three digits each.
        sentence = len(setup.inference["task"]) + 1  # and its new line
        assert int(count) >= sentence + 14 * 4 if kind == "pi05" else int(count) == sentence
    assert latency_s > 0 and "a guided chunk is d =" in timed[0].sentence


def test_act_with_a_strategy_that_needs_a_flow_is_bad_and_the_others_are_named(robot, tmp_path):
    folder = checkpoint(tmp_path / "act", "act")
    robot.change("/**/rtc_inference", policy_path=str(folder))
    with Probe() as probe:
        setup = read_setup(robot.parameter_file(), {}, probe.context)
        findings, _, _ = look_at_checkpoint(setup)
    (bad,) = [f for f in findings if f.level is Level.BAD]
    assert bad.subject == "strategy" and bad.sentence.startswith("rtc takes the previous chunk")
    assert "naive_async" in bad.sentence and bad.fix
