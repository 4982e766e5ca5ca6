"""rtc_inference and rtc_link_gpu: the GPU machine of two."""

from launch import LaunchDescription

from rtc_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Return what `ros2 launch rtc_ros gpu.launch.py params_file:=…` starts."""
    return describe(simulated=False, machine="gpu")
