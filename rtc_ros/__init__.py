"""Real-Time Chunking (arXiv 2506.07339) for SmolVLA policies on ROS 2."""

from rtc_ros import early_signals

__version__ = "0.1.0"

early_signals.take()
