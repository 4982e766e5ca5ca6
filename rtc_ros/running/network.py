"""Several machines on this one: network namespaces, and a network between them that fails.

Each has an address of its own and sees the others over a ``Forwarder`` alone. Needs root and
/dev/net/tun; ``obstacle`` says what is missing. Shared memory isn't divided: each machine's nodes
need a ``RTC_ROS_SHM_DIR`` of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from rtc_ros.running import child

_FOLDER = "/run/netns"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """The namespaces can't be made; the message says why."""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def obstacle() -> str:
    """Say why no network namespaces can be made here; "" where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no ip command (the package iproute2)"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun can't be opened"
    name = f"rtc{os.getpid()}try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except NetworkError as error:
        return f"network namespaces can't be made: {error}"
    return ""


def _remove_left() -> None:
    """Take away the namespaces of processes that were killed."""
    for entry in os.listdir(_FOLDER) if os.path.isdir(_FOLDER) else ():
        made = re.fullmatch(r"rtc(\d+)[a-z]+\w*", entry)
        if made and not os.path.exists(f"/proc/{made[1]}"):
            with contextlib.suppress(NetworkError):
                _ip("netns", "delete", entry)


@contextlib.contextmanager
def inside(path: str) -> Iterator[None]:
    """Put the calling thread, and what it starts, into the namespace at ``path``."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(path)
        try:
            yield
        finally:
            if _LIBC.setns(before, _CLONE_NEWNET):
                raise NetworkError(f"can't leave {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(before)


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(fd, _CLONE_NEWNET):
            raise NetworkError(f"can't enter {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


class MachinesNetwork:
    """Namespaces for these machines, joined; a context manager that takes them away again."""

    def __init__(self, machines: Sequence[str], seed: int = 0) -> None:
        self.addresses = {m: f"10.45.0.{i + 1}" for i, m in enumerate(machines)}
        self._names = {m: f"rtc{os.getpid()}{m}" for m in machines}
        self._forwarder: subprocess.Popen[str] | None = None
        self._seed = seed

    @property
    def pid(self) -> int | None:
        """The forwarder's process."""
        return None if self._forwarder is None else self._forwarder.pid

    def path(self, machine: str) -> str:
        """Return the namespace's file, for ``inside``."""
        return f"{_FOLDER}/{self._names[machine]}"

    def __enter__(self) -> MachinesNetwork:
        """Make them; raises NetworkError."""
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        _remove_left()
        self._forwarder = subprocess.Popen(
            child.command("rtc_ros.running.forwarder"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        devices = {m: f"t{os.getpid()}{i}" for i, m in enumerate(self.addresses)}
        plan = {self.addresses[m]: device for m, device in devices.items()}
        self._ask({"devices": plan, "seed": self._seed}, "ready")
        for machine, device in devices.items():
            name = self._names[machine]
            _ip("netns", "add", name)
            _ip("link", "set", device, "netns", name)
            _ip("-n", name, "address", "add", f"{self.addresses[machine]}/24", "dev", device)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", device, "txqueuelen", "10000", "multicast", "on", "up")
            _ip("-n", name, "route", "add", "224.0.0.0/4", "dev", device)

    def _ask(self, order: dict[str, Any], answer: str) -> None:
        forwarder = self._forwarder
        assert forwarder is not None and forwarder.stdin is not None
        assert forwarder.stdout is not None
        forwarder.stdin.write(json.dumps(order) + "\n")
        forwarder.stdin.flush()
        if forwarder.stdout.readline() != f"{answer}\n":
            raise NetworkError("the forwarder ended; its message is above")

    def set(self, from_: str = "", to: str = "", **conditions: object) -> None:
        """Change the way from one machine to another ("": any); see ``forwarder.Way``."""
        order = {
            "from": self.addresses.get(from_, ""),
            "to": self.addresses.get(to, ""),
            "set": conditions,
        }
        self._ask(order, "done")

    def __exit__(self, *_: object) -> None:
        """Take them away."""
        for name in self._names.values():
            with contextlib.suppress(NetworkError):
                _ip("netns", "delete", name)
        if self._forwarder is not None:
            assert self._forwarder.stdin is not None and self._forwarder.stdout is not None
            self._forwarder.stdin.close()
            self._forwarder.wait(timeout=10)
            self._forwarder.stdout.close()
