"""What makes chunks: sampling over any velocity function, and LeRobot's flow policies by it."""
