"""The algorithm: chunks, mask, delay, Algorithm 1's two halves, limits. No ROS, no torch, no clock."""
