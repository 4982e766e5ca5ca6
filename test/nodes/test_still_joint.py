"""A state joint that never moved in the training data keeps rtc_inference from any other pose."""

from __future__ import annotations

import numpy as np
import pytest
from robot_double import JOINTS, RobotDouble
from safetensors.numpy import load_file, save_file
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.bringup import NodeToRun

# Alone: arms must be in time with the policy.
pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


@pytest.fixture
def policy(tmp_path):
    """A tiny policy whose second joint has a standard deviation of 0."""
    from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint

    spec = TinySpec(action_dim=3, state_dim=3, hidden=64, layers=2, vision_layers=1, num_steps=4)
    folder = write_tiny_checkpoint(tmp_path / "still", spec)
    for file in folder.glob("policy_*normalizer*.safetensors"):
        stats = {name: value.copy() for name, value in load_file(file).items()}
        if "observation.state.std" in stats:
            stats["observation.state.std"][1] = 0.0
        save_file(stats, file)
    return folder


def test_no_chunk_is_made_while_it_is_elsewhere(ros, tmp_path, policy, monkeypatch):
    """LeRobot would show the policy 0.01 rad as a million."""
    monkeypatch.setenv("RTC_ROS_SHM_DIR", str(tmp_path))
    robot = RobotDouble(tmp_path)
    try:
        chunks = robot.listen(JointTrajectory, "rtc_inference/chunk")
        camera = robot.node.create_publisher(Image, "camera/top", 5)

        def picture():
            image = Image(height=64, width=64, encoding="rgb8", step=64 * 3)
            image.header.stamp = robot.node.get_clock().now().to_msg()
            image.data = np.full((64, 64, 3), 90, np.uint8).tobytes()
            camera.publish(image)

        robot.node.create_timer(0.05, picture)
        robot.start(makes_chunks=False, max_velocity=[1000.0])
        robot.pose[1] = 0.01
        parameters = {
            "joints": JOINTS,
            "control_period": 0.02,
            "handoff_name": "test",
            "policy_path": str(policy),
            "torch_threads": 1,
            "cameras": ["top"],
            "camera.top.topic": "camera/top",
        }
        robot.processes.start([NodeToRun("rtc_inference", parameters=parameters)])

        def said() -> str:
            status = robot.diagnostics.get("rtc_inference: inference")
            return "" if status is None else status.message

        robot.until(lambda: "b never moved" in said(), "the sentence", 60.0)
        assert "0.01 now" in said() and "1e+06" in said() and "state_offset 0" in said()
        robot.pose[1] = 0.0
        robot.until(lambda: "never moved" not in said(), "the pose of the training")
        assert not chunks
        robot.begin()
        robot.until(lambda: chunks, "a chunk", 60.0)
    finally:
        robot.close()
