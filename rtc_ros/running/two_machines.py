"""A robot and a GPU machine for the demo and the benches, made of this one machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from rtc_ros.handoff.files import DEFAULT_DIRECTORY, DIRECTORY_VARIABLE
from rtc_ros.running.network import MachinesNetwork, inside, obstacle
from rtc_ros.running.processes import environment

ON = Callable[[str], AbstractContextManager[None]]
_NETWORKED = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    # Not by shared memory: the two are one machine to Fast DDS.
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
}
NAMES = ("robot", "gpu")


@contextlib.contextmanager
def two_machines(**conditions: object) -> Iterator[tuple[ON, str, MachinesNetwork | None]]:
    """Yield what puts a block onto ``robot`` or ``gpu``, how they are joined, and the network.

    ``conditions`` are those of both ways (``rtc_ros.running.forwarder.Way``). Where no namespaces
    can be made the two are only processes with separate shared memory, without the conditions.
    To be used within ``own_handoff``.
    """
    problem = obstacle()
    folder = os.environ.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY
    for name in NAMES:
        os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        network = None
        if not problem:
            network = stack.enter_context(MachinesNetwork(NAMES))
            network.set("", "", **conditions)

        @contextlib.contextmanager
        def on(machine: str) -> Iterator[None]:
            chosen = {DIRECTORY_VARIABLE: os.path.join(folder, machine)}
            with contextlib.ExitStack() as place:
                if network is not None:
                    chosen |= _NETWORKED
                    place.enter_context(inside(network.path(machine)))
                place.enter_context(environment(chosen))
                yield

        how = f"two processes of this machine: {problem}" if problem else "two namespaces"
        yield on, how, network
