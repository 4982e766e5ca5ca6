"""A simulated bimanual robot behind a ROS 2 driver node, its expert and its small policy."""
