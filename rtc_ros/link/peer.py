"""Who speaks for the other machine: one process at a time, each message at most once.

No clock of the other machine and no number of an earlier run decides: a process is known by a
random number of its own, and its messages by their count.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from dataclasses import dataclass

import xxhash

from rtc_ros.link.envelope import NAME_BYTES, Envelope

LEASE_NS = 500_000_000
"""After so long a silence another process may speak for the other machine."""


@dataclass(frozen=True)
class Identity:
    """This process: the robot's name, its own, a random number and the machine's boot."""

    robot: str
    sender: str
    session: int
    boot: int

    @classmethod
    def here(cls, robot: str) -> Identity:
        """Return a new one; raises ValueError for a robot's name that is too long."""
        if not 1 <= len(robot.encode()) <= NAME_BYTES or "\0" in robot:
            raise ValueError(
                f"{robot!r} can't be a robot's name: 1 to {NAME_BYTES} bytes, no zero among them"
            )
        try:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                boot = xxhash.xxh3_64_intdigest(file.read())
        except OSError:
            boot = 0
        host = socket.gethostname().encode()[: NAME_BYTES - 24].decode(errors="ignore")
        return cls(robot, f"{host}, process {os.getpid()}", secrets.randbits(63) | 1, boot)


class Peer:
    """The process that speaks for the other machine, and what of its messages is taken."""

    def __init__(self, own: Identity, there: str) -> None:
        self.own, self.there = own, there
        self.session = 0
        self.sender = ""
        self.boot = 0
        self.heard_ns = 0
        """When its newest message came; 0: never."""
        self.number = 0
        self.newest: Envelope | None = None
        self.hears_us_ns = 0
        """When the newest of our messages was sent that it is known to have had."""
        self.counts: Counter[str] = Counter()
        self.refused = ""
        self.refused_ns = 0
        self._before: list[int] = []

    def hear(self, message: Envelope, now_ns: int) -> bool:
        """Tell whether a message is taken; where not, it is counted and ``refused`` says why."""
        if message.robot != self.own.robot:
            return self._refuse(
                message, "other robots", now_ns,
                f"is of robot {message.robot} and this one of robot {self.own.robot}: give each "
                "robot a namespace, and both its machines the same robot_name",
            )  # fmt: skip
        if message.session == self.own.session:
            return False
        if message.to not in (0, self.own.session):
            return self._refuse(
                message, "addressed to others", now_ns,
                "speaks to another process than this one: an earlier run, or a second "
                f"{'GPU machine' if self.there != 'GPU machine' else 'robot'}",
            )  # fmt: skip
        if message.session != self.session and not self._follow(message, now_ns):
            return False
        if message.number <= self.number:
            self.counts["late or twice"] += 1
            return False
        self.counts["lost"] += message.number - self.number - 1 if self.number else 0
        self.counts["taken"] += 1
        self.number, self.heard_ns, self.newest = message.number, now_ns, message
        if message.to == self.own.session:
            self.hears_us_ns = max(self.hears_us_ns, message.echo_sent_ns)
        return True

    def _follow(self, message: Envelope, now_ns: int) -> bool:
        """Let a new process speak for the other machine, where the one before is silent."""
        if message.session in self._before:
            return self._refuse(
                message, "earlier runs", now_ns,
                f"was replaced by {self.sender} meanwhile: end it, or start it anew",
            )  # fmt: skip
        if self.session and now_ns - self.heard_ns < LEASE_NS:
            return self._refuse(
                message, "second senders", now_ns,
                f"speaks for the {self.there}, and so does {self.sender}, who was here first: "
                "end one, or give each robot a namespace",
            )  # fmt: skip
        if self.session:
            self._before = [*self._before[-31:], self.session]
        self.session, self.sender, self.boot = message.session, message.sender, message.boot
        self.number = self.hears_us_ns = 0
        self.newest = None
        return True

    def _refuse(self, message: Envelope, what: str, now_ns: int, why: str) -> bool:
        self.counts[f"refused: {what}"] += 1
        self.refused = f"rtc_link of {message.sender} {why}"
        self.refused_ns = now_ns
        return False

    def silent_ns(self, now_ns: int) -> int:
        """Return for how long nothing was heard of it."""
        return now_ns - self.heard_ns
