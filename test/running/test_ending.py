"""Commands that run nodes, and a signal at the worst moment: every node is ended, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WITHIN = """
import os, signal, sys, time, weakref
from rtc_ros.running.signals import sigterm_as_interrupt

def signalled(*_):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    for _ in range(1000):
        pass

class Finalised:
    def __del__(self):
        signalled()

def finaliser():
    Finalised()

def callback_of_a_weak_reference():
    kept = Finalised.__new__(type("Other", (), {}))
    reference = weakref.ref(kept, signalled)
    del kept

try:
    with sigterm_as_interrupt():
        globals()[sys.argv[2]]()
        print("went on", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("ended")
"""

STARTING = """
import os, signal, subprocess
from rtc_ros.running import processes
from rtc_ros.running.signals import sigterm_as_interrupt

class Started(subprocess.Popen):
    def __init__(self, command, **options):
        super().__init__(command, **{**options, "stdout": subprocess.PIPE})
        self.stdout.readline()
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

class Node:
    executable, module = "slow_to_end", "slow_to_end"
    ros_arguments = staticmethod(list)

processes.subprocess.Popen = Started
try:
    with sigterm_as_interrupt(), processes.Processes() as running:
        running.start([Node])
        print("went on", flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""

SLOW_TO_END = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(3.0)
    pathlib.Path("braked").touch()
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("there", flush=True)
time.sleep(30)
"""


@pytest.mark.parametrize("where", ["finaliser", "callback_of_a_weak_reference"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_that_python_drops_ends_the_command_all_the_same(number: str, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHIN, number, where], capture_output=True, text=True, timeout=20
    )
    assert (done.stdout.split("\n")[-2], done.stderr) == ("ended", "")


def test_a_node_that_was_just_started_is_ended_and_impatience_kills_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_end.py").write_text(SLOW_TO_END)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    command = subprocess.Popen(
        [sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert command.stdout is not None
    node = int(command.stdout.readline())
    for _ in range(8):  # while it ends the node, which takes longer
        time.sleep(0.1)
        command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=20)[0] == "interrupted\n"
    assert (tmp_path / "braked").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(node, 0)
