"""The control tick's process never loads torch or LeRobot, however indirectly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import {module}
heavy = sorted({{"torch", "lerobot", "transformers", "mujoco"}} & set(sys.modules))
sys.exit("{module} loads " + ", ".join(heavy) if heavy else 0)
"""


@pytest.mark.parametrize("module", ["rtc_ros.controller.node", "rtc_ros.handoff.ring"])
def test_module_loads_without_the_model_s_libraries(repo: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)],
        cwd=repo,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
