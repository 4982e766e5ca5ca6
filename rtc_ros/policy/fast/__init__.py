"""SmolVLA's inference on the loaded weights, without the work that LeRobot's code repeats."""
