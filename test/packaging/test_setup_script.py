"""scripts/env.sh: the wheels' environment, whatever was sourced before it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def environment(repo: Path, venv: Path, before: dict[str, str]) -> dict[str, str]:
    """Return what a shell has after sourcing env.sh with the variables `before`."""
    done = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && env -0"],
        cwd=repo,
        env={"PATH": "/usr/bin:/bin", "VENV": str(venv), **before},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


def test_a_sourced_distribution_leaves_no_trace(repo: Path, tmp_path: Path) -> None:
    after = environment(
        repo,
        tmp_path,
        {
            "AMENT_PREFIX_PATH": "/ws/install/arm:/opt/ros/jazzy",
            "PYTHONPATH": "/opt/ros/jazzy/lib/python3.12/site-packages",
            "LD_LIBRARY_PATH": "/ws/install/arm/lib:/opt/cuda/lib:/opt/ros/jazzy/lib",
            "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
            "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        },
    )
    assert after["AMENT_PREFIX_PATH"] == str(tmp_path)
    assert after["LD_LIBRARY_PATH"] == "/opt/cuda/lib"
    assert after["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert not {"PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"} & set(after)
    assert after["PATH"].split(":")[0] == f"{tmp_path}/bin"


@pytest.mark.parametrize(
    ("found", "asked", "used"), [("osmesa", None, "osmesa"), ("egl", "osmesa", "osmesa")]
)
def test_the_renderer_is_the_one_asked_for_or_found(
    repo: Path, tmp_path: Path, found: str, asked: str | None, used: str
) -> None:
    (tmp_path / "rtc_gl").write_text(found)
    after = environment(repo, tmp_path, {"MUJOCO_GL": asked} if asked else {})
    assert after["MUJOCO_GL"] == used


def test_discovery_stays_on_this_machine_unless_asked_otherwise(
    repo: Path, tmp_path: Path
) -> None:
    variable = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert environment(repo, tmp_path, {})[variable] == "LOCALHOST"
    assert environment(repo, tmp_path, {variable: "SUBNET"})[variable] == "SUBNET"


def test_a_folder_that_setup_did_not_make_is_never_emptied(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    done = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=repo,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "VENV": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "was not made by this script" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_a_link_to_an_environment_of_another_folder_is_not_set_up_anew(
    repo: Path, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    for stamp in ("rtc_venv", "rtc_wheels"):
        (venv / stamp).write_text(f"stamp {venv}")
    (tmp_path / "link").symlink_to(venv)
    done = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=repo,
        env={"PATH": os.environ["PATH"], "VENV": str(tmp_path / "link")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0 and f"make VENV={venv}" in done.stderr
    assert (venv / "rtc_wheels").read_text() == f"stamp {venv}"


def test_another_python_than_that_of_the_environment_is_refused(
    repo: Path, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("#!/bin/sh\necho 3.9\n")
    (venv / "bin" / "python").chmod(0o755)
    for stamp in ("rtc_venv", "rtc_wheels"):
        (venv / stamp).write_text(f"stamp {venv}")
    done = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=repo,
        env={"PATH": os.environ["PATH"], "VENV": str(venv), "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    asked = ".".join(map(str, sys.version_info[:2]))
    assert "a Python 3.9" in done.stderr and f"a {asked}" in done.stderr
    assert "make VENV=" in done.stderr and "make distclean" in done.stderr
    assert (venv / "rtc_wheels").read_text() == f"stamp {venv}"


@pytest.mark.skipif(
    not (Path(sys.prefix) / "rtc_wheels").is_file(),
    reason="this Python was not set up by scripts/setup.sh",
)
def test_a_second_set_up_sets_nothing_up_again(repo: Path) -> None:
    venv = Path(sys.prefix)
    stamps = [venv / "rtc_wheels", venv / "rtc_package", venv / "rtc_gl"]
    before = [stamp.stat().st_mtime_ns for stamp in stamps]
    done = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=repo,
        env={"PATH": "/usr/bin:/bin", "VENV": str(venv)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [stamp.stat().st_mtime_ns for stamp in stamps] == before


def python_like(path: Path, version: str) -> Path:
    """Write a program that answers for a Python of this version, as far as scripts/ ask it."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def asked_of_pythons(repo: Path, call: str, **environment: str) -> str:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". scripts/pythons.sh && {call}"],
        cwd=repo, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True,
        timeout=60, check=False,
    ).stdout.strip()  # fmt: skip


def test_a_python_is_found_on_the_path_else_the_newest_of_pyenv_s(
    repo: Path, tmp_path: Path
) -> None:
    newest = python_like(tmp_path / "versions" / "9.7.10" / "bin" / "python", "9.7")
    python_like(tmp_path / "versions" / "9.7.9" / "bin" / "python", "9.7")
    root = {"PYENV_ROOT": str(tmp_path)}
    assert asked_of_pythons(repo, "python_of 9.7", **root) == str(newest)
    assert asked_of_pythons(repo, "python_of 9.8", **root) == ""
    first = python_like(tmp_path / "path" / "python9.7", "9.7")
    path = {"PATH": f"{first.parent}:/usr/bin:/bin"}
    assert asked_of_pythons(repo, "python_of 9.7", **root, **path) == str(first)
    first.write_text("#!/bin/sh\nexit 127\n")  # pyenv's own for a version that isn't chosen
    assert asked_of_pythons(repo, "python_of 9.7", **root, **path) == str(newest)


def test_each_python_has_an_environment_of_its_own(repo: Path, tmp_path: Path) -> None:
    one = str(python_like(tmp_path / "one" / "python", "9.7"))
    other = str(python_like(tmp_path / "other" / "python", "9.8"))
    call = f"venv_for {tmp_path}"
    assert asked_of_pythons(repo, call, PYTHON=one) == f"{tmp_path}/.venv"
    python_like(tmp_path / ".venv" / "bin" / "python", "9.7")
    assert asked_of_pythons(repo, call, PYTHON=one) == f"{tmp_path}/.venv"
    assert asked_of_pythons(repo, call) == f"{tmp_path}/.venv"
    assert asked_of_pythons(repo, call, PYTHON=other) == f"{tmp_path}/.venv-9.8"
