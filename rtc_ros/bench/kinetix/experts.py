"""Experts that PPO trained on a level, and demonstrations by a mixture of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from rtc_ros.bench.kinetix.level_world import Level

HORIZON = 8
"""H of the paper's simulated study."""


class Expert:
    """An expert from the file that its training wrote: tanh layers, Gaussian actions.

    Raises:
        ValueError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path) as file:
                self._scale = file["observation_mean"], file["observation_std"]
                layers = sum(name.startswith("weight_") for name in file.files)
                self._layers = [(file[f"weight_{i}"], file[f"bias_{i}"]) for i in range(layers)]
                self._std = np.exp(file["log_std"])
                self.solved, self.steps = float(file["solved"]), int(file["steps"])
                self.whole = bool(file["whole"])
        except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} holds no expert: {error}") from error

    def act(self, seen: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return its actions [n, A], drawn around its mean."""
        mean, std = self._scale
        x = np.clip((seen - mean) / std, -10.0, 10.0)
        for weight, bias in self._layers[:-1]:
            x = np.tanh(x @ weight + bias)
        weight, bias = self._layers[-1]
        action = x @ weight + bias
        return np.asarray(np.clip(action + self._std * random.normal(size=action.shape), -1, 1))


def demonstrate(
    level: Level, experts: list[Expert], episodes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return observations [N, O], the chunks [N, H, A] that begin there, and the share solved.

    Each episode is one expert's from its first step to its last, in turn. Its action is recorded,
    not what the noise makes of it. Episodes that aren't solved stay in: the paper leaves none out.
    Rows after an episode's end are what its expert does where it ended.
    """
    world = level(episodes, seed)
    random = np.random.default_rng(seed + 1)
    whose = np.arange(episodes) % len(experts)
    seen, acted, going = [], [], []
    for step in range(level.steps + HORIZON):
        seen.append(world.observe())
        going.append(~world.ended)
        action = np.empty((episodes, level.action_dim))
        for number, expert in enumerate(experts):
            action[whose == number] = expert.act(seen[-1][whose == number], random)
        acted.append(action)
        if step < level.steps and not world.ended.all():
            world.step(action)
    rows = np.stack(acted, axis=1)
    observed, chunks = [], []
    for step in range(level.steps):
        observed.append(seen[step][going[step]])
        chunks.append(rows[going[step], step : step + HORIZON])
    return np.concatenate(observed), np.concatenate(chunks), float(world.done.mean())
