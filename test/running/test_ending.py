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
    environment = {}

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
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
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


CLOSED_TERMINAL = """
import os, pty, sys, time
# A command on a terminal of its own, which is then closed under it.
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
end, heard = time.monotonic() + 60, b""
while b"ready:" not in heard and time.monotonic() < end:
    heard += os.read(terminal, 4096)
os.close(terminal)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.ros
def test_a_closed_terminal_ends_the_nodes_of_a_command_as_sigterm_does(tmp_path: Path) -> None:
    script = tmp_path / "start.py"
    script.write_text(
        "import sys\n"
        "from rtc_ros import bringup\n"
        "from rtc_ros.tools import cli, start\n"
        "run = bringup.nodes_to_run\n"
        "start.nodes_to_run = lambda *a, **k: ["
        "n for n in run(*a, **k) if n.executable == 'rtc_controller']\n"
        "started = start.Processes.start\n"
        "def note(self, nodes):\n"
        "    started(self, nodes)\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(self.pid('rtc_controller')))\n"
        "start.Processes.start = note\n"
        "sys.exit(cli.main(['start', 'sim', *sys.argv[1:]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_TERMINAL, str(script)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "RTC_ROS_SHM_DIR": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("0\n", "")  # each node ended with 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not list(tmp_path.glob("node*"))  # the controller went through all of its end
