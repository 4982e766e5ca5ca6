"""The process that forks controllers and writers, as seen from a campaign."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
# The checkout, the doubles, and stand-ins for message packages that no package index has.
PATHS = [str(p) for p in (HERE, HERE.parent, HERE.parent / "nodes" / "interbotix", REPO)]
sys.path[:0] = [p for p in PATHS if p not in sys.path]

from process_farm import Order  # noqa: E402


class Farm:
    """The process that forks the others."""

    def __init__(self, folder: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]),
            "FAULT_FILE": str(folder / "fault"),
            "FAULT_JOINTS": "3",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "process_farm.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self._lock = threading.Lock()
        self.pids: dict[tuple[str, str], int] = {}
        """(what, namespace) → process"""

    def start(self, what: str, order: Order) -> None:
        """Start one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(order.line(what) + "\n")
            self._process.stdin.flush()
            self.pids[what, order.namespace] = int(self._process.stdout.readline())

    def alive(self, what: str, namespace: str = "") -> bool:
        """Tell whether it runs."""
        return Path(f"/proc/{self.pids[what, namespace]}").exists()

    def signal(self, what: str, number: int, namespace: str = "") -> None:
        """Send it a signal; after SIGKILL it is gone when this returns."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[what, namespace], number)
        while number == signal.SIGKILL and self.alive(what, namespace):
            time.sleep(0.0005)

    def close(self) -> None:
        """End all."""
        for what, namespace in list(self.pids):
            self.signal(what, signal.SIGKILL, namespace)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
