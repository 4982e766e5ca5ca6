"""A pair's doubles and our nodes beside them, started as the launch file starts them."""

from __future__ import annotations

import dataclasses

from pair_doubles import PAIRS, RunningPair, write_checkpoint
from sensor_msgs.msg import JointState

from rtc_ros.bringup import config_file, nodes_to_run
from rtc_ros.preflight.probe import Probe
from rtc_ros.preflight.setup import read_setup
from rtc_ros.running.processes import Processes
from rtc_ros.running.robot_client import RobotClient
from rtc_ros.tools.preflight import examine

STEPS = 60


class Bench:
    """A pair's doubles, and the nodes as the launch file starts them with its file of config/."""

    def __init__(self, name, folder):
        self.running, self.folder = RunningPair(PAIRS[name]), folder
        self.body = self.running.body
        self.checkpoint = str(write_checkpoint(PAIRS[name], folder / "checkpoint"))
        self.config = config_file(PAIRS[name].config)
        self.processes = Processes(folder / "logs")
        self.client = RobotClient(self.processes.check)
        self.executed = []
        self.client.listen(JointState, "rtc_controller/executed", self.executed.append)

    def preflight(self):
        with Probe() as probe:
            setup = read_setup(self.config, {"policy_path": self.checkpoint}, probe.context)
            return examine(setup, probe, seconds=1.0, patience_s=20.0)

    def start(self, record_cameras=False, **changes):
        values = {
            "params_file": self.config,
            "policy_path": self.checkpoint,
            "record": str(self.folder / "bag"),
            "record_cameras": "true" if record_cameras else "false",
        }
        for node in nodes_to_run(values, simulated=False):
            mine = changes if node.executable == "rtc_controller" else {}
            if node.executable == "rtc_inference":
                # On a machine too busy for H the arm starves; it must not be refused.
                mine = {"torch_threads": 1, "initial_delay": 2}
            parameters = {**node.parameters, **mine}
            self.processes.start([dataclasses.replace(node, parameters=parameters)])
        self.client.until(lambda: "horizon" in self.client.settings, "a loaded policy", 120.0)
        self.client.until(
            lambda: self.client.subscribers("rtc_controller/executed") > 1, "a recorder", 60.0
        )

    def move(self, steps=STEPS):
        since = len(self.executed)
        self.client.start_motion(30.0)
        moved = lambda: [m for m in self.executed[since:] if m.header.frame_id == "execute"]  # noqa: E731
        self.client.until(lambda: len(moved()) >= steps, "motion", 60.0)

    def stop(self):
        self.client.trigger("rtc_controller/stop")
        said = lambda: self.client.said("rtc_controller: motion").get("message", "")  # noqa: E731
        self.client.until(lambda: said().startswith("stopped: call"), "rest", 20.0)

    def close(self):
        codes = self.processes.stop()
        self.client.__exit__(None, None, None)
        self.running.close()
        return codes
