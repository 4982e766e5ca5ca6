"""Training batches from demonstrations: frames, and the expert's next H targets for each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.sim.demonstrations import Demonstrations

HORIZON = 50
"""H, the rows of a chunk."""
_STD_FLOOR = 0.05
"""Radians: a joint that hardly moves in the data must not turn millimetres into infinities."""
_HELD_OUT = 0.03
"""Share of the episodes that is only used to report how well the cube is seen."""


class Batches:
    """Draws training batches; states and actions are normalised as the policy's processor does."""

    def __init__(self, data: Demonstrations, seed: int) -> None:
        self._data = data
        self._rng = np.random.default_rng(seed)
        if len(data.actions) < 2:
            raise ValueError(f"training needs 2 demonstrations or more, got {len(data.actions)}")
        held_out = data.episodes >= int((1.0 - _HELD_OUT) * len(data.actions))
        self._frames = np.flatnonzero(~held_out)
        self.held_out = np.flatnonzero(held_out)[::3][:400]
        self.stats = {
            compat.STATE: _stats(data.states),
            compat.ACTION: _stats(data.actions.reshape(-1, data.actions.shape[-1])),
        }
        self._cube_mean = data.cubes.mean(0)
        self._cube_std = data.cubes.std(0)

    @property
    def cube_std_m(self) -> np.ndarray:
        """The spread of the cube's positions, float[3] in metres."""
        return self._cube_std

    def draw(self, count: int) -> dict[str, Tensor]:
        """Return ``count`` random frames: image [B, 3, h, w] in 0..1, state, actions, cube."""
        return self.take(self._rng.choice(self._frames, size=count), jitter=True)

    def take(self, frames: np.ndarray, *, jitter: bool = False) -> dict[str, Tensor]:
        """Return the given frames, with ``jitter`` in another brightness and with camera noise."""
        data = self._data
        images = data.images[frames].astype(np.float32) / 255.0
        states = data.states[frames]
        if jitter:
            gain = self._rng.uniform(0.9, 1.1, (len(frames), 1, 1, 1)).astype(np.float32)
            images = images * gain
            images += self._rng.normal(0.0, 0.01, images.shape[:-1] + (1,)).astype(np.float32)
            images = images.clip(0.0, 1.0)
            states = states + self._rng.normal(0.0, 0.005, states.shape).astype(np.float32)
        rows = data.steps[frames, None] + np.arange(HORIZON)
        rows = rows.clip(max=data.actions.shape[1] - 1)
        actions = data.actions[data.episodes[frames, None], rows]
        return {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            "state": torch.from_numpy(self._normalised(states, compat.STATE)),
            "actions": torch.from_numpy(self._normalised(actions, compat.ACTION)),
            "cube": torch.from_numpy((data.cubes[frames] - self._cube_mean) / self._cube_std),
        }

    def _normalised(self, values: np.ndarray, feature: str) -> np.ndarray:
        stats = self.stats[feature]
        return ((values - stats["mean"]) / stats["std"]).astype(np.float32)


def _stats(values: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "mean": values.mean(0).astype(np.float32),
        "std": np.maximum(values.std(0), _STD_FLOOR).astype(np.float32),
        "min": values.min(0).astype(np.float32),
        "max": values.max(0).astype(np.float32),
    }
