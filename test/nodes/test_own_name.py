"""A second node of one full name is refused; one that was killed holds nobody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from robot_double import PARAMETERS

from rtc_ros.bringup import NodeToRun
from rtc_ros.ros import own_name
from rtc_ros.ros.own_name import NameTakenError, claim_name

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("udp")]


@pytest.fixture
def other():
    """Another node /taken, as of another machine: it knows nothing of our locks."""
    context = Context()
    rclpy.init(context=context)
    node = Node("taken", context=context)
    yield node
    context.try_shutdown()


@pytest.fixture
def quick(monkeypatch, tmp_path, ros):
    monkeypatch.setattr(own_name, "LEASE_S", 2.0)
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    bystander = Node("bystander")  # without any node the context leaves the graph each time
    yield
    bystander.destroy_node()


def never() -> bool:
    return False


def test_a_second_robot_with_another_handoff_name_and_no_namespace_is_refused(robot):
    robot.start()
    second = NodeToRun("rtc_controller", parameters={**PARAMETERS, "handoff_name": "second"})
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", second.module, *second.ros_arguments()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert "there is a node /rtc_controller already" in done.stderr
    assert f"process {robot.processes.pid('rtc_controller')}" in done.stderr
    assert "~/stop" in done.stderr and "namespace:=NAME" in done.stderr
    assert time.monotonic() - begun < own_name.LEASE_S
    response = robot.call("stop")  # of the first one, which goes on
    assert response.success


def test_a_killed_node_s_name_is_free_at_once(robot):
    robot.start()
    os.kill(robot.processes.pid("rtc_controller"), signal.SIGKILL)
    robot.processes.stop("rtc_controller")
    begun = time.monotonic()
    robot.start()
    assert time.monotonic() - begun < own_name.LEASE_S / 2
    assert "waiting up to" not in robot.logs()
    assert robot.processes.stop("rtc_controller") == {"rtc_controller": 0}


def test_a_node_of_another_machine_is_waited_for_and_then_refused(other, quick):
    begun = time.monotonic()
    with pytest.raises(NameTakenError, match="there is a node /taken already .*another machine"):
        claim_name("taken", never)
    assert time.monotonic() - begun >= 2.0
    with pytest.raises(NameTakenError):  # nothing is remembered of the one that was refused
        claim_name("taken", never)


def test_a_name_that_goes_while_it_is_waited_for_is_taken(other, quick, monkeypatch):
    monkeypatch.setattr(own_name, "LEASE_S", 20.0)
    looked = []

    def stop() -> bool:
        looked.append(time.monotonic())
        if len(looked) == 20:
            other.context.try_shutdown()
            other.destroy_node()
        return False

    claim_name("taken", stop).release()
    assert len(looked) >= 20 and looked[-1] - looked[0] < 15.0


def test_a_signal_ends_the_wait(other, quick, monkeypatch):
    monkeypatch.setattr(own_name, "LEASE_S", 60.0)
    begun = time.monotonic()
    claim_name("taken", lambda: time.monotonic() - begun > 1.0).release()
    assert time.monotonic() - begun < 10.0


def test_another_name_or_namespace_is_nobody_s(other, quick, tmp_path):
    name = claim_name("free", never)
    assert [p.name.startswith("node") for p in tmp_path.iterdir()] == [True]
    name.release()
    assert not list(tmp_path.iterdir())
