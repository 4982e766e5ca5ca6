"""rtc_controller and rtc_link, beside your own driver: the robot of two machines."""

from launch import LaunchDescription

from rtc_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch rtc_ros robot.launch.py params_file:=…` starts."""
    return describe(simulated=False, machine="robot")
