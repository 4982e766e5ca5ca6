"""Runs the nodes as plain processes, where there is no `ros2 launch`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rtc_ros.bringup import NodeToRun
from rtc_ros.handoff.files import DEFAULT_DIRECTORY, DIRECTORY_VARIABLE
from rtc_ros.running import child, watch
from rtc_ros.running.signals import signals_later


class RobotError(Exception):
    """The nodes refused something, ended, or don't answer; the message says what."""


class Processes:
    """Nodes by name, started together and ended together.

    Used as a context manager: however the block ends, no process stays behind. ``log_folder``
    gets one file per node; without it they print to the terminal.
    """

    def __init__(self, log_folder: Path | None = None) -> None:
        self._log_folder = log_folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, nodes: Iterable[NodeToRun]) -> None:
        """Start each node in a process group of its own, out of reach of the terminal's ^C."""
        for node in nodes:
            command = child.command(node.module, *node.ros_arguments())
            output = None
            if self._log_folder is not None:
                self._log_folder.mkdir(parents=True, exist_ok=True)
                output = open(self._log_folder / f"{node.executable}.log", "ab")  # noqa: SIM115
            with signals_later():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT if output else None,
                    env={**os.environ, **node.environment},
                    start_new_session=True,
                )
                self._running[node.executable] = process
                watch.started(process.pid)
            if output is not None:
                output.close()

    def ended(self) -> dict[str, int]:
        """Return the exit codes of the nodes that have ended by themselves."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def check(self) -> None:
        """Raise RobotError, with its last words, where a node has ended by itself."""
        for name, code in self.ended().items():
            raise RobotError(explain(name, code, self._log_folder))

    def finish(self, *names: str) -> None:
        """``stop``, and raise RobotError where a node didn't end with exit code 0."""
        failed = {name: code for name, code in self.stop(*names).items() if code}
        if failed:
            raise RobotError("; ".join(explain(n, c, self._log_folder) for n, c in failed.items()))

    def pid(self, name: str) -> int:
        """Return the process id of a node."""
        return self._running[name].pid

    def stop(self, *names: str) -> dict[str, int]:
        """End these nodes (all of them by default) with SIGINT; return their exit codes.

        One that does not end within ten seconds gets SIGTERM, SIGABRT, SIGKILL. An impatient ^C
        changes nothing of that: the controller may be braking.
        """
        with signals_later():
            return self._stop(names or tuple(self._running))

    def _stop(self, names: Iterable[str]) -> dict[str, int]:
        chosen = {n: self._running.pop(n) for n in names}
        for number in watch.STEPS:
            for process in chosen.values():
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, number)
            deadline = time.monotonic() + watch.PATIENCE_S
            while time.monotonic() < deadline and any(p.poll() is None for p in chosen.values()):
                time.sleep(0.02)
        codes = {name: process.wait() for name, process in chosen.items()}
        for process in chosen.values():
            watch.ended(process.pid)
        return codes

    def __enter__(self) -> Processes:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever still runs."""
        self.stop()


@contextlib.contextmanager
def environment(chosen: dict[str, str]) -> Iterator[None]:
    """Set these variables for the block."""
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def own_handoff() -> Iterator[None]:
    """Keep the shared memory of nodes started here apart from any other's on this machine."""
    parent = os.environ.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY
    with (
        tempfile.TemporaryDirectory(prefix="rtc_ros_own_", dir=parent) as folder,
        environment({DIRECTORY_VARIABLE: folder}),
        watch.scratch(folder),
    ):
        yield


def explain(executable: str, code: int, log_folder: Path | None = None) -> str:
    """Say how a node ended, with the last lines of its log."""
    how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    text = f"{executable} ended with {how}"
    if log_folder is not None:
        log = (log_folder / f"{executable}.log").read_text(errors="replace").strip()
        text += ":\n" + "\n".join(log.splitlines()[-12:])
    return text
