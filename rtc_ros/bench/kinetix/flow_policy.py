"""A flow policy that is a small MLP: observation and noise in, a chunk of actions out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from rtc_ros.core.bid import choose
from rtc_ros.core.strategies import CHOOSE
from rtc_ros.policy.guidance import Velocity, sample
from rtc_ros.policy.protocol import Guidance, PolicySpec

_WIDTH = 192
_TAU_FEATURES = 8


class FlowNetwork(nn.Module):
    """v(A, o, τ) over flattened chunks."""

    def __init__(self, observation_dim: int, action_dim: int, horizon: int) -> None:
        super().__init__()
        self.horizon, self.action_dim = horizon, action_dim
        chunk = horizon * action_dim
        self.condition = nn.Linear(observation_dim, _WIDTH)
        self.time = nn.Linear(2 * _TAU_FEATURES, _WIDTH, bias=False)
        self.chunk = nn.Linear(chunk, _WIDTH, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH) for _ in range(2))
        self.out = nn.Linear(_WIDTH, chunk)

    def forward(self, actions: Tensor, observed: Tensor, tau: Tensor) -> Tensor:
        """Return [B, H, A] for actions [B, H, A], observed [B, O], tau [B, 1]."""
        angles = tau * torch.pi * torch.arange(1, _TAU_FEATURES + 1)
        waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
        x = self.chunk(actions.flatten(1)) + self.condition(observed) + self.time(waves)
        x = nn.functional.silu(x)
        for layer in self.hidden:
            x = x + nn.functional.silu(layer(x))
        return self.out(x).reshape(actions.shape)


@dataclass
class FlowPolicy:
    """A trained network and the scales it was trained in; for many robots at once.

    ``observation_scale`` and ``action_scale`` are (mean, standard deviation). ``weak`` is an
    opponent for ``bid``.
    """

    network: FlowNetwork
    observation_scale: tuple[np.ndarray, np.ndarray]
    action_scale: tuple[np.ndarray, np.ndarray]
    num_steps: int = 5
    weak: FlowPolicy | None = field(default=None, repr=False)

    @property
    def spec(self) -> PolicySpec:
        """The sizes; no memory limit is known for candidates."""
        h, a = self.network.horizon, self.network.action_dim
        return PolicySpec(h, a, len(self.observation_scale[0]), self.num_steps, {})

    @torch.no_grad()
    def infer(
        self,
        observed: np.ndarray,
        guidance: Guidance | None,
        noise: torch.Generator,
        num_steps: int | None = None,
        wanted: np.ndarray | None = None,
    ) -> np.ndarray:
        """Make a chunk for each of B robots: float64[B, H, A].

        ``observed`` is [B, O]; ``guidance.prev`` has the robots in front, [B, R, A]. Only the
        ``wanted`` ones' (bool[B], None: all) are made, the others are zeros; each has the noise
        that it has whichever are wanted.
        """
        steps = num_steps or self.num_steps
        robots = len(observed)
        rows = np.arange(robots) if wanted is None else np.flatnonzero(wanted)
        if guidance is not None:
            guidance = replace(guidance, prev=guidance.prev[rows])
        observed = observed[rows]
        if guidance is not None and guidance.method == CHOOSE:
            count = guidance.candidates
            draws = torch.cat([self._noise(robots, noise)[rows] for _ in range(count)])
            made = self._chosen(observed, guidance, draws, steps)
        else:
            start = self._noise(robots, noise)[rows]
            target = None if guidance is None else self._target(guidance)
            velocity = self._velocity(observed)
            made = self._to_actions(sample(velocity, start, guidance, target, steps))
        chunks = np.zeros((robots, *made.shape[1:]))
        chunks[rows] = made
        return chunks

    def _velocity(self, observed: np.ndarray) -> Velocity:
        mean, std = self.observation_scale
        condition = torch.as_tensor((observed - mean) / std, dtype=torch.float32)

        def velocity(actions: Tensor, tau: float) -> Tensor:
            return self.network(actions, condition, torch.full((len(actions), 1), tau))

        return velocity

    def _noise(self, robots: int, source: torch.Generator) -> Tensor:
        shape = (robots, self.network.horizon, self.network.action_dim)
        return torch.randn(shape, generator=source)

    def _target(self, guidance: Guidance) -> tuple[Tensor, Tensor]:
        mean, std = self.action_scale
        robots, rows, dims = guidance.prev.shape
        prev = torch.zeros(robots, self.network.horizon, dims)
        prev[:, :rows] = torch.as_tensor((guidance.prev - mean) / std, dtype=torch.float32)
        return prev, torch.as_tensor(guidance.weights, dtype=torch.float32)

    def _to_actions(self, actions: Tensor) -> np.ndarray:
        mean, std = self.action_scale
        return actions.numpy().astype(np.float64) * std + mean

    def _chosen(
        self, observed: np.ndarray, guidance: Guidance, draws: Tensor, steps: int
    ) -> np.ndarray:
        count, robots = guidance.candidates, len(observed)
        repeated = np.tile(observed, (count, 1))

        def candidates(policy: FlowPolicy) -> np.ndarray:
            made = sample(policy._velocity(repeated), draws, None, None, steps)
            shaped = policy._to_actions(made).reshape(count, robots, *made.shape[1:])
            return shaped.swapaxes(0, 1)

        chunks = candidates(self)
        weak = None if self.weak is None or not guidance.contrast else candidates(self.weak)
        best = choose(
            chunks, guidance.prev, guidance.weights, self.action_scale[1], weak, guidance.contrast
        )
        return np.asarray(chunks[np.arange(robots), best])
