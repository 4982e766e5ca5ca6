"""How a node's process ends: its exit code and what it says, with real processes and signals."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtc_ros.bringup import config_file
from rtc_ros.early_signals import runs_a_node

pytestmark = pytest.mark.ros

NODE = """
import os, signal, sys, threading, time
from rclpy.node import Node
from rtc_ros.ros.parameters import ConfigurationError
from rtc_ros.ros.runner import run_node

class Small(Node):
    executor_priority = 0
    def __init__(self):
        super().__init__("small")
        self.beginning()
    def beginning(self): pass
    def run(self): print("running", flush=True)
    def close(self): print("closed", flush=True)

class EndsItself(Small):
    def run(self):
        self.timer = self.create_timer(0.05, self.context.try_shutdown)

class ClosesSlowly(Small):
    def close(self):
        print("closing", flush=True)
        time.sleep(1.0)
        print("closed", flush=True)

class Fails(Small):
    def run(self):
        self.timer = self.create_timer(0.05, self.tick)
    def tick(self): raise ArithmeticError("seven is not eight")

class FailsToRun(Small):
    def run(self): raise ArithmeticError("seven is not eight")

class Misconfigured(Small):
    def beginning(self): raise ConfigurationError("parameter x is 3;\\n it must be 4")

class BadTopic(Small):
    def beginning(self): self.create_service(__import__("std_srvs.srv").srv.Empty, "a//b", None)

class SignalledEarly(Small):
    def beginning(self): os.kill(os.getpid(), signal.SIGTERM)

run_node(globals()[sys.argv[1]])
"""


def start(kind, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", NODE, kind, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=30)
    return process.returncode, out, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_0(number):
    process = start("Small")
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    assert finish(process) == (0, "closed\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("node", ["controller_node", "inference_node"])
def test_a_signal_while_a_node_imports_ends_it_without_a_word(tmp_path, monkeypatch, node, number):
    # However late the signal is sent, it still imports.
    (tmp_path / "numpy.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-m", f"rtc_ros.nodes.{node}"], stderr=subprocess.PIPE, text=True
    )

    def handled():
        """Python itself catches no SIGTERM: once it is caught, our handlers are there."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
        return caught >> (signal.SIGTERM - 1) & 1

    while not handled():
        assert process.poll() is None
    process.send_signal(number)
    assert (process.wait(timeout=30), process.stderr.read()) == (0, "")


@pytest.mark.parametrize(
    ("command", "is_one"),
    [
        (["python", "-m", "rtc_ros.controller.node", "--ros-args"], True),
        (["python", "/ws/lib/rtc_ros/rtc_sim", "--ros-args"], True),
        (["python", "-m", "rtc_ros.tools.cli", "start", "sim"], False),
        (["python", "/venv/bin/rtc_ros", "demo"], False),
        (["python", "-m", "pytest", "test"], False),
        (["python"], False),
    ],
)
def test_only_a_node_takes_the_signals_over_at_once(command, is_one):
    assert runs_a_node(command) is is_one


def test_a_signal_while_it_begins_is_not_lost():
    assert finish(start("SignalledEarly")) == (0, "running\nclosed\n", "")


def test_a_node_that_shuts_its_context_down_is_closed_and_ends_with_1():
    assert finish(start("EndsItself")) == (1, "closed\n", "")


def test_the_simulated_robot_s_guard_ends_it_with_1():
    script = (
        "from rtc_ros.sim import node as driver_node as d\n"
        "def stuck(self): raise FloatingPointError('the arms fell off')\n"
        "d.SimDriver._physics = stuck\n"
        "d.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--ros-args", "-p", 'cameras:=[""]'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "physics thread stopped: FloatingPointError: the arms fell off" in done.stderr
    assert "Traceback" not in done.stderr


def test_impatient_signals_while_it_closes_change_nothing():
    process = start("ClosesSlowly")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "closing\n"
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    assert finish(process) == (0, "closed\n", "")


@pytest.mark.parametrize("kind", ["Fails", "FailsToRun"])
def test_an_error_is_shown_after_closing_with_1(kind):
    code, out, error = finish(start(kind))
    assert (code, out) == (1, "closed\n")
    assert error.count("Traceback") == 1 and "seven is not eight" in error


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("Misconfigured", [], "parameter x is 3; it must be 4\n"),
        ("BadTopic", [], "must not contain repeated '/': '/a//b'\n"),
        ("Small", ["--ros-args", "--params-file", "/nowhere"], "--params-file /nowhere"),
        ("Small", ["--ros-args", "-p", "x:=[1"], "the command line can't be used: Couldn't parse"),
        ("Small", ["--ros-args", "--bad"], "--bad"),
    ],
)
def test_what_can_not_begin_says_one_sentence_and_ends_with_2(kind, arguments, sentence):
    code, out, error = finish(start(kind, *arguments))
    ours = [line for line in error.splitlines(keepends=True) if "[rcl]" not in line]
    assert (code, out, len(ours)) == (2, "", 1), error
    assert sentence in ours[0] and "/src/" not in ours[0]


def test_the_driver_and_the_controller_refuse_a_word_they_do_not_know():
    for module, wrong in (
        ("rtc_ros.sim.node", "rtc_sim:cameras:=[nowhere]"),
        ("rtc_ros.controller.node", "rtc_controller:tick_source:=sundial"),
    ):
        arguments = ["--params-file", config_file("sim.yaml"), "-p", wrong]
        done = subprocess.run(
            [sys.executable, "-m", module, "--ros-args", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2, done.stderr
        assert wrong.split(":=")[1].strip("[]") in done.stderr
        assert "Traceback" not in done.stderr


def test_what_hangs_while_a_node_is_taken_down_is_said_and_left():
    script = (
        "import time; from rtc_ros.ros import runner; runner.END_S = 0.5\n"
        "def hangs(): time.sleep(60)\n"
        "runner.tear_down(0, lambda: print('first'), hangs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, "first\n")
    assert "in hangs" in done.stderr
