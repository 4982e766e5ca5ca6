"""Two robots, each with a network of its own, one GPU machine: each moves by its own chunks."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUIET, networked, undisturbed

from rtc_ros.running.network import inside

# Alone: eight nodes and two judges are this machine's whole load.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone, pytest.mark.network]
NAMES = ("left", "right")
_SECONDS = 4.0


@contextlib.contextmanager
def robot(network, folder, name):
    """Start a robot; it goes with the block."""
    (folder / name).mkdir()
    # Of one GPU machine: both robots' inferences meet in one /dev/shm.
    (folder / "gpu").mkdir(exist_ok=True)
    (folder / name / "gpu").symlink_to(folder / "gpu")
    words = [str(Path(__file__).parent / "robot_apart.py"), name, str(folder / name),
             network.path(name), network.path("gpu")]  # fmt: skip
    with inside(network.path(name)):
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        try:
            process.communicate("\n", timeout=60)
        finally:
            process.kill()
            process.wait()


def test_two_robots_on_one_gpu_machine_move_each_by_its_own_chunks(folder):
    with undisturbed(), networked([*NAMES, "gpu"]) as network, contextlib.ExitStack() as stack:
        network.set(**{**QUIET, "jitter_s": 0.005, "loss": 0.01})
        robots = []
        for name in NAMES:
            robots.append(stack.enter_context(robot(network, folder, name)))
            assert robots[-1].stdout.readline() == "moving\n"
        time.sleep(_SECONDS)
        for each in robots:
            each.stdin.write("\n")
            each.stdin.flush()
        told = [json.loads(each.stdout.readline()) for each in robots]
    for own, other in zip(told, reversed(told), strict=True):
        assert own["executed"] > 50  # whatever else the machine does
        assert own["ran"] and set(own["ran"]) <= set(own["published"])
        assert not set(own["ran"]) & set(other["ran"])
        assert own["refused"] == []
