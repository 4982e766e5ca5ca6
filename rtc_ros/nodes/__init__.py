"""The ROS 2 nodes: parameters, messages, executors. The logic is in core, handoff and policy."""
