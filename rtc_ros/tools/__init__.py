"""What people run by hand: the demo, the continuity report, benchmarks."""
