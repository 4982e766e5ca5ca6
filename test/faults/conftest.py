"""One running system for a module's faults: a test breaks it, and it must work for the next."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


# Not for the session: its processes and its folder would be there under all later tests.
@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    from fault_system import TRANSPORT, FaultSystem

    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("faults")
    patch.setenv("RTC_ROS_SHM_DIR", str(folder))
    patch.setenv(*TRANSPORT)
    made = FaultSystem(folder)
    made.up()
    yield made
    made.down()
    patch.undo()


@pytest.fixture
def system(standing):
    """The running system, moving; afterwards nothing may have gone wrong, and it moves again."""
    standing.until_moving()
    yield standing
    standing.fault("")
    standing.until_moving()
    standing.check()


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A system of its own, with nothing started yet."""
    from fault_system import TRANSPORT, FaultSystem

    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    monkeypatch.setenv(*TRANSPORT)
    made = FaultSystem(tmp_path, namespace="apart")
    yield made
    made.down()
