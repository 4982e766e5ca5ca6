"""The network between network namespaces: one process that passes their packets on, badly.

It holds the other end of each namespace's TUN device. A packet for an address goes there, a
multicast one to all others; each after the delay, and with the losses, of its way. The first line
on standard input names the devices, each later one changes the conditions; the end of the input
ends the process. Lines are JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MTU = 65536
_MULTICAST = 224


@dataclass
class Way:
    """What happens to the packets from one address to another.

    Each is ``delay_s`` on its way, give or take up to ``jitter_s``, which reorders; the shares
    ``loss`` and ``twice`` are lost and sent twice, and the wire takes ``mbit_s`` (0: any).
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    twice: float = 0.0
    mbit_s: float = 0.0
    cut: bool = False
    free_s: float = 0.0

    def arrivals(self, size: int, now_s: float, chance: random.Random) -> list[float]:
        """Return when what arrives of a packet of ``size`` bytes arrives."""
        if self.cut:
            return []
        if self.mbit_s:
            self.free_s = max(self.free_s, now_s) + size * 8e-6 / self.mbit_s
            now_s = self.free_s
        times = []
        for _ in range(1 + (chance.random() < self.twice)):
            if chance.random() >= self.loss:
                late = self.delay_s + chance.uniform(-self.jitter_s, self.jitter_s)
                times.append(now_s + max(0.0, late))
        return times


def open_device(name: str) -> int:
    """Make the TUN device ``name`` in this namespace; return the descriptor of its other end."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


class Forwarder:
    """Passes packets on between the devices' descriptors, by address."""

    def __init__(self, devices: dict[bytes, int], seed: int = 0) -> None:
        self._devices = devices
        self._ways = {(a, b): Way() for a in devices for b in devices if a != b}
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = itertools.count()
        self._chance = random.Random(seed)

    def change(self, order: dict[str, Any]) -> None:
        """Set conditions: ``{"from": address or "", "to": the same, "set": {field: value}}``."""
        for (a, b), way in self._ways.items():
            if order["from"] in ("", _text(a)) and order["to"] in ("", _text(b)):
                for name, value in order["set"].items():
                    setattr(way, name, value)

    def run(self, orders: int) -> None:
        """Pass packets on until the ``orders`` end."""
        sources = {fd: address for address, fd in self._devices.items()}
        text = b""
        while True:
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, _, fd, packet = heapq.heappop(self._due)
                with contextlib.suppress(OSError):  # a full queue, or a device that is down
                    os.write(fd, packet)
            wait_s = self._due[0][0] - now_s if self._due else None
            ready, _, _ = select.select([orders, *sources], [], [], wait_s)
            for fd in ready:
                if fd == orders:
                    more = os.read(orders, 65536)
                    if not more:
                        return
                    *lines, text = (text + more).split(b"\n")
                    for line in lines:
                        self.change(json.loads(line))
                        print("done", flush=True)
                else:
                    self._drain(fd, sources[fd])

    def _drain(self, fd: int, source: bytes) -> None:
        for _ in range(64):
            try:
                packet = os.read(fd, _MTU)
            except OSError:
                return
            target, now_s = packet[16:20], time.monotonic()
            if len(packet) < 20 or packet[0] >> 4 != 4:
                continue
            for address, other in self._devices.items():
                if address == source or (target[0] < _MULTICAST and address != target):
                    continue
                way = self._ways[source, address]
                for at_s in way.arrivals(len(packet), now_s, self._chance):
                    heapq.heappush(self._due, (at_s, next(self._count), other, packet))


def _text(address: bytes) -> str:
    return ".".join(map(str, address))


def main() -> int:
    """Make the devices, say so, pass packets on."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    plan = json.loads(line)
    devices = {
        bytes(map(int, address.split("."))): open_device(name)
        for address, name in plan["devices"].items()
    }
    print("ready", flush=True)
    Forwarder(devices, plan.get("seed", 0)).run(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
