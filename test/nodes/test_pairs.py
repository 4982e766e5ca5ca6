"""The three robots of docs/bringup.md, by their files of config/, against drivers' doubles."""

from __future__ import annotations

import json
import os
from functools import partial

import numpy as np
import pytest
from driver_doubles import TrajectoryController
from pair_bench import STEPS, Bench
from pair_doubles import HORIZON, SIDES, STAND_INS

from rtc_ros.bags.run_reader import read_run
from rtc_ros.controller.command_types import MESSAGE_TYPES
from rtc_ros.core.continuity.judge import judge
from rtc_ros.preflight.findings import Level
from rtc_ros.replay.source import Recording
from rtc_ros.tools.cli import main as rtc_ros

# Alone: arms must be in time with the policy.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


@pytest.fixture
def bench(request, tmp_path, monkeypatch):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([STAND_INS, os.environ["PYTHONPATH"]]))
    for kind in ("joint_group_command", "joint_single_command"):
        monkeypatch.setitem(MESSAGE_TYPES, kind, "sensor_msgs/msg/ChannelFloat32")  # its carrier
    made = Bench(request.param, tmp_path)
    yield made
    made.close()


def check_preflight(bench):
    """Nothing is ✗; on a machine that is too busy the doubles themselves may pause."""
    for _ in range(5):
        wrong = [f for f in bench.preflight() if f.level is Level.BAD]
        if not wrong:
            return
    pytest.fail(f"{wrong}")


def check_motion(bench):
    """Every joint was commanded, in its own units, about the pose; nothing was refused."""
    joints, body = list(bench.running.pair.pose), bench.body
    log = np.array([[command[j] for j in joints] for command in body.log])
    assert (np.ptp(log, axis=0) > 0).all()
    # Policy units taken for the robot's, or another joint's numbers, would lie far away.
    apart = np.abs(log - np.array(list(bench.running.pair.pose.values()))).max(axis=0)
    assert (apart < 0.15).all(), dict(zip(joints, apart, strict=True))
    assert not bench.running.refused


def check_that_what_was_taken_was_executed(bench):
    """Of m messages one holds, joint by joint, the numbers of one tick, braking included."""

    def executed(joints, sent):
        ticks = [m for m in bench.executed if np.isfinite(m.position[0])]
        fields = [dict(zip(m.name, m.position, strict=True)) for m in ticks]
        rows = {tuple(np.float32(f[j]) for j in joints) for f in fields}
        points = max(int(f["rtc/points"]) for f in fields)
        between = sum(message not in rows for message in sent)
        # A tick whose set points weren't all sent has its row earlier.
        return sent[-1] in rows and between <= len(sent) * (points - 1) / points + points - 1

    for driver in bench.running.drivers:
        # Interbotix's messages and a gripper's are apart: a driver may take several kinds.
        for joints in {tuple(taken) for taken in driver.taken}:
            sent = [
                tuple(np.float32(x) for x in t.values())
                for t in driver.taken
                if tuple(t) == joints
            ]
            assert len(sent) >= STEPS
            # What tells of the last ticks may come later than the commands.
            bench.client.until(partial(executed, joints, sent), "the ticks of all of them", 20.0)


def check_bag(bench):
    """Every process ended cleanly, and the bag's report has each step at its place."""
    assert set(bench.processes.stop().values()) == {0}
    report = judge(read_run(bench.folder / "bag"))
    assert report.steps >= STEPS and report.misplaced_steps == 0 and report.chunks_recorded
    assert all(joint.tracking_rms is not None for joint in report.joints)


@pytest.mark.parametrize("bench", ["so101"], indirect=True)
def test_arms_that_take_numbers_get_those_that_were_executed(bench):
    check_preflight(bench)
    bench.start()
    assert bench.body.log == [bench.body.command], "nothing moves before start"
    bench.move()
    bench.stop()
    check_motion(bench)
    check_that_what_was_taken_was_executed(bench)
    check_bag(bench)


@pytest.mark.parametrize("bench", ["viperx"], indirect=True)
def test_aloha_s_policy_is_shown_the_fingers_and_moves_the_motor(bench):
    check_preflight(bench)
    found = {f.subject: f for f in bench.preflight()}
    pose = found["pose against the training data"]
    assert pose.level is Level.GOOD, (
        f"{pose.sentence}: what is shown lies where the data's states do"
    )
    bench.start(record_cameras=True)
    assert bench.body.log == [bench.body.command], "nothing moves before start"
    bench.move()
    bench.stop()
    check_motion(bench)
    check_that_what_was_taken_was_executed(bench)
    check_bag(bench)
    with Recording(bench.folder / "bag") as recording:
        last = max(time_ns for _, _, time_ns in recording.chunks.values())
        seen = recording.observed_at(last)
        np.testing.assert_allclose(seen.state, bench.running.pair.state, atol=0.1)
    result = bench.folder / "replay.json"
    assert (
        rtc_ros(["replay", str(bench.folder / "bag"), "--reproduce", "--json", str(result)]) == 0
    )
    again = json.loads(result.read_text())["reproduction"]
    assert again["same"] > 3 and again["others"] == 0


@pytest.mark.parametrize("bench", ["openarm"], indirect=True)
@pytest.mark.parametrize("kind", ["joint_trajectory", "joint_trajectory_chunk"])
def test_trajectory_controllers_accept_points_and_whole_chunks(bench, kind):
    check_preflight(bench)
    rate = {"command_rate": 0.0} if kind.endswith("chunk") else {}
    bench.start(**{f"group.{side}_arm.type": kind for side in SIDES}, **rate)
    assert bench.body.log == [bench.body.command], "nothing moves before start"
    bench.move()
    bench.stop()
    check_motion(bench)
    arms = [d for d in bench.running.drivers if isinstance(d, TrajectoryController)]
    assert len(arms) == 2
    for arm in arms:
        if kind == "joint_trajectory":
            assert arm.accepted >= STEPS and set(arm.lengths) == {1}
        else:  # once a swap, not once a tick
            assert arm.accepted < STEPS // 2 and max(arm.lengths) > HORIZON // 2
    check_bag(bench)
