from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def shm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private directory for segments, in memory where the machine has one."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("RTC_ROS_SHM_DIR")) as folder:
        monkeypatch.setenv("RTC_ROS_SHM_DIR", folder)
        yield Path(folder)


class Workers:
    """Processes of handoff_worker.py, started by a server that has the imports behind it."""

    def __init__(self, folder: Path) -> None:
        environment = dict(os.environ, RTC_ROS_SHM_DIR=str(folder))
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "handoff_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._alive: set[int] = set()

    def start(self, what: str, *arguments: object) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(" ".join(map(str, (what, *arguments))) + "\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        self._alive.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until the process is gone with its locks."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def wait(self, pid: int) -> None:
        wait_for(lambda: not _exists(pid))
        self._alive.discard(pid)

    def close(self) -> None:
        for pid in self._alive:
            if _exists(pid):
                os.kill(pid, signal.SIGKILL)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until ``condition()`` holds; the timeout is for a broken machine, not a measure."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.0002)


@pytest.fixture
def workers(shm: Path) -> Iterator[Workers]:
    made = Workers(shm)
    yield made
    made.close()
