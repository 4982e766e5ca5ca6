"""The algorithm: chunk, mask, delay, limits, Algorithm 1. No ROS, no torch, no clock."""
