"""`rtc_ros bench soak`: what it makes of ticks and memory, and a few seconds of the real thing."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sensor_msgs.msg import JointState

from rtc_ros.bench import soak
from rtc_ros.bench.soak import TickLog, Window, findings, markdown, slopes


def tick(number, at_s, late_us=100.0, reason="execute"):
    message = JointState(name=["rtc/tick", "rtc/lateness_us"], position=[float(number), late_us])
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(at_s * 1e9), 10**9)
    message.header.frame_id = reason
    return message


def test_ticks_that_keep_up_have_no_lag_and_missed_periods_are_counted_as_lag():
    log = TickLog(0.02)
    log.take(tick(0, 0.0))
    log.begin()
    for i in range(100):
        late = f"hold: the joint state of a is 0.{i} s old"
        log.take(tick(i, 5.0 + 0.02 * i, 100.0 + i, "execute" if i % 2 else late))
    assert log.held == {"hold: the joint state of a is … s old": 50}, "one reason, not fifty"
    ticks, executed, late_ms, lag = log.window()
    assert (ticks, executed) == (100, 50) and lag == pytest.approx(0, abs=1e-6)
    assert late_ms == pytest.approx((0.1495, 0.19801, 0.199), abs=1e-4)
    for i in range(100, 150):
        log.take(tick(i, 5.0 + 0.02 * (i + 3)))  # three periods were given up
    ticks, _, late_ms, lag = log.window()
    assert ticks == 50 and lag == pytest.approx(3) and late_ms[2] == pytest.approx(0.1)


def window(minutes, mib, lag=0.0):
    memory = {"rtc_sim": 200.0, "rtc_inference": mib, "rtc_controller": 76.0}
    return Window(60.0 * minutes, 3000, 3000, (0.03, 0.2, 1.0), 0, lag, memory, 2.0)


def test_the_slope_is_that_of_the_second_half_alone():
    warm = [window(5 * i, 500 + 80 * min(i, 3)) for i in range(1, 7)]
    assert slopes(warm)["rtc_inference"] == pytest.approx(0, abs=1e-9)
    leaking = [window(5 * i, 500 + 2 * i) for i in range(1, 7)]
    assert slopes(leaking)["rtc_inference"] == pytest.approx(24.0)
    assert slopes(leaking)["rtc_controller"] == pytest.approx(0, abs=1e-9)
    assert "rtc_inference +24.0" in findings(leaking)[0]
    assert len(findings(leaking)) == 2
    held = [replace(w, held={"hold: starved": 3}) for w in leaking]
    assert findings(held)[2:] == ["18 ticks: hold: starved."]
    assert len(markdown(leaking).splitlines()) == 2 + 6


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.rendering
def test_sigterm_ends_it_with_all_its_nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    command = [sys.executable, "-m", "rtc_ros.tools.cli", "bench", "soak", "--minutes", "5"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    # A node's command line has the namespace, which has the process's own id.
    mine = ["pgrep", "-f", f"__ns:=/rtc_ros_bench_soak_{process.pid}"]
    deadline = time.monotonic() + 60
    while len(subprocess.run(mine, capture_output=True).stdout.split()) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    # Interrupted within an exec(), as when a dataclass is made, Python ends by SIGINT instead: for
    # a shell that is 130, too.
    assert process.returncode in (130, -signal.SIGINT)
    assert "interrupted" in error and "Traceback" not in error
    assert not subprocess.run(mine, capture_output=True).stdout
    assert not list(tmp_path.glob("rtc_ros_own_*")), "its shared memory went with it"


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.rendering
def test_a_short_one_runs_and_says_what_it_saw(tmp_path, capsys):
    out = tmp_path / "soak.json"
    assert soak.main(["--minutes", "0.05", "--windows", "2", "--json", str(out)]) == 0
    seen = json.loads(out.read_text())
    assert len(seen) == 2 and sum(w["executed"] for w in seen) > 50
    assert all(w["memory_mib"]["rtc_inference"] > 100 for w in seen)
    assert "rtc_controller MiB" in capsys.readouterr().out
