"""Everything, on the simulated robot: rtc_sim, rtc_inference and rtc_controller."""

from launch import LaunchDescription

from rtc_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch rtc_ros sim.launch.py` starts."""
    return describe(simulated=True)
