"""`~/start` while nothing can make chunks: refused by name; and a gate that waits too long."""

import os
import signal
import time

import numpy as np
import pytest
from robot_double import HORIZON, JOINTS, MOST_ROWS, PARAMETERS, PERIOD_S

from rtc_ros.bringup import NodeToRun
from rtc_ros.core.cursor import Mode
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec

pytestmark = pytest.mark.ros
SPEC = HandoffSpec(tuple(JOINTS), PERIOD_S, HORIZON)


def refusal(robot):
    response = robot.call("start")
    return "" if response.success else response.message


def test_start_is_refused_while_nothing_could_make_a_chunk(robot):
    robot.start(makes_chunks=False)
    absent = "no rtc_inference: there is no test.ring"
    robot.until(lambda: absent in refusal(robot), "its absence")
    robot.ring = ChunkRing.create("test.ring", SPEC)
    robot.ring.say_ready(1)
    robot.until(lambda: "couldn't make a chunk yet" in refusal(robot), "a camera that is missing")
    robot.ring.say_ready(time.monotonic_ns() - 5_000_000_000)
    robot.until(lambda: "couldn't make a chunk for 5." in refusal(robot), "a dead process")
    robot.ring.say_hindrance("no image yet from camera wrist on cam/wrist")
    robot.until(lambda: ": no image yet from camera wrist on cam/" in refusal(robot), "which one")
    robot.ring.close()
    robot.until(lambda: "has ended or was deactivated" in refusal(robot), "its end")
    assert robot.cursor.read().mode is Mode.STOPPED
    robot.ring = ChunkRing.create("test.ring", SPEC)
    ready = robot.node.create_timer(0.1, lambda: robot.ring.say_ready(time.monotonic_ns()))
    robot.begin()
    robot.node.destroy_timer(ready)


def test_an_inference_that_is_there_and_not_active_is_told_from_an_earlier_run(robot):
    """Before, the process of an earlier run was named while this run's inference loaded."""
    with ChunkRing.create("test.ring", SPEC) as ring:
        ring.say_ready(time.monotonic_ns())
    robot.start(makes_chunks=False)
    left = "no rtc_inference runs: "
    robot.until(lambda: refusal(robot).startswith(left), "what was left")
    assert "test.ring is of an earlier run" in refusal(robot)
    given = {"policy_path": "/nowhere", "cameras": ["top"], "camera.top.topic": "cam"}
    common = {k: v for k, v in PARAMETERS.items() if k in ("joints", "control_period")}
    parameters = {**common, "handoff_name": "test", **given}
    robot.processes.start([NodeToRun("rtc_inference", parameters=parameters)])
    robot.until(
        lambda: "a node rtc_inference is there and hands nothing over" in refusal(robot), "who"
    )
    said = refusal(robot)
    assert "loading its policy, can't be configured" in said and "of an earlier run" in said
    assert "(process" not in said, "nothing is wrong with that one"


def test_a_gate_that_waits_too_long_for_its_first_chunk_closes_itself(robot):
    robot.start(first_chunk_timeout=0.6)
    robot.begin()
    began = robot.cursor.read().tick
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the gate to close")
    assert robot.cursor.read().tick - began <= 0.6 / PERIOD_S + 1

    def said():
        status = robot.diagnostics.get("rtc_controller: motion")
        return "" if status is None else status.message

    robot.until(lambda: "no chunk came for 30 steps after ~/start" in said(), "why")
    commands = robot.heard["arm/commands"]
    from_before = robot.cursor.read()
    robot.write(np.ones((HORIZON, 3)) * 0.1)
    robot.spin(0.3)
    assert not commands and robot.cursor.read().step == from_before.step, "nobody is surprised"
    robot.begin()


def test_a_timeout_below_half_a_step_is_one_step_not_never(robot):
    robot.start(first_chunk_timeout=0.001, hold_timeout=1e-9)
    robot.until(lambda: robot.call("start").success, "a started controller")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the gate to close")
    line = "stopped: no chunk came for 1 step after ~/start"
    robot.until(lambda: line in robot.logs(), "why")


def test_a_gate_that_starves_too_long_closes_itself_and_says_so_on_the_console(robot):
    """The inference is killed; when it is back much later, only ``~/start`` goes on."""
    robot.start(hold_timeout=1.0)
    robot.begin()
    robot.write(np.full((HORIZON, 3), 0.1))
    robot.until(lambda: robot.cursor.read().mode is Mode.STARVED, "starvation")
    robot.ring.close()
    robot.until(lambda: "has ended or was deactivated" in refusal(robot), "who makes no chunk")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the gate to close")
    line = "stopped: starved, and no chunk came for 50 steps (hold_timeout): rtc_inference"
    robot.until(lambda: robot.logs().count(line) == 1, "the line on the console")
    at = robot.cursor.read().step
    robot.ring = ChunkRing.create("test.ring", HandoffSpec(tuple(JOINTS), PERIOD_S, MOST_ROWS))
    robot.spin(0.3)
    robot.write(np.full((HORIZON, 3), 0.2))
    robot.spin(0.5)
    assert robot.cursor.read().mode is Mode.STOPPED and robot.cursor.read().step == at
    robot.begin()
    robot.write(np.full((HORIZON, 3), 0.2))
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion")


def test_joint_states_that_come_back_much_later_move_nothing(robot):
    """The chunk has rows left; whoever mended the cable stands beside the arm."""
    robot.start(hold_timeout=1.0, joint_state_timeout=0.1)
    robot.begin()
    robot.write(np.full((HORIZON, 3), 0.1))
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion")
    robot.publish_states = False
    robot.until(lambda: robot.cursor.read().mode is Mode.FAULT, "the fault")
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the gate to close")
    line = "stopped: held for 50 steps (hold_timeout): the joint state of"
    robot.until(lambda: robot.logs().count(line) == 1, "the line on the console")
    at, commands = robot.cursor.read().step, len(robot.heard["arm/commands"])
    assert at < HORIZON
    robot.publish_states = True
    robot.spin(0.5)
    assert robot.cursor.read().mode is Mode.STOPPED and robot.cursor.read().step == at
    assert len(robot.heard["arm/commands"]) == commands
    robot.begin()


def test_a_controller_that_stood_still_too_long_moves_nothing(robot):
    """Stopped in a debugger, or with its virtual machine; its chunk has rows left."""
    robot.start(hold_timeout=0.6)
    robot.begin()
    robot.write(np.full((HORIZON, 3), 0.1))
    robot.until(lambda: robot.cursor.read().mode is Mode.RUNNING, "motion")
    pid = robot.processes.pid("rtc_controller")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    robot.spin(0.1)  # hears what was sent before
    at, commands = robot.cursor.read().step, len(robot.heard["arm/commands"])
    assert at < HORIZON
    os.kill(pid, signal.SIGCONT)
    robot.until(lambda: robot.cursor.read().mode is Mode.STOPPED, "the gate to close")
    line = "stopped: held for 30 steps (hold_timeout): "
    robot.until(lambda: robot.logs().count(line) == 1, "the line on the console")
    robot.spin(0.3)
    assert robot.cursor.read().step <= at + 1 and len(robot.heard["arm/commands"]) <= commands + 2
    robot.begin()
