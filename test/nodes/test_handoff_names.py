"""Two robots of one configuration on one machine: their namespaces keep them apart."""

import subprocess
import sys

import pytest

from rtc_ros.bringup import NodeToRun
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.running.processes import Processes

pytestmark = pytest.mark.ros


def test_the_namespace_is_part_of_the_segments_names(robot, tmp_path):
    from robot_double import JOINTS, PARAMETERS, PERIOD_S

    spec = HandoffSpec(tuple(JOINTS), PERIOD_S)
    for namespace in ("left", "right/arms"):
        with Processes(tmp_path / namespace) as processes:
            processes.start([NodeToRun("rtc_controller", namespace, parameters=PARAMETERS)])
            name = f"test.{namespace.replace('/', '.')}.cursor"
            robot.until(lambda n=name: StepCursor.attach_or_none(n, spec), name)


@pytest.mark.parametrize("executable", ["rtc_controller", "rtc_inference"])
def test_a_name_that_can_not_be_a_file_is_refused_with_a_sentence(ros, executable):
    from robot_double import PARAMETERS

    changes = {"handoff_name": "my robot/1", "policy_path": "x", "cameras": ["top"],
               "camera.top.topic": "top"}  # fmt: skip
    node = NodeToRun(executable, parameters={**PARAMETERS, **changes})
    done = subprocess.run(
        [sys.executable, "-m", node.module, *node.ros_arguments()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "parameter handoff_name" in done.stderr and "my robot/1" in done.stderr
