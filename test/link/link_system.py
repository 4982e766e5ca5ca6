"""The fault tests' system on two machines: the arm and rtc_controller here, rtc_inference there.

Each has a network namespace and a folder for its shared memory; between them is the link.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_system import COMMON, INFERENCE, FaultSystem

from rtc_ros.running.network import MachinesNetwork, inside

GPU = "gpu"
LINK: dict[str, Any] = {
    **{name: COMMON[name] for name in ("joints", "control_period", "handoff_name")},
    "cameras": ["top"],
    "camera.top.topic": "camera/top",
}
# What is tested is the link; on a busy machine joint states and images may be late.
PATIENT: dict[str, Any] = {"joint_state_timeout": 2.0}
CONTROLLER = PATIENT
THERE = ("rtc_inference", "rtc_link_gpu")
SEEN: dict[str, Any] = {
    "camera.top.topic": "rtc_link/image/top",
    "camera.top.transport": "compressed",
    "camera_timeout": 1.0,
}


class LinkSystem(FaultSystem):
    """What FaultSystem is, divided; ``machine`` is where the robot's nodes run."""

    def __init__(self, network: MachinesNetwork, folder: Path, machine: str = "robot",
                 namespace: str = "", gpu: str = GPU) -> None:  # fmt: skip
        self.network, self.machine, self.gpu = network, machine, gpu
        folder.mkdir(exist_ok=True)
        for each in (machine, gpu):
            (folder / each).mkdir(exist_ok=True)
        with inside(network.path(machine)):
            super().__init__(folder, namespace=namespace, controller=CONTROLLER)

    def place(self, what: str) -> str:
        """Return the machine that a node runs on."""
        return self.gpu if what in THERE else self.machine

    def start(self, what: str, **changes: Any) -> None:
        """Start a node on its machine."""
        given = {
            "rtc_controller": self.parameters,
            "rtc_inference": {**INFERENCE, **PATIENT, **SEEN},
        }.get(what, LINK)
        place = self.place(what)
        with self.on(place):
            self._launch(what, {**given, **changes}, RTC_ROS_SHM_DIR=str(self.folder / place))

    @contextlib.contextmanager
    def on(self, machine: str) -> Iterator[None]:
        """Be on a machine, with what is started meanwhile."""
        with inside(self.network.path(machine)):
            yield

    def up(self) -> None:
        """Start all four and wait for motion."""
        for what in ("rtc_controller", "rtc_link", "rtc_link_gpu", "rtc_inference"):
            self.start(what)
        self.until_moving(60.0)

