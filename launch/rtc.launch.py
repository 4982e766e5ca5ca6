"""rtc_inference and rtc_controller, beside your own driver."""

from launch import LaunchDescription

from rtc_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch rtc_ros rtc.launch.py params_file:=… policy_path:=…` starts."""
    return describe(simulated=False)
