"""Real-Time Chunking (arXiv 2506.07339) for SmolVLA policies on ROS 2."""

__version__ = "0.1.0"
