"""rosbag2 recordings, read and written without ROS: bytes to arrays."""
