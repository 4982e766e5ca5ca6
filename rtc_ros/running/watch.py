"""Ends a command and its nodes where a call into the middleware never returns.

Fast DDS has been seen to deadlock in the command's own process, in ``create_client``, which keeps
Python's lock meanwhile: no other thread runs, no handler of a signal, no time-out. So the watch is
a process of its own, with nothing but the standard library. It sees which ``call`` the command is
in through shared memory, hears of signals through ``signal.set_wakeup_fd``, which needs no lock,
and of the command's death, however it came, through the same pipe.

It is started by the first ``call`` and ends with the command. To end them it needs the process
groups of the nodes (``started``, ``ended``) and the ``scratch`` folders to remove after them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator

LIMIT_S = 30.0
"""How long one call may take. Calls return within 0.1 s, on a busy machine within a few."""
SIGNALLED_S = 10.0
"""The same, once a signal has asked the command to end."""
STEPS = (signal.SIGINT, signal.SIGTERM, signal.SIGABRT, signal.SIGKILL)
"""What a node is sent until it ends. One that is aborted says where each of its threads hangs."""
PATIENCE_S = 10.0
"""How long a node has to end after each of ``STEPS``: the controller may be braking."""

_POLL_S = 0.25
_SIZE = 1 << 16
_CALL, _LISTS = 8, 512
"""Where the call's name and the lists lie; the first 8 bytes count the calls."""

_shared: mmap.mmap | None = None
_count = 0
_groups: list[int] = []
_scratch: list[str] = []


@contextlib.contextmanager
def call(what: str) -> Iterator[None]:
    """Let no call into the middleware within the block last for ever; ``what`` names it."""
    global _count
    shared = _shared or _start()
    try:  # ^C may raise anywhere
        _put(shared, _CALL, what)
        _count += 2
        struct.pack_into("<Q", shared, 0, _count | 1)  # odd: within a call
        yield
    finally:
        struct.pack_into("<Q", shared, 0, _count)


def started(pid: int) -> None:
    """Note a node that leads a process group of its own."""
    _groups.append(pid)
    _tell()


def ended(pid: int) -> None:
    """Forget it."""
    _groups.remove(pid)
    _tell()


@contextlib.contextmanager
def scratch(folder: str) -> Iterator[None]:
    """Let the folder be removed where the command can't do so itself after this block."""
    _scratch.append(folder)
    _tell()
    try:
        yield
    finally:
        _scratch.remove(folder)
        _tell()


def _tell() -> None:
    if _shared is not None:
        _put(_shared, _LISTS, json.dumps([_groups, _scratch]))


def _put(shared: mmap.mmap, offset: int, text: str) -> None:
    data = text.encode()[: (_LISTS - _CALL - 4 if offset == _CALL else _SIZE - _LISTS - 4)]
    shared[offset : offset + 4 + len(data)] = struct.pack("<I", len(data)) + data


def _get(shared: mmap.mmap, offset: int) -> str:
    (length,) = struct.unpack_from("<I", shared, offset)
    return shared[offset + 4 : offset + 4 + length].decode(errors="replace")


def _start() -> mmap.mmap:
    """Start the watch; it lives as long as this process."""
    global _shared
    memory = os.memfd_create("rtc_ros_watch")
    os.ftruncate(memory, _SIZE)
    shared = mmap.mmap(memory, _SIZE)
    # Before it looks: ^C may end this function anywhere.
    _put(shared, _LISTS, json.dumps([_groups, _scratch]))
    hears, tells = os.pipe()
    os.set_blocking(tells, False)
    # -S: without the wheels' start-up code, which takes longer than all of this.
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(memory), str(hears)]
    process = subprocess.Popen(
        [*command, str(LIMIT_S), str(SIGNALLED_S)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(memory, hears),
        start_new_session=True,
    )
    os.close(memory)
    os.close(hears)
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(tells, warn_on_full_buffer=False)

    def finish() -> None:
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)
        os.close(tells)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)

    atexit.register(finish)
    _shared = shared
    _tell()  # of what another thread began meanwhile
    return shared


# From here on: the watch's own process.


class _Watch:
    """What the command does, as far as its memory tells."""

    def __init__(self, shared: mmap.mmap, command: int, limits: tuple[float, float]) -> None:
        self._shared = shared
        self._command = command
        self._limits = limits
        self._seen, self._polled = 0, time.monotonic()
        self.stuck_s = 0.0
        self.signalled: signal.Signals | None = None

    def poll(self) -> bool:
        """Tell whether the command is in one call for too long."""
        (count,) = struct.unpack_from("<Q", self._shared, 0)
        now = time.monotonic()
        # A machine that slept, or a command that ^Z or a debugger stopped, isn't stuck.
        passed = min(now - self._polled, 4 * _POLL_S)
        self._polled = now
        if count != self._seen or count % 2 == 0:
            self._seen, self.stuck_s = count, 0.0
        elif _state(self._command) not in "Tt":
            self.stuck_s += passed
        return self.stuck_s > self._limits[self.signalled is not None]

    def what(self) -> str:
        """Say what the command waits for."""
        after = f", {self.signalled.name} or not" if self.signalled else ""
        return f"{_get(self._shared, _CALL)} hasn't returned for {self.stuck_s:.0f} s{after}"

    def lists(self) -> tuple[list[int], list[str]]:
        """Return the nodes' process groups and the folders to remove."""
        groups, folders = json.loads(_get(self._shared, _LISTS))
        return groups, folders


def _watch(memory: int, hears: int, limit_s: float, signalled_s: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    command = os.getppid()
    watch = _Watch(mmap.mmap(memory, _SIZE), command, (limit_s, signalled_s))
    while True:
        if select.select([hears], [], [], _POLL_S)[0]:
            told = os.read(hears, 64)
            if not told:  # the command is gone
                _end(*watch.lists())
                return
            asks = [n for n in told if n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
            watch.signalled = signal.Signals(asks[0]) if asks else watch.signalled
        if watch.poll():
            _say(f"the middleware hangs: {watch.what()}. Ending the nodes and this command.")
            _end(*watch.lists())
            if os.getppid() == command:
                os.kill(command, signal.SIGKILL)
            if sys.stderr.isatty():  # what it drew there is in the way
                sys.stderr.write("\x1b[?1049l\x1b[?25h")
            return


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"\nrtc_ros: {text}", file=sys.stderr, flush=True)


def _end(groups: Iterable[int], folders: Iterable[str]) -> None:
    for number in STEPS:
        if not (left := _alive(groups)):
            break
        for group in left:
            with contextlib.suppress(ProcessLookupError):
                # Whoever leads it tells its own children to end.
                (os.kill if number is signal.SIGINT else os.killpg)(group, number)
        deadline = time.monotonic() + PATIENCE_S
        while left and time.monotonic() < deadline and (left := _alive(left)):
            time.sleep(0.05)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(groups: Iterable[int]) -> list[int]:
    """Return the process groups in which a process runs; a zombie doesn't."""
    running = {_stat(pid)[2] for pid in os.listdir("/proc") if pid.isdigit()}
    return [group for group in groups if str(group) in running]


def _state(pid: int) -> str:
    return _stat(str(pid))[0]


def _stat(pid: str) -> list[str]:
    """Return state, parent, group and more of a process; no group where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            found: list[str] = file.read().rpartition(")")[2].split()
    except OSError:
        return ["X", "", ""]
    return ["X", "", ""] if found[0] in "ZX" else found


if __name__ == "__main__":
    _watch(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
