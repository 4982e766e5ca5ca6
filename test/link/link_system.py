"""The fault tests' system on two machines: the arm and rtc_controller here, rtc_inference there.

Each has a network namespace and a folder for its shared memory; between them is the link.
"""

from __future__ import annotations

import contextlib
import functools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_system import COMMON, INFERENCE, FaultSystem
from sensor_msgs.msg import Image

from rtc_ros.bench.link_cameras import picture
from rtc_ros.bringup import PROFILES, NodeToRun, fast_dds
from rtc_ros.running.network import MachinesNetwork, inside

GPU = "gpu"
CAMERAS = ("top", "left", "right")
LINK: dict[str, Any] = {
    **{name: COMMON[name] for name in ("joints", "control_period", "handoff_name")},
    "cameras": list(CAMERAS),
    **{f"camera.{name}.topic": "camera/top" for name in CAMERAS},
}
# What is tested is the link; on a busy machine joint states and images may be late.
PATIENT: dict[str, Any] = {"joint_state_timeout": 2.0}
CONTROLLER = PATIENT
THERE = ("rtc_inference", "rtc_link_gpu")
SEEN: dict[str, Any] = {
    "cameras": list(CAMERAS),
    **{f"camera.{name}.topic": f"rtc_link/image/{name}" for name in CAMERAS},
    **{f"camera.{name}.transport": "compressed" for name in CAMERAS},
    "camera_timeout": 1.0,
}
LARGE = (480, 640)
_PIXELS = functools.cache(lambda: array("B", picture(0).tobytes()))


class LinkSystem(FaultSystem):
    """What FaultSystem is, divided; ``machine`` is where the robot's nodes run."""

    def __init__(self, network: MachinesNetwork, folder: Path, machine: str = "robot",
                 namespace: str = "", gpu: str = GPU) -> None:  # fmt: skip
        self.network, self.machine, self.gpu = network, machine, gpu
        self._below = f"/{namespace}" if namespace else ""
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
        reliable = {  # as the launch file has it
            f"qos_overrides.{self._below}/rtc_link/image/{name}.subscription.reliability":
            "reliable" for name in CAMERAS
        }  # fmt: skip
        given = {
            "rtc_controller": self.parameters,
            "rtc_inference": {**INFERENCE, **PATIENT, **SEEN, **reliable},
        }.get(what, LINK)
        place = self.place(what)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(PROFILES[fast_dds()], raising=False)  # that is the driver's, this process
            machine = "gpu" if place == self.gpu else "robot"
            environment = NodeToRun(what, self.namespace, machine=machine).environment
        environment |= {
            "RTC_ROS_SHM_DIR": str(self.folder / place), "FAULT_CAMERAS": " ".join(CAMERAS)
        }  # fmt: skip
        with self.on(place):
            self._launch(what, {**given, **changes}, **environment)

    @contextlib.contextmanager
    def on(self, machine: str) -> Iterator[None]:
        """Be on a machine, with what is started meanwhile."""
        with inside(self.network.path(machine)):
            yield

    def image(self) -> Image:
        """Return a black image, or where it is ``LARGE`` one that takes its bytes as JPEG."""
        message = super().image()
        if self.camera_size == LARGE:
            message.data = _PIXELS()
        return message

    def up(self) -> None:
        """Start all four and wait for motion."""
        for what in ("rtc_controller", "rtc_link", "rtc_link_gpu", "rtc_inference"):
            self.start(what)
        self.until_moving(60.0)
