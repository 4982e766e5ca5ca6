"""Two robots, each with its own link, one GPU machine: each gets its own chunks."""

import time

import pytest
from conftest import QUIET, networked, undisturbed
from link_system import LinkSystem

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_two_robots_on_one_gpu_machine_move_each_by_its_own_chunks(tmp_path):
    robots = []
    with undisturbed(), networked(["left", "right", "gpu"]) as network:
        network.set(**{**QUIET, "jitter_s": 0.005, "loss": 0.01})
        try:
            (tmp_path / "left" / "gpu").mkdir(parents=True)
            (tmp_path / "right").mkdir()
            (tmp_path / "right" / "gpu").symlink_to(tmp_path / "left" / "gpu")
            for name in ("left", "right"):
                robots.append(LinkSystem(network, tmp_path / name, name, namespace=name))
                robots[-1].up()
            begun = time.time_ns()
            time.sleep(5.0)
            for robot, other in zip(robots, reversed(robots), strict=True):
                ticks = robot.watcher.since(begun)
                assert sum(tick.executes for tick in ticks) >= 0.95 * len(ticks)
                theirs = {epoch for epoch, _ in list(other.watcher.chunks)}
                assert ticks and not {tick.chunk_epoch for tick in ticks} & theirs
                robot.check()
        finally:
            for robot in robots:
                robot.down()
