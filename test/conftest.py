"""One private corner of the machine for each test session: ROS domain, shared memory, renderer.

Set at import, before a test module can import rclpy, torch or mujoco; child processes inherit it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parents[1]

# Fast DDS derives ports from the domain; above 101 they meet Linux's ephemeral ports.
DOMAINS = range(1, 102)


def _claim_domain() -> tuple[int, IO[str]]:
    """Return a domain that no other test session on this machine holds, and the lock on it."""
    folder = Path(tempfile.gettempdir())
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        try:
            lock = open(folder / f"rtc_ros_test_domain_{domain}.lock", "a")  # noqa: SIM115
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # held by another session, or another user's file
        return domain, lock
    raise RuntimeError(f"all ROS domains {DOMAINS[0]}..{DOMAINS[-1]} are held by test sessions")


def _shared_memory_root() -> Path:
    """Return a new folder in /dev/shm, or among the temporary files where that can't be had."""
    shm = Path("/dev/shm")
    parent = shm if os.access(shm, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="rtc_ros_test_", dir=parent))


DOMAIN, _DOMAIN_LOCK = _claim_domain()
SHARED_MEMORY = _shared_memory_root()

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
    shutil.rmtree(SHARED_MEMORY, ignore_errors=True)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return REPO
