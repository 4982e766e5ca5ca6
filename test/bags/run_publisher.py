"""Plays a made-up run over real ROS 2 topics once a recorder listens: run_publisher.py TICKS."""

import sys
import time

import rclpy
from bag_maker import STORE, messages_of
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from rtc_ros.report.example_run import ExampleSettings, example_run

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("run_publisher")
    publishers = {
        "/rtc_controller/executed": node.create_publisher(
            JointState, "/rtc_controller/executed", 500
        ),
        "/rtc_controller/swap": node.create_publisher(
            DiagnosticStatus, "/rtc_controller/swap", 500
        ),
        "/rtc_inference/chunk": node.create_publisher(
            JointTrajectory, "/rtc_inference/chunk", 500
        ),
        "/joint_states": node.create_publisher(
            JointState, "/joint_states", qos_profile_sensor_data
        ),
    }
    settings = node.create_publisher(String, "/rtc_inference/settings", LATCHED)
    settings.publish(String(data='{"s_min": 10}'))
    camera = node.create_publisher(Image, "/camera/top/image_raw", qos_profile_sensor_data)
    wanted = [*publishers.values(), settings, camera]
    deadline = time.monotonic() + 60
    while not all(p.get_subscription_count() for p in wanted):
        if time.monotonic() > deadline:
            sys.exit("nobody subscribed within 60 s")
        time.sleep(0.05)
    for topic, _, message in messages_of(example_run(ExampleSettings(ticks=int(sys.argv[1])))):
        publishers[topic].publish(bytes(STORE.serialize_cdr(message, message.__msgtype__)))
        time.sleep(0.001)
    for k in range(20):
        camera.publish(
            Image(height=48, width=64, encoding="mono8", step=64, data=bytes([12 * k]) * 48 * 64)
        )
        time.sleep(0.02)
    for name in ("executed", "swap"):
        publishers[f"/rtc_controller/{name}"].wait_for_all_acked()
    print("done", flush=True)
    # Stays until its input ends, so that nothing is lost with it.
    sys.stdin.read()
    rclpy.try_shutdown()


main()
