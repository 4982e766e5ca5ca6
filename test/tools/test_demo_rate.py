"""`rtc_ros demo --command-rate`: set points, and a simulated robot that takes each of them."""

import pytest
import yaml

from rtc_ros.bringup import config_file, nodes_to_run
from rtc_ros.tools.demo import PERIOD_S, at_command_rate, main


def test_the_controller_sends_and_the_robot_takes_them_at_this_rate():
    nodes = nodes_to_run({}, simulated=True)
    made = {n.executable: n.parameters for n in at_command_rate(nodes, 250.0)}
    before = {n.executable: n.parameters for n in nodes}
    assert made["rtc_controller"] == {**before["rtc_controller"], "command_rate": 250.0}
    assert made["rtc_sim"] == {**before["rtc_sim"], "step_rate_hz": 250.0}
    assert made["rtc_inference"] == before["rtc_inference"]
    assert at_command_rate(nodes, 0.0) == list(nodes)


@pytest.mark.parametrize("rate", ["120", "10", "-50"])
def test_a_rate_that_is_no_multiple_of_the_rows_is_refused_before_anything_runs(
    tmp_path, capsys, rate
):
    assert main(["--command-rate", rate, "--out", str(tmp_path / "out")]) == 2
    assert "multiple of the 50 Hz of the rows" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_its_period_is_the_simulated_robot_s():
    with open(config_file("sim.yaml"), encoding="utf-8") as file:
        assert yaml.safe_load(file)["/**"]["ros__parameters"]["control_period"] == PERIOD_S
