"""`rtc_ros demo` where somebody takes its arms' commands already: nothing is started."""

import pytest
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.tools import demo

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("kind", [Float64MultiArray, JointTrajectory])
def test_a_robot_with_the_same_topics_is_not_moved(ros, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr(demo, "Processes", None)
    driver = Node("some_driver")
    try:
        driver.create_subscription(kind, "right_arm/commands", lambda message: None, 1)
        assert demo.main(["--out", str(tmp_path / "out")]) == 2
    finally:
        driver.destroy_node()
    told = capsys.readouterr().err
    assert "there is a listener to right_arm/commands in ROS domain" in told
    assert "set another ROS_DOMAIN_ID" in told and not (tmp_path / "out").exists()
