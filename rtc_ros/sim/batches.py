"""Training batches from recorded data sets: frames, and the expert's plan for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.sim.demonstrations import ACTION, CUBE, IMAGE, PLAN, STATE
from rtc_ros.sim.robot import CUBE_HALF_M
from rtc_ros.sim.tasks import PASS, TASKS

_STD_FLOOR = 0.05
"""Radians: a joint that hardly moves in the data must not turn millimetres into infinities."""
_HELD_OUT = 0.03
"""Share of the episodes that is only used to report how well the cube is seen."""
_REACHING_WEIGHT = 2.0
"""How often a frame is drawn in which the hand reaches for the cube, to one of the others."""


@dataclass(frozen=True)
class Frames:
    """N frames: uint8 images[N, h, w, 3], float32 states[N, A], actions[N, A], plans[N, H, A],
    cubes[N, 3] in metres, and of each its episode and the index of its sentence in TASKS.
    """  # noqa: D205

    images: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    plans: np.ndarray
    cubes: np.ndarray
    episodes: np.ndarray
    tasks: np.ndarray

    @classmethod
    def load(cls, folders: Sequence[Path]) -> Frames:
        """Read data sets that ``sim record`` wrote; their episodes are counted through.

        Raises FileNotFoundError or ValueError for a folder that is none of those, ImportError
        where LeRobot came without data sets.
        """
        from rtc_ros.policy.lerobot_data import read_columns

        parts: list[list[np.ndarray]] = []
        count = 0
        for folder in folders:
            columns, sentences = read_columns(folder, (IMAGE, STATE, ACTION, PLAN, CUBE))
            unknown = set(sentences) - set(TASKS)
            if unknown:
                raise ValueError(f"{folder} has other tasks than {TASKS}: {sorted(unknown)}")
            episodes = columns["episode_index"] + count
            count = int(episodes.max()) + 1
            tasks = np.array([TASKS.index(sentence) for sentence in sentences])
            names = (IMAGE, STATE, ACTION, PLAN, CUBE)
            parts.append([*(columns[name] for name in names), episodes, tasks])
        joined = (p[0] if len(p) == 1 else np.concatenate(p) for p in zip(*parts, strict=True))
        return cls(*joined)

    def first(self, episodes: int) -> Frames:
        """Return the frames of the first ``episodes`` episodes, all where there are fewer."""
        chosen = self.episodes < episodes
        return Frames(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def episode_count(self) -> int:
        """How many episodes there are."""
        return int(self.episodes.max()) + 1


class Batches:
    """Draws training batches; states and actions are normalised as the policy's processor does."""

    def __init__(self, data: Frames, seed: int, device: str = "cpu") -> None:
        self._data, self._device = data, device
        self._rng = np.random.default_rng(seed)
        if data.episode_count < 2:
            raise ValueError(f"training needs 2 demonstrations or more, got {data.episode_count}")
        held_out = data.episodes >= int((1.0 - _HELD_OUT) * data.episode_count)
        self._frames = np.flatnonzero(~held_out)
        self.held_out = np.flatnonzero(held_out)[::3][:400]
        reaching = (data.tasks == TASKS.index(PASS)) & (data.cubes[:, 2] < 1.5 * CUBE_HALF_M)
        weights = np.where(reaching, _REACHING_WEIGHT, 1.0)[self._frames]
        self._cumulated = np.cumsum(weights)
        self.stats = {compat.STATE: _stats(data.states), compat.ACTION: _stats(data.actions)}
        self._cube_mean = data.cubes.mean(0)
        self._cube_std = data.cubes.std(0)

    @property
    def cube_std_m(self) -> np.ndarray:
        """The spread of the cube's positions, float[3] in metres."""
        return self._cube_std

    def state(self) -> dict[str, Any]:
        """Return the state of the random draws, for ``restore``."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on drawing where ``state`` was taken."""
        self._rng.bit_generator.state = state

    def draw(self, count: int) -> dict[str, Tensor]:
        """Return random frames: image [B, 3, h, w] in 0..1, state, actions, cube, task."""
        at = self._rng.random(count) * self._cumulated[-1]
        return self.take(self._frames[np.searchsorted(self._cumulated, at)], jitter=True)

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
        batch = {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            "state": torch.from_numpy(self._normalised(states, compat.STATE)),
            "actions": torch.from_numpy(self._normalised(data.plans[frames], compat.ACTION)),
            "cube": torch.from_numpy((data.cubes[frames] - self._cube_mean) / self._cube_std),
            "task": torch.from_numpy(data.tasks[frames]),
        }
        return {name: value.to(self._device) for name, value in batch.items()}

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
