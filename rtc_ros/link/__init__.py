"""The handoff between two machines: the two segments, mirrored over ROS 2's middleware."""
