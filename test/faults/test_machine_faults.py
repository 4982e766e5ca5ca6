"""Clocks that jump or stand still, and shared memory that is full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fault_system import SECOND

# Alone: a fault that another test makes isn't the one that is asked for.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


def test_ros_time_that_stands_still_and_jumps_back(fresh, figure):
    fresh.clock_ns = 100 * 10**9
    fresh.watcher.by_stamp = False
    fresh.start("rtc_controller", use_sim_time=True)
    fresh.start("rtc_inference", use_sim_time=True)
    fresh.until_moving(60.0)

    # A simulator that is held up for a moment: its drivers don't notice, nor does motion.
    for _ in range(5):
        fresh.clock_runs = False
        time.sleep(0.34)
        fresh.clock_runs = True
        time.sleep(0.3)
    assert fresh.watcher.since(time.time_ns() - 10**8)[-1].executes

    fresh.clock_runs = False
    time.sleep(0.3)
    paused = time.time_ns()
    time.sleep(0.5)
    assert len(fresh.watcher.since(paused)) <= 1, "simulated time stands still and ticks go on"
    fresh.until_said("rtc_controller: tick", ": /clock stands still", paused)
    fresh.clock_runs = True
    after_pause = fresh.until_moving()
    assert after_pause <= SECOND

    fresh.clock_ns -= 50 * 10**9
    after_jump = fresh.until_moving()
    assert after_jump <= SECOND
    begun = time.time_ns()
    fresh.until(lambda: sum(t.executes for t in fresh.watcher.since(begun)) > 20, "steady motion")
    fresh.check()
    figure(f"moves {after_pause} ticks after the pause, {after_jump} ticks after 50 s back")


@contextlib.contextmanager
def small_memory(folder: Path, kib: int):
    """Mount a tmpfs of this size, or skip where that isn't allowed."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is the superuser's right")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_shared_memory_is_named_and_room_is_enough(fresh, figure, tmp_path, monkeypatch):
    with small_memory(tmp_path / "small", 256) as folder:
        monkeypatch.setenv("RTC_ROS_SHM_DIR", str(folder))
        filler = folder / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(1 << 20))
        fresh.start("rtc_controller")
        assert fresh.running["rtc_controller"].wait(timeout=60) == 2
        log = (fresh.folder / "rtc_controller.log").read_text()
        assert "No space left on device" in log and "Traceback" not in log
        begun = time.time_ns()
        fresh.start("rtc_inference")
        fresh.until_said("rtc_inference: inference", "No space left on device", begun)
        fresh.signal("rtc_inference", signal.SIGINT)
        assert fresh.running["rtc_inference"].wait(timeout=60) == 0

        filler.unlink()
        fresh.up()
        # Full again while both run: all pages are there already, so nothing happens.
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(1 << 20))
        begun = time.time_ns()
        fresh.until(lambda: sum(t.executes for t in fresh.watcher.since(begun)) > 50, "motion")
        assert not fresh.disturbed(begun)
        fresh.check()
        fresh.down()
    figure("exit code 2 with a sentence; full while running: nothing happens")
