"""Where the working folder contains a clone named rtc_ros: the package comes from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

INSTALLED = """
import os, sys
from importlib.machinery import PathFinder

class Finder:  # as setuptools' for an editable install: asked when no folder has the name
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "rtc_ros":
            return PathFinder.find_spec(name, [os.path.join({repo!r}, *name.split(".")[:-1])])

sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Finder)
"""


@pytest.fixture
def above(tmp_path: Path, repo: Path) -> Path:
    """The folder that contains a clone, beside an editable install of it."""
    above = tmp_path / "src"
    above.mkdir()
    (above / "rtc_ros").symlink_to(repo)
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "sitecustomize.py").write_text(INSTALLED.format(repo=str(repo)))
    return above


def python(above: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command from the folder above the clone."""
    environment = {**os.environ, "PYTHONPATH": str(above.parent / "installed"), **more}
    return subprocess.run(
        [sys.executable, *words],
        cwd=above,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.ros
@pytest.mark.slow
def test_nodes_started_above_a_clone_find_the_package(above: Path, tmp_path: Path) -> None:
    script = tmp_path / "rtc_ros_script.py"  # as the installed `rtc_ros`: not in that folder
    script.write_text(
        textwrap.dedent("""
        import sys
        from pathlib import Path
        from rtc_ros.bringup import nodes_to_run
        from rtc_ros.running.processes import Processes
        from rtc_ros.running.robot_client import RobotClient

        with Processes(Path(sys.argv[1])) as processes:
            nodes = nodes_to_run({}, simulated=True)
            processes.start([n for n in nodes if n.executable == "rtc_inference"])
            with RobotClient(processes.check) as robot:
                # The shipped policy lies in the package's folder.
                robot.until(
                    lambda: "horizon" in robot.settings or robot.ready(), "the policy", 100.0
                )
            processes.finish()
        """)
    )
    shared = tmp_path / "shm"
    shared.mkdir()
    done = python(above, str(script), str(tmp_path / "logs"), RTC_ROS_SHM_DIR=str(shared))
    assert (done.returncode, done.stderr) == (0, "")


SHOWN = """
import json, sys
print(json.dumps([__name__, __file__, sys.argv, sys.path]))
"""


@pytest.mark.parametrize("safe", ["", "1"])
def test_a_child_runs_the_package_that_started_it_and_keeps_its_path(
    above: Path, tmp_path: Path, safe: str
) -> None:
    other = tmp_path / "other" / "rtc_ros"  # a package that isn't installed anywhere
    (other / "running").mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "running" / "__init__.py").touch()
    real = Path(__file__).parents[2] / "rtc_ros" / "running" / "child.py"
    (other / "running" / "child.py").write_text(real.read_text())
    (other / "shown.py").write_text(SHOWN)
    words = (str(other / "running" / "child.py"), "rtc_ros.shown", "-x", "y")
    done = python(above, *words, **({"PYTHONSAFEPATH": safe} if safe else {}))
    assert done.returncode == 0, done.stderr
    name, file, argv, path = json.loads(done.stdout)
    assert (name, file, argv) == ("__main__", str(other / "shown.py"), [file, "-x", "y"])
    assert not {"", str(above), str(other.parent), str(other / "running")} & set(path)
    assert str(above.parent / "installed") in path
