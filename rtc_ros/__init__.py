"""Real-Time Chunking (arXiv 2506.07339) for flow policies (SmolVLA, pi0, pi0.5) on ROS 2."""

__version__ = "0.1.0"
