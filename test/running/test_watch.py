"""A call into the middleware that never returns: the command ends with its nodes and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rtc_ros.running import watch

COMMAND = """
import ctypes, os, sys, threading
from pathlib import Path

from rclpy.node import Node
from rtc_ros.bringup import nodes_to_run
from rtc_ros.running import watch
from rtc_ros.running.processes import Processes, own_handoff
from rtc_ros.running.robot_client import RobotClient
from rtc_ros.running.signals import sigterm_as_interrupt

how, folder = sys.argv[1], Path(sys.argv[2])
watch.LIMIT_S, watch.SIGNALLED_S = map(float, sys.argv[3:])

def lock():  # lets other threads and the handlers of signals run
    held = threading.Lock()
    held.acquire()
    while True:
        try:
            held.acquire()
        except KeyboardInterrupt:
            pass

def mutex():  # keeps Python's lock, as create_client does in Fast DDS's deadlock
    held = ctypes.create_string_buffer(256)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(held)

def hang(self, *_, **__):
    print("hangs", flush=True)
    {"lock": lock, "mutex": mutex}[how]()

with sigterm_as_interrupt(), own_handoff(), Processes(folder) as processes:
    nodes = nodes_to_run({}, simulated=True)
    processes.start([n for n in nodes if n.executable == "rtc_controller"])
    print(processes.pid("rtc_controller"), flush=True)
    with RobotClient(processes.check) as robot:
        robot.until(lambda: robot.said("rtc_controller: motion"), "the controller", 60.0)
        Node.create_client = hang
        robot.trigger("rtc_controller/stop")
"""


def runs(pid: int) -> bool:
    """Whether a process runs; one that was ended and isn't reaped yet doesn't."""
    return watch._state(pid) != "X"


def begin(folder: Path, how: str, limit_s: float, signalled_s: float) -> subprocess.Popen[str]:
    """Start a command that runs the controller and then hangs; return it once it does."""
    (folder / "shm").mkdir()
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, how, str(folder / "logs"), str(limit_s), str(signalled_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RTC_ROS_SHM_DIR": str(folder / "shm")},
    )
    return command


def hanging(command: subprocess.Popen[str]) -> int:
    """Wait until the command hangs; return the controller's process id."""
    assert command.stdout is not None
    pid = command.stdout.readline()
    assert command.stdout.readline() == "hangs\n", command.communicate(timeout=60)
    time.sleep(0.5)  # it says so right before
    return int(pid)


def assert_nothing_is_left(controller: int, folder: Path) -> None:
    assert not runs(controller)
    # It went through all of its end, as after ^C: nothing killed it.
    assert not (folder / "logs" / "rtc_controller.log").read_text().count("most recent call")
    assert not list((folder / "shm").iterdir())


@pytest.mark.ros
@pytest.mark.parametrize("how", ["lock", "mutex"])
def test_a_call_that_never_returns_ends_the_command_and_its_nodes(
    how: str, tmp_path: Path
) -> None:
    command = begin(tmp_path, how, 3.0, 60.0)
    controller = hanging(command)
    said = command.communicate(timeout=60)[1]
    assert command.returncode != 0
    assert "create_client(rtc_controller/stop) hasn't returned for 3 s" in said
    assert "Traceback" not in said
    assert_nothing_is_left(controller, tmp_path)


@pytest.mark.ros
@pytest.mark.parametrize("how", ["lock", "mutex"])
def test_a_signal_ends_it_sooner(how: str, tmp_path: Path) -> None:
    command = begin(tmp_path, how, 300.0, 2.0)
    controller = hanging(command)
    command.send_signal(signal.SIGTERM)
    said = command.communicate(timeout=60)[1]
    assert command.returncode != 0
    assert "create_client(rtc_controller/stop) hasn't returned" in said and "SIGTERM" in said
    assert_nothing_is_left(controller, tmp_path)


@pytest.mark.ros
def test_a_command_that_is_killed_leaves_no_node(tmp_path: Path) -> None:
    command = begin(tmp_path, "lock", 300.0, 300.0)
    controller = hanging(command)
    command.kill()
    command.communicate(timeout=60)  # until the watch, too, has closed its end
    assert_nothing_is_left(controller, tmp_path)


MONITOR = """
import ctypes, sys
from rclpy.executors import SingleThreadedExecutor
from rtc_ros.running import watch
from rtc_ros.tools import cli

def hang(self, **_):
    held = ctypes.create_string_buffer(256)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(held)

watch.LIMIT_S = 2.0
SingleThreadedExecutor.spin_once = hang
sys.exit(cli.main(["monitor"]))
"""


@pytest.mark.ros
def test_the_monitor_ends_by_itself_where_the_middleware_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MONITOR], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "spin_once hasn't returned for 2 s" in done.stderr


INTERRUPTED = """
import os, signal, sys, time
from rtc_ros.running import watch

watch.SIGNALLED_S = 1.0
try:
    with watch.call("a call"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
except KeyboardInterrupt:
    time.sleep(3.0)  # as while nodes end
    print("ended", flush=True)
"""


def test_a_command_that_ends_after_a_signal_is_given_its_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


STOPPED = """
import sys, time
from rtc_ros.running import watch

watch.LIMIT_S = 1.0
with watch.call("a call"):
    print("in it", flush=True)
    time.sleep(0.3)
    print("out of it", flush=True)
for _ in range(20):  # many calls, none of them long
    with watch.call("a call"):
        time.sleep(0.1)
"""


def test_neither_a_stopped_command_nor_many_short_calls_are_taken_for_one_that_hangs() -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None and command.stdout.readline() == "in it\n"
    command.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    command.send_signal(signal.SIGCONT)
    said, error = command.communicate(timeout=30)
    assert (command.returncode, said, error) == (0, "out of it\n", "")
