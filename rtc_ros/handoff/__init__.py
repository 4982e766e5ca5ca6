"""Chunks and the step cursor between two processes, in shared memory. No ROS, no torch."""
