"""The parts of `make test`: together they are all tests, and each of these is run once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os, tempfile, time
from pathlib import Path
import pytest

def note(name):
    begun = time.monotonic()
    time.sleep(0.2)
    corner = [os.environ[v] for v in ("ROS_DOMAIN_ID", "RTC_ROS_SHM_DIR", "TMPDIR")]
    assert tempfile.gettempdir() == corner[2] and Path(corner[1]).is_dir()
    line = " ".join([name, str(os.getpid()), str(begun), str(time.monotonic()), *corner])
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + chr(10))

@pytest.mark.parametrize("i", range(6))
def test_beside_others(i, request):
    note(request.node.nodeid)

@pytest.mark.ros
@pytest.mark.parametrize("i", range(2))
def test_with_nodes(i, request):
    note(request.node.nodeid)

@pytest.mark.alone
@pytest.mark.parametrize("i", range(2))
def test_by_itself(i, request, figure):
    note(request.node.nodeid)
    figure("as it was")

@pytest.mark.ros
@pytest.mark.network
def test_elsewhere(request):
    note(request.node.nodeid)
"""

PYTHON = """#!/bin/sh
case "$*" in
*--part=together*) echo "$@" >>calls; exit {};;
*--part=nodes*) echo "$@" >>calls; exit {};;
*--part=alone*) exit {};;
*--part=network*) exit {};;
esac
"""


def run(tree: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        ["bash", "scripts/test.sh", "-k", "of these"], cwd=tree, env={**environment, **changes},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def tree(repo: Path, tmp_path: Path) -> Path:
    """A checkout with nothing in it but what runs the tests."""
    for name in ("test/conftest.py", "scripts/test.sh", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repo / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
def test_each_test_runs_once_in_a_corner_of_its_own_and_alone_where_it_wants_to(
    tree: Path,
) -> None:
    pytest.importorskip("xdist")
    for name in ("one", "two"):
        (tree / "test" / f"test_{name}.py").write_text(TESTS)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    (tree / "scripts" / "test.sh").write_text(
        (tree / "scripts" / "test.sh").read_text().replace('"$@"', "")
    )
    done = run(tree, NOTES=str(tree / "notes"), TEST_WORKERS="2", PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    for end in ("12 passed", "4 passed", "4 passed, 18 deselected", "2 passed, 20 deselected"):
        assert end in done.stdout
    notes = [line.split() for line in (tree / "notes").read_text().splitlines()]
    ran = [note[0] for note in notes]
    assert len(ran) == len(set(ran)) == 22, "what pytest collects: both files' 6, 2, 2 and 1"
    assert all("beside_others" in name for name in ran[:12]), "one part after the other"
    assert all("with_nodes" in name for name in ran[12:16])
    assert all("elsewhere" in name for name in ran[20:])
    times = [(float(begun), float(ended)) for _, _, begun, ended, *_ in notes]
    assert all(a[1] <= b[0] for a, b in zip(times[16:], times[17:], strict=False))
    assert done.stdout.count(": as it was") == 4
    # Twice two workers and the other parts' processes: nothing of theirs is shared, nor stays.
    corners = {tuple(note[4:]) for note in notes}
    assert len({note[1] for note in notes}) == len(corners) == 6
    folders = list(zip(*corners, strict=True))[1:]
    assert all(len(set(column)) == 6 for column in folders)
    assert not [f for corner in corners for f in corner[1:] if Path(f).exists()]


def test_what_needs_a_process_of_its_own_is_skipped_beside_others(tree: Path) -> None:
    (tree / "test" / "test_one.py").write_text(TESTS)
    for asked, end in ((), "10 passed, 1 skipped"), (("-k", "elsewhere"), "1 passed, 10 desel"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *asked], cwd=tree, capture_output=True, text=True,
            env={**os.environ, "NOTES": str(tree / "notes")}, timeout=300, check=False,
        )  # fmt: skip
        assert end in done.stdout, done.stdout
        assert ("--part=network" in done.stdout) == (not asked)


@pytest.mark.parametrize(
    ("together", "nodes", "alone", "network", "status"),
    [
        (0, 0, 0, 0, 0), (1, 0, 0, 0, 1), (0, 1, 0, 0, 1), (0, 0, 1, 0, 1), (0, 0, 0, 1, 1),
        (1, 1, 1, 1, 1), (5, 0, 0, 0, 0), (0, 0, 5, 0, 0), (5, 5, 5, 5, 5), (1, 5, 5, 5, 1),
        (5, 1, 5, 5, 1), (5, 5, 5, 0, 0), (2, 0, 0, 0, 2), (4, 4, 4, 4, 4), (0, 2, 0, 0, 2),
        (0, 0, 3, 0, 3), (0, 0, 1, 3, 3),
        # 5: no tests in this part
    ],
)  # fmt: skip
def test_the_parts_exit_statuses_are_one(
    tree: Path, together: int, nodes: int, alone: int, network: int, status: int
) -> None:
    python = tree / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON.format(together, nodes, alone, network))
    python.chmod(0o755)
    assert run(tree, PATH=f"{python.parent}:{os.environ['PATH']}").returncode == status
    for call in (tree / "calls").read_text().splitlines():
        assert call.endswith(" -k of these") and re.search(r" -n \d+ ", call)
