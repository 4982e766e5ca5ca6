from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")


@pytest.mark.ros
@pytest.mark.slow
def test_a_short_run_measures_every_way_and_leaves_nothing(shm: Path, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"bench.{kind}" for kind in ("json", "markdown")}
    command = [
        sys.executable, "-m", "rtc_ros.bench.handoff", "--calls=50", "--rounds=1",
        "--samples=5", "--priority=0", *(f"--{kind}={path}" for kind, path in files.items()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(files["json"].read_text())
    assert {row["way"] for row in result["visibility_us"]} == {
        "ring", "JointTrajectory", "Float64MultiArray",
    }  # fmt: skip
    for row in result["visibility_us"]:
        assert 1 <= row["seen"] <= row["sent"] == 5, row
        assert 0 < row["transport"]["median"] <= row["whole"]["median"], row
    assert all(0 < us["median"] <= us["p99"] for us in result["cost_us"].values())
    assert files["markdown"].read_text() in done.stdout
    assert list(shm.iterdir()) == [], "the benchmark's segments are still there"
