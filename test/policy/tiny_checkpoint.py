"""The tiny checkpoint of these tests: its architecture and its statistics."""

from __future__ import annotations

import numpy as np

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.tiny import TinySpec

SPEC = TinySpec(
    chunk_size=16,
    action_dim=6,
    state_dim=7,
    image_features={"observation.images.top": (64, 64), "observation.images.side": (48, 64)},
    hidden=64,
    layers=4,
    vision_hidden=48,
    vision_layers=1,
    max_action_dim=8,
    max_state_dim=8,
    num_steps=4,
)


def make_stats(action_dim: int, state_dim: int) -> dict[str, dict[str, np.ndarray]]:
    """Statistics in which no two joints are alike."""
    random = np.random.default_rng(5)
    stats = {}
    for feature, size in ((compat.ACTION, action_dim), (compat.STATE, state_dim)):
        mean, std = random.normal(size=size), random.uniform(0.2, 2.0, size=size)
        stats[feature] = {"mean": mean, "std": std}
        for low, high, width in (("min", "max", 3), ("q01", "q99", 2), ("q10", "q90", 1)):
            stats[feature] |= {low: mean - width * std, high: mean + (width + 0.5) * std}
    return stats


STATS = make_stats(SPEC.action_dim, SPEC.state_dim)
