"""A transition that fails half way: the lifecycle node is unconfigured again, and can go on."""

import pytest
import rclpy
from lifecycle_msgs.msg import State
from pair_doubles import PAIRS, write_checkpoint
from rclpy.lifecycle import TransitionCallbackReturn

from rtc_ros.bringup import NodeToRun, config_file
from rtc_ros.inference.node import InferenceNode

pytestmark = [pytest.mark.ros, pytest.mark.slow]


class Defective(InferenceNode):
    """Raises in the middle of its first deactivation."""

    defect = True

    def on_deactivate(self, state):
        if self.defect:
            self.defect = False
            raise RuntimeError("planted")
        return super().on_deactivate(state)


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    checkpoint = write_checkpoint(PAIRS["so101"], tmp_path / "checkpoint")
    parameters = {"policy_path": str(checkpoint), "torch_threads": 1, "initial_delay": 1}
    # A name that no other test asks for: of a node in this process some stays in the graph.
    run = NodeToRun("rtc_inference", "defective", (config_file("so101_pair.yaml"),), parameters)
    rclpy.init(args=run.ros_arguments())
    made = Defective()
    yield made
    made.close()
    made.destroy_node()
    rclpy.try_shutdown()


def test_it_gives_back_what_it_holds_and_can_be_configured_again(node):
    state = lambda: node._state_machine.current_state[0]  # noqa: E731
    assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
    assert node.trigger_deactivate() is TransitionCallbackReturn.ERROR
    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    report = node._diagnostics._parts["inference"]()
    assert "failed half way" in report.message
    # No ring and no policy are left: both can be made anew.
    assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
    assert state() == State.PRIMARY_STATE_ACTIVE
    assert node.trigger_deactivate() is TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() is TransitionCallbackReturn.SUCCESS
    assert state() == State.PRIMARY_STATE_UNCONFIGURED
