"""A node's full name is its alone: of two with one name, ``~/stop`` would reach either."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rclpy.node import Node

from rtc_ros.handoff.errors import AccessError, WriterPresentError
from rtc_ros.handoff.files import WriterLock, segment_path

LOOK_S = 1.0
"""How long the graph is looked at: nodes that are there are known by then."""
LEASE_S = 25.0
"""The name of a node that was killed stays in the graph for up to 20 s with Fast DDS."""


class NameTakenError(Exception):
    """Another node has the name; the message says which, and what to do."""


class OwnName:
    """A name that is this process's; ``release`` when the node is gone."""

    def __init__(self, lock: WriterLock | None) -> None:
        self._lock = lock

    def release(self) -> None:
        """Give it back."""
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None


def claim_name(name: str, stop: Callable[[], bool]) -> OwnName:
    """Make sure that no other node has the full name that one called ``name`` will have here.

    On this machine by a lock, which is gone when its process is; elsewhere by the graph, which
    keeps the name of a killed node for a while: that is waited for, until ``stop()``.

    Raises:
        NameTakenError: another node has it.
    """
    probe = Node(name, enable_rosout=False, start_parameter_services=False)
    try:
        full = probe.get_fully_qualified_name()
        path = segment_path(f"node{probe.context.get_domain_id()}{full.replace('/', '.')}")
        killed_here = os.path.exists(f"{path}.lock")
        lock = _lock(path, full)
        try:
            _look(probe, full, int(killed_here), stop)
        except NameTakenError:
            OwnName(lock).release()
            raise
        return OwnName(lock)
    except ValueError as error:
        raise NameTakenError(f"the namespace and name of {name} are too long: {error}") from error
    finally:
        probe.destroy_node()


def _lock(path: str, full: str) -> WriterLock | None:
    try:
        return WriterLock(path)
    except WriterPresentError:
        with open(f"{path}.lock", encoding="ascii", errors="replace") as file:
            raise _taken(full, f"process {file.read().strip()} of this machine") from None
    except AccessError:
        return None  # another user's: the graph tells whether that one still lives


def _look(probe: Node, full: str, killed_here: int, stop: Callable[[], bool]) -> None:
    """Wait until no other node has the name, but ``killed_here`` that are known to be dead.

    Raises:
        NameTakenError: one still has it after ``LEASE_S``.
    """

    def others() -> int:
        pairs = probe.get_node_names_and_namespaces()
        names = [f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs]
        return names.count(full) - 1 - killed_here

    begun, said = time.monotonic(), False
    while not stop():
        waited = time.monotonic() - begun
        if others() > 0:
            if not said:
                probe.get_logger().warning(
                    f"there is a node {full} already; waiting up to {LEASE_S:g} s in case that "
                    "it was killed, and only its name is left"
                )
                said = True
            if waited > LEASE_S:
                raise _taken(full, "in the ROS graph, of another machine or container")
        elif waited > LOOK_S:
            return
        time.sleep(0.05)


def _taken(full: str, whose: str) -> NameTakenError:
    return NameTakenError(
        f"there is a node {full} already ({whose}), and a call of a service of that name "
        "(~/stop, ~/set_parameters …) would reach either of the two: end that one, or give each "
        "robot a namespace, with namespace:=NAME for the launch files or -r __ns:=/NAME for a node"
    )
