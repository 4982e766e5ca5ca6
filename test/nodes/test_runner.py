"""How a node's process ends: its exit code and what it says, with real processes and signals."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtc_ros.bringup import MODULES, config_file

pytestmark = pytest.mark.ros

NODE = """
import gc, os, signal, sys, threading, time
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

class Urgent(Small):
    executor_priority = 12
    def run(self):
        print("frozen", gc.get_freeze_count() > 10000, flush=True)
        self.timer = self.create_timer(0.2, self.look)
    def look(self):
        kinds = {os.sched_getscheduler(each.native_id) for each in threading.enumerate()}
        print("all first in, first out:", kinds == {os.SCHED_FIFO}, flush=True)

class Fails(Small):
    ticks = 0
    def run(self):
        self.timer = self.create_timer(0.01, self.tick)
    def tick(self):
        self.ticks += 1
        if self.ticks == 20: print("20 ticks", flush=True)
        raise ArithmeticError("seven is not eight")

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

CALLBACKS = """
import sys, threading, time, os, signal
import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger
from rtc_ros.ros import guarded_executor
from rtc_ros.ros.runner import run_node

def fail(*_): raise ArithmeticError("seven is not eight")

class Small(LifecycleNode):
    executor_priority = 0
    def __init__(self):
        super().__init__("small")
        self.declare_parameter("x", 1)
        self.create_subscription(String, "told", fail, 10)
        self.create_service(Trigger, "~/act", fail)
        self.good = self.create_service(Trigger, "~/good", lambda _, answer: answer)
        self.add_on_set_parameters_callback(fail)
        # As Jazzy's rclpy does it at a transition that isn't possible.
        next(s for s in self._services if s.srv_name.endswith("change_state")).callback = fail
    def run(self): threading.Thread(target=ask, args=(self.context,)).start()
    def close(self): pass

def ask(context):
    node = Node("asks", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    def call(kind, name, request):
        client = node.create_client(kind, name)
        assert client.wait_for_service(20)
        future = client.call_async(request)
        executor.spin_until_future_complete(future, 20)
        return future.result()
    if sys.argv[1] == "Topic":
        publisher = node.create_publisher(String, "told", 10)
        while not publisher.get_subscription_count(): time.sleep(0.01)
        for _ in range(3): publisher.publish(String())
        print("none")
    elif sys.argv[1] == "Transition":
        print(call(ChangeState, "small/change_state", ChangeState.Request()).success)
    elif sys.argv[1] == "Trigger":
        answer = call(Trigger, "small/act", Trigger.Request())
        assert not answer.success
        print(answer.message)
    else:
        change = [Parameter("x", value=2).to_parameter_msg()]
        request = SetParameters.Request(parameters=change)
        (answer,) = call(SetParameters, "small/set_parameters", request).results
        assert not answer.successful
        print(answer.reason)
    time.sleep(0.3)
    if call(Trigger, "small/good", Trigger.Request()) is not None: print("goes on", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

kind = getattr(guarded_executor, sys.argv[2])
run_node(Small, kind if kind is guarded_executor.GuardedExecutor else lambda: kind(num_threads=3))
"""


def start(kind, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", NODE, kind, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    with process:
        try:
            out, error = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_0(number):
    process = start("Small")
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    assert finish(process) == (0, "closed\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("node", sorted(MODULES))
def test_a_signal_while_a_node_imports_ends_it_without_a_word(tmp_path, monkeypatch, node, number):
    # However late the signal is sent, it still imports.
    (tmp_path / "numpy.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-m", MODULES[node]], stderr=subprocess.PIPE, text=True
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


PROGRAM_OF_A_USER = """
import os, signal, time
import rtc_ros, rtc_ros.bringup
from rtc_ros.handoff.ring import ChunkRing
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
finally:
    print("cleaned up")
"""


def test_an_import_takes_no_signal_from_a_program_of_a_user(tmp_path):
    program = tmp_path / "rtc_of_mine"
    program.write_text(PROGRAM_OF_A_USER.format(name="SIGINT"))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "interrupted\ncleaned up\n"), done.stderr
    program.write_text(PROGRAM_OF_A_USER.format(name="SIGTERM"))
    assert subprocess.run([sys.executable, program], timeout=30).returncode == -signal.SIGTERM


def test_under_nohup_a_node_outlives_its_terminal():
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring + NODE, "Small"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert (process.wait(timeout=30), process.stdout.read()) == (0, "closed\n")


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_each_executable_is_the_module_that_takes_the_signals_first(repo, name, module):
    entry = module if (repo / f"{module.replace('.', '/')}.py").exists() else f"{module}.__main__"
    assert f'"{name} = {entry}:main"' in (repo / "setup.py").read_text()


def test_a_signal_while_it_begins_is_not_lost():
    assert finish(start("SignalledEarly")) == (0, "running\nclosed\n", "")


def test_no_thread_that_may_hold_the_gil_waits_for_other_processes():
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(12))
    except PermissionError:
        pytest.skip("this machine refuses SCHED_FIFO")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    process = start("Urgent")
    assert process.stdout.readline() == "frozen True\n", "a collection comes before the motion"
    assert process.stdout.readline() == "all first in, first out: True\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 0


def test_a_node_that_shuts_its_context_down_is_closed_and_ends_with_1():
    assert finish(start("EndsItself")) == (1, "closed\n", "")


def test_the_simulated_robot_s_guard_ends_it_with_1():
    script = (
        "from rtc_ros.sim import node as d\n"
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


def test_an_error_is_shown_after_closing_with_1():
    code, out, error = finish(start("FailsToRun"))
    assert (code, out) == (1, "closed\n")
    assert error.count("Traceback") == 1 and "seven is not eight" in error


def test_a_failing_callback_is_named_and_the_node_goes_on():
    process = start("Fails")
    lines = []
    while not any("20 ticks" in line for line in lines):
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    code, out, error = finish(process)
    assert (code, out) == (0, "closed\n")
    (said,) = [line for line in error.splitlines() if "Fails.tick of /small failed" in line]
    assert "ArithmeticError: seven is not eight; the node goes on" in said
    assert error.count("Traceback") == 1


@pytest.mark.parametrize("executor", ["GuardedExecutor", "GuardedThreads"])
@pytest.mark.parametrize("sort", ["Topic", "Transition", "Trigger", "Setting"])
def test_an_error_in_any_callback_is_named_and_answered_and_the_node_goes_on(sort, executor):
    process = subprocess.run(
        [sys.executable, "-c", CALLBACKS, sort, executor],
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer, named = {
        "Topic": ("none", "the callback of the topic /told of /small"),
        "Transition": ("False", "the service /small/change_state of /small"),
        "Trigger": ("seven is not eight", "the service /small/act of /small"),
        "Setting": ("seven is not eight", "the service /small/set_parameters of /small"),
    }[sort]
    assert process.returncode == 0, process.stderr
    assert answer in process.stdout and "goes on" in process.stdout
    said = [line for line in process.stderr.splitlines() if f"{named} failed" in line]
    assert len(said) == 1 and "ArithmeticError: seven is not eight" in said[0], process.stderr


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
