"""The paper's simulated study in its own environment, which runs in a process of its own."""
