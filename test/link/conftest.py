from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
for folder_name in ("faults", "nodes"):
    sys.path.append(str(Path(__file__).parents[1] / folder_name))


@pytest.fixture
def folder(tmp_path):
    """Two machines' /dev/shm, in memory where there is one."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as made:
        yield Path(made)


ROOM = 4_000_000
FIGURES: list[tuple[str, str]] = []


@pytest.fixture
def figure(request):
    """Note a figure of this test; all are printed at the end of the session."""
    name = request.node.name
    return lambda text: FIGURES.append((name, text))


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section("link")
        for name, text in FIGURES:
            terminalreporter.write_line(f"{name}: {text}")


@contextlib.contextmanager
def networked(machines):
    """Make namespaces for these machines and set what nodes need there, or skip."""
    from fault_system import TRANSPORT

    from rtc_ros.bringup import PROFILES, config_file, fast_dds
    from rtc_ros.running.network import MachinesNetwork, obstacle

    if problem := obstacle():
        pytest.skip(f"two machines can't be made of this one: {problem}")
    with pytest.MonkeyPatch.context() as patch:
        # Raw images of 640 × 480 come in one go: they need room, where the machine grants it.
        patch.setenv(TRANSPORT[0], f"{TRANSPORT[1]}?sockets_size={ROOM}B")
        # As two computers would: over the network that they share.
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
        # As docs/remote.md has it for the driver, which is this process.
        patch.setenv(PROFILES[fast_dds()], config_file("fastdds_two_machines.xml"))
        with MachinesNetwork(machines) as network:
            yield network


@contextlib.contextmanager
def undisturbed():
    """Put this process, which is arm and judge, and what it starts before all else, if it may.

    By niceness: of processes under SCHED_FIFO those that compute would keep the rest of the
    system from the processor for good.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):  # what else the machine does then matters
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    from link_system import LinkSystem

    with undisturbed(), networked(["robot", "gpu"]) as network:
        made = LinkSystem(network, tmp_path_factory.mktemp("link"))
        try:
            made.up()
            yield made
        finally:
            made.down()


@pytest.fixture
def system(standing):
    """The running system, moving, 10 ms away; afterwards nothing may have gone wrong."""
    standing.network.set(**QUIET)
    standing.until_moving()
    yield standing
    standing.network.set(**QUIET)
    standing.until_moving()
    try:
        standing.check()
    finally:  # said once, not of each test that comes after
        standing.invariants.problems.clear()
        standing.watcher.problems.clear()


QUIET = {"delay_s": 0.01, "jitter_s": 0.0, "loss": 0.0, "twice": 0.0, "mbit_s": 0.0, "cut": False}
