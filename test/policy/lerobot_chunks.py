"""LeRobot's own chunks of the shipped policy, under whatever transformers is installed.

`python test/policy/lerobot_chunks.py` writes chunks/right.npy under transformers 5, shifted.npy
under 4.57: what another line's LeRobot makes is compared with these.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

CHUNKS = Path(__file__).parent / "chunks"
TASK = "pass the cube to the left hand"


def picture(size: int = 96) -> np.ndarray:
    """A picture in which every patch is another, the same on every machine."""
    row, column, colour = np.indices((size, size, 3))
    return ((row * 7 + column * 3 + row * column // 5 + colour * 40) % 256).astype(np.uint8)


def state(size: int = 14) -> np.ndarray:
    return np.linspace(-0.4, 0.6, size)


def noise(horizon: int = 50, size: int = 14) -> torch.Tensor:
    """The same for every version of torch: no generator."""
    return torch.sin(torch.arange(horizon * size, dtype=torch.float64) * 1.7).float().view(
        1, horizon, size
    )


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parent))
    from reference import Reference

    from rtc_ros.policy.checkpoint_files import checkpoint_path
    from rtc_ros.policy.position_lookup import measured
    from rtc_ros.policy.protocol import Observation

    lerobot = Reference(checkpoint_path("package:aloha_cube"))
    seen = Observation(state(), {"observation.images.top": picture()}, TASK)
    chunk = lerobot.chunk(seen, noise())
    CHUNKS.mkdir(exist_ok=True)
    file = CHUNKS / f"{measured(lerobot.policy)}.npy"
    np.save(file, chunk.astype(np.float32))
    print(file, chunk.shape)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
