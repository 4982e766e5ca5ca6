"""The two parts of `make test`: together they are all tests, and each of these is run once."""

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

@pytest.mark.alone
@pytest.mark.parametrize("i", range(2))
def test_by_itself(i, request, figure):
    note(request.node.nodeid)
    figure("as it was")
"""

PYTHON = """#!/bin/sh
case "$*" in *--part=together*) echo "$@" >>calls; exit {};; *--part=alone*) exit {};; esac
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
    assert "12 passed" in done.stdout and "4 passed, 12 deselected" in done.stdout
    notes = [line.split() for line in (tree / "notes").read_text().splitlines()]
    ran = [note[0] for note in notes]
    assert len(ran) == len(set(ran)) == 16, "that is what pytest collects: both files' 6 and 2"
    assert all("beside_others" in name for name in ran[:12]), "one part after the other"
    times = [(float(begun), float(ended)) for _, _, begun, ended, *_ in notes]
    assert all(a[1] <= b[0] for a, b in zip(times[12:], times[13:], strict=False))
    assert done.stdout.count(": as it was") == 4
    # Two workers and the process of the other part: nothing of theirs is shared, nor stays.
    corners = {tuple(note[4:]) for note in notes}
    assert len({note[1] for note in notes}) == len(corners) == 3
    assert all(len(set(column)) == 3 for column in zip(*corners, strict=True))
    assert not [f for corner in corners for f in corner[1:] if Path(f).exists()]


@pytest.mark.parametrize(
    ("together", "alone", "status"),
    [
        (0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1),
        (5, 0, 0), (0, 5, 0), (5, 5, 5), (1, 5, 1), (5, 1, 1),  # 5: no tests in this part
        (2, 0, 2), (4, 4, 4), (0, 2, 2), (0, 3, 3),
    ],
)  # fmt: skip
def test_the_parts_exit_statuses_are_one(
    tree: Path, together: int, alone: int, status: int
) -> None:
    python = tree / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON.format(together, alone))
    python.chmod(0o755)
    assert run(tree, PATH=f"{python.parent}:{os.environ['PATH']}").returncode == status
    (call,) = (tree / "calls").read_text().splitlines()
    assert call.endswith(" -k of these") and re.search(r" -n \d+ ", call)
