"""What makes chunks: guidance over any velocity function, and the SmolVLA adapter."""
