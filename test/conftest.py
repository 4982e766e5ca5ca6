"""One private corner of the machine for each test process, and the parts of a whole run.

Domain, folders and renderer are set at import, before a test module can import rclpy, torch or
mujoco; child processes inherit them. A process is a pytest run or one of its parallel workers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parents[1]

# Fast DDS derives ports from the domain; above 101 they meet Linux's ephemeral ports.
DOMAINS = range(1, 102)
FIRST_PORT, PORTS = 7400, 250


def _domains_in_use() -> set[int]:
    """Return the domains of which a port is open on this machine, whoever's it is."""
    used = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        if Path(table).exists():
            lines = Path(table).read_text().splitlines()[1:]
            ports = (int(line.split()[1].rsplit(":", 1)[1], 16) for line in lines)
            used |= {(port - FIRST_PORT) // PORTS for port in ports}
    return used


def _claim_domain() -> tuple[int, socket.socket]:
    """Return a domain that nobody on this machine uses, and the claim to it.

    The claim is an abstract socket's name: known in the network that the domain is in, whatever
    folder a process has for temporary files, and gone with the process.
    """
    used = _domains_in_use()
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        claim = socket.socket(socket.AF_UNIX)
        try:
            if domain in used:
                raise OSError
            claim.bind(f"\0rtc_ros_test_domain_{domain}")
        except OSError:
            claim.close()
            continue
        return domain, claim
    raise RuntimeError(f"all ROS domains {DOMAINS[0]}..{DOMAINS[-1]} are in use")


def _folder(parent: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="rtc_ros_test_", dir=parent))


DOMAIN, _CLAIM = _claim_domain()
_SHM = Path("/dev/shm")
SHARED_MEMORY = _folder(_SHM if os.access(_SHM, os.W_OK) else None)
# What a test asks pytest for stays to be looked at (the last three runs); what the code under
# test makes by itself goes with the process.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
TEMPORARY = _folder(None)
tempfile.tempdir = os.environ["TMPDIR"] = str(TEMPORARY)

# Under nohup, or in the background of a script, a process ignores these; what is tested here not.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["RTC_ROS_SHM_DIR"] = str(SHARED_MEMORY)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
# The checkout under test, for child processes that don't run in it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# ROS 2 from wheels has its ament index in the environment itself.
if (Path(sys.prefix) / "share" / "ament_index").is_dir():
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")

# A machine that stalls says nothing about what is tested.
settings.register_profile("rtc_ros", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rtc_ros")


def pytest_report_header() -> str:
    return f"rtc_ros: ROS_DOMAIN_ID={DOMAIN}, RTC_ROS_SHM_DIR={SHARED_MEMORY}"


def pytest_unconfigure() -> None:
    for folder in (SHARED_MEMORY, TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO


# -- who waits for whom ----------------------------------------------------------------------

NICE = os.getpriority(os.PRIO_PROCESS, 0)
AHEAD = 10


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let what is a robot to real nodes go before other tests, where the machine allows it.

    A robot that waits for the CPU is one whose joint states are old. Threads and processes that
    are made from now on inherit it.
    """
    ahead = AHEAD if item.get_closest_marker("ros") else 0
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE - ahead)


# -- the parts: scripts/test.sh runs one after the other -------------------------------------

PARTS = ("together", "nodes", "alone", "network")


def part_of(item: pytest.Item) -> str:
    """Return which part of a whole run a test belongs to."""
    if item.get_closest_marker("network"):
        return "network"
    if any(item.get_closest_marker(marker) for marker in ("alone", "e2e")):
        return "alone"
    # They wait more than they compute, and the cores aren't shared with tests that only compute.
    nodes = item.get_closest_marker("ros") or item.path.parent.name in ("nodes", "faults", "link")
    return "nodes" if nodes else "together"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        choices=PARTS,
        help="only the tests that run beside any others, that start nodes and run beside a few of "
        "their kind, that run alone, or that run on another network",
    )


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("part")
    if part is not None:
        config.hook.pytest_deselected(items=[i for i in items if part_of(i) != part])
        items[:] = [i for i in items if part_of(i) == part]
    elif {part_of(i) for i in items} > {"network"}:
        # Fast DDS looks once in a process which networks there are.
        reason = "needs a process of its own: --part=network, or nothing else beside it"
        for item in items:
            if part_of(item) == "network":
                item.add_marker(pytest.mark.skip(reason=reason))
    if "PYTEST_XDIST_WORKER" in os.environ:  # files that take long are begun first
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)


# -- figures that tests note -----------------------------------------------------------------


@pytest.fixture
def figure(request: pytest.FixtureRequest):
    """Note a figure of this test; all are printed at the end of the run."""
    return lambda text: request.node.user_properties.append(("figure", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for rs in terminalreporter.stats.values() for r in rs if hasattr(r, "when")]
    noted = [
        (report.nodeid.rpartition("::")[2], text)
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == "figure"
    ]
    if noted:
        terminalreporter.section("figures")
        for name, text in noted:
            terminalreporter.write_line(f"{name}: {text}")
