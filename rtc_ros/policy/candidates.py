"""What bidirectional decoding needs of a policy besides the choice: memory, and a fit opponent."""

from __future__ import annotations

from pathlib import Path

import torch

from rtc_ros.policy.protocol import PolicySpec

_COPIES = 3
"""How often a candidate's share of the prefix is in memory: kept, and joined with the chunk's own
keys and values while a layer runs."""


def most_candidates(prefix_bytes: int, device: torch.device) -> int:
    """Return how many chunks fit half of the device's free memory, with a prefix each."""
    cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if cuda else _available()
    return max(1, int(free // 2 // max(1, _COPIES * prefix_bytes)))


def _available() -> int:
    """Return what the machine can still give [bytes]."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 0


def check_weak(strong: PolicySpec, weak: PolicySpec) -> None:
    """Raise ValueError where chunks of ``weak`` can't be compared with those of ``strong``."""
    if (weak.horizon, weak.action_dim) != (strong.horizon, strong.action_dim):
        raise ValueError(
            f"the weak checkpoint makes chunks of {weak.horizon} rows and {weak.action_dim} "
            f"joints, the policy of {strong.horizon} rows and {strong.action_dim} joints: bid "
            "compares them row by row, so weak_policy_path must name one of the same shape"
        )
    if weak.state_dim != strong.state_dim or set(weak.image_features) != set(
        strong.image_features
    ):
        raise ValueError(
            f"the weak checkpoint takes {weak.state_dim} joints and the images "
            f"{', '.join(sorted(weak.image_features))}, the policy {strong.state_dim} and "
            f"{', '.join(sorted(strong.image_features))}: bid gives both the same observation"
        )
