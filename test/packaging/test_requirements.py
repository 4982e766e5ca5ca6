"""requirements/: one LeRobot and one ROS 2 for each Python, and none that takes a user's away."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PYTHONS = ("3.10", "3.11", "3.12")
LISTS = ("python", "ros-wheels", "test")
DISTRIBUTIONS = {"3.10": "kilted", "3.11": "kilted", "3.12": "jazzy"}
MESSAGES = ("diagnostic", "lifecycle", "rosgraph", "sensor", "std", "trajectory")


def lines(repo: Path, name: str) -> list[Requirement]:
    """Return what a file of requirements/ lists, for every Python."""
    text = (repo / "requirements" / f"{name}.txt").read_text()
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [Requirement(line) for line in bare if line]


def asked(repo: Path, python: str, *names: str) -> dict[str, Requirement]:
    """Return what the files ask of one Python, by package; none is asked for twice."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    found = [
        line
        for name in names or LISTS
        for line in lines(repo, name)
        if line.marker is None or line.marker.evaluate(environment)
    ]
    by_name = {line.name: line for line in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.mark.parametrize(
    ("python", "extras", "fit", "others"),
    [
        ("3.10", {"smolvla"}, ["0.4.4"], ["0.4.3", "0.5.0"]),
        ("3.11", {"smolvla"}, ["0.4.4"], ["0.4.3", "0.5.0"]),
        # 0.6's smolvla alone has no `datasets`, which `sim record` and `sim train` need.
        (
            "3.12",
            {"smolvla", "dataset"},
            ["0.5.0", "0.5.1", "0.6.0", "0.6.1"],
            ["0.4.4", "0.7.0"],
        ),
    ],
)
def test_each_python_gets_a_lerobot_that_it_can_run_and_keeps_the_one_it_has(
    repo: Path, python: str, extras: set[str], fit: list[str], others: list[str]
) -> None:
    line = asked(repo, python)["lerobot"]
    assert line.extras == extras
    assert [v for v in fit + others if v in line.specifier] == fit


def test_the_transformers_line_is_the_one_that_lerobot_of_this_python_wants(repo: Path) -> None:
    for python in PYTHONS:
        line = asked(repo, python)["transformers"].specifier
        assert ("4.57.6" in line, "5.5.4" in line) == (python < "3.12", python >= "3.12")


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_gets_one_distribution_of_ros_as_a_whole(repo: Path, python: str) -> None:
    prefix = f"ros-{DISTRIBUTIONS[python]}"
    wanted = {f"{prefix}-{m}-msgs" for m in MESSAGES}
    wanted |= {f"{prefix}-rclpy", f"{prefix}-rmw-fastrtps-cpp", f"{prefix}-std-srvs"}
    assert set(asked(repo, python, "ros-wheels")) == wanted


@pytest.mark.parametrize("name", LISTS)
def test_every_line_is_for_some_python(repo: Path, name: str) -> None:
    used = {str(r) for python in PYTHONS for r in asked(repo, python, name).values()}
    assert used == {str(line) for line in lines(repo, name)}


def here(prefix: Path) -> tuple[str, ...]:
    """Return the files that are for this environment."""
    # A workspace has ROS 2 of its distribution's packages.
    return LISTS if (prefix / "share" / "ament_index").is_dir() else ("python", "test")


def test_what_is_installed_here_is_what_is_asked_for(repo: Path) -> None:
    python = ".".join(map(str, sys.version_info[:2]))
    wrong = {}
    for name, line in asked(repo, python, *here(Path(sys.prefix))).items():
        found = metadata.version(name)
        if not line.specifier.contains(found, prereleases=True):
            wrong[name] = f"{found} is not {line.specifier}"
    assert not wrong


def test_pip_leaves_a_lerobot_that_is_in_range_where_it_is(repo: Path) -> None:
    files = [f"--requirement=requirements/{name}.txt" for name in here(Path(sys.prefix))]
    pip = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--no-index"]
    done = subprocess.run(
        [*pip, *files], cwd=repo, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "already satisfied: lerobot" in done.stdout
    assert "Would install" not in done.stdout
