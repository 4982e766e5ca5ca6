"""An expert for a level by PPO: small tanh networks, many episodes at once.

Everything that it needs to go on is in its file, so that a training that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .arena import Arena, typed, where

EPISODES = 256
_STEPS = 64
_EPOCHS, _BATCHES = 4, 8
_WIDTH = 64
_CLIP, _LAMBDA = 0.2, 0.95
_LOG_STD = (-2.5, 0.5)
_FEW = 1e-6

PER_UPDATE = EPISODES * _STEPS
"""Environment steps of one update."""


@dataclass(frozen=True)
class Recipe:
    """What differs from level to level: γ, and how much coming nearer is worth."""

    gamma: float = 0.99
    dense_reward: float = 0.5
    noise: float = 0.1
    learning_rate: float = 5e-4


def _layers(key: jax.Array, sizes: list[int], last: float) -> list[dict[str, jax.Array]]:
    made = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        key, ours = jax.random.split(key)
        gain = last if i == len(sizes) - 2 else 2**0.5
        weight = jax.nn.initializers.orthogonal(gain)(ours, (a, b))
        made.append({"weight": weight, "bias": jnp.zeros(b)})
    return made


def _through(layers: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["weight"] + layer["bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def _log_density(mean: jax.Array, log_std: jax.Array, action: jax.Array) -> jax.Array:
    apart = (action - mean) / jnp.exp(log_std)
    return -0.5 * (apart**2 + 2 * log_std + jnp.log(2 * jnp.pi)).sum(-1)


class Training:
    """One expert being trained; ``updates`` says how often it was."""

    def __init__(self, arena: Arena, recipe: Recipe, seed: int) -> None:
        self.arena, self.recipe, self.seed = arena, recipe, seed
        key = jax.random.key(seed)
        key, a, b, c = jax.random.split(key, 4)
        seen = arena.observe(arena.begin(1)).shape[1]
        networks = {
            "actor": _layers(a, [seen, _WIDTH, _WIDTH, arena.actions], 0.01),
            "critic": _layers(b, [seen, _WIDTH, _WIDTH, 1], 1.0),
            "log_std": jnp.full(arena.actions, -0.5),
        }
        self._optimiser = optax.chain(
            optax.clip_by_global_norm(0.5), optax.adam(recipe.learning_rate, eps=1e-5)
        )
        scale = {"mean": jnp.zeros(seen), "square": jnp.ones(seen), "count": jnp.asarray(_FEW)}
        # Not all episodes begin at once, or they would all end at once, too.
        states = arena.begin(EPISODES)
        late = jax.random.randint(c, (EPISODES,), 0, arena.steps)
        states = states.replace(timestep=late.astype(states.timestep.dtype))
        self._kept = typed((networks, self._optimiser.init(networks), scale))
        self._now = (states, arena.observe(states))
        self._key = key
        self.updates = 0
        self._update = jax.jit(self._one_update)

    def run(self) -> Iterator[dict[str, float]]:
        """Update, again and again; yield how the episodes that ended meanwhile went."""
        while True:
            self._key, ours = jax.random.split(self._key)
            self._kept, self._now, told = self._update(self._kept, self._now, ours)
            self.updates += 1
            yield {name: float(value) for name, value in told.items()}

    # -- files -------------------------------------------------------------------------------

    def save(self, path: Path, told: dict[str, float]) -> None:
        """Write all that is needed to go on, and to act."""
        leaves = {f"kept/{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(self._kept))}
        networks, _, scale = self._kept
        acting = {"log_std": np.clip(np.asarray(networks["log_std"]), *_LOG_STD)}
        for i, layer in enumerate(networks["actor"]):
            acting |= {f"{name}_{i}": np.asarray(x) for name, x in layer.items()}
        spread = np.sqrt(np.maximum(scale["square"] - scale["mean"] ** 2, _FEW))
        told = {**told, "updates": self.updates}
        scales = {"observation_mean": scale["mean"], "observation_std": spread}
        part = path.with_suffix(".part.npz")
        arrays: dict[str, Any] = {**told, **scales, **acting, **leaves}
        np.savez(part, **arrays)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a file; episodes begin anew."""
        with np.load(path) as file:
            leaves, shape = jax.tree.flatten(self._kept)
            found = [jnp.asarray(file[f"kept/{i}"]) for i in range(len(leaves))]
            self._kept = jax.tree.unflatten(shape, found)
            self.updates = int(file["updates"])
        self._key = jax.random.fold_in(jax.random.key(self.seed), self.updates)

    # -- the algorithm -----------------------------------------------------------------------

    def _act(self, networks: Any, scale: Any, seen: jax.Array) -> tuple[jax.Array, ...]:
        spread = jnp.sqrt(jnp.maximum(scale["square"] - scale["mean"] ** 2, _FEW))
        x = jnp.clip((seen - scale["mean"]) / spread, -10.0, 10.0)
        log_std = jnp.clip(networks["log_std"], *_LOG_STD)
        value = _through(networks["critic"], x)[..., 0]
        return _through(networks["actor"], x), log_std, value

    def _one_update(self, kept: Any, now: Any, key: jax.Array) -> tuple[Any, Any, Any]:
        networks, moments, scale = kept
        rolled, learnt = jax.random.split(key)
        now, path = self._roll(networks, scale, now, rolled)
        seen = path["seen"]
        last = self._act(networks, scale, now[1])[2]
        better = self._advantages(path, last)
        batch = {**path, "better": better, "return": better + path["value"]}
        batch = {k: v.reshape(PER_UPDATE, *v.shape[2:]) for k, v in batch.items()}

        def epoch(carry: Any, key: jax.Array) -> tuple[Any, None]:
            order = jax.random.permutation(key, PER_UPDATE).reshape(_BATCHES, -1)
            return jax.lax.scan(partial(self._step, scale, batch), carry, order)

        (networks, moments), _ = jax.lax.scan(
            epoch, (networks, moments), jax.random.split(learnt, _EPOCHS)
        )
        ended, solved = path["done"].sum(), path["solved"].sum()
        told = {"ended": ended, "solved": solved, "std": jnp.exp(networks["log_std"]).mean()}
        return (networks, moments, _scaled(scale, seen)), now, told

    def _roll(self, networks: Any, scale: Any, now: Any, key: jax.Array) -> tuple[Any, Any]:
        shape = (EPISODES, self.arena.actions)

        def step(now: Any, key: jax.Array) -> tuple[Any, Any]:
            states, seen = now
            mean, log_std, value = self._act(networks, scale, seen)
            own, outer = jax.random.normal(key, (2, *shape))
            action = mean + jnp.exp(log_std) * own
            done_to = jnp.clip(jnp.clip(action, -1, 1) + self.recipe.noise * outer, -1, 1)
            states, after, reward, done, solved = self.arena.step(states, done_to)
            states = where(done, self.arena.begin(EPISODES), states)
            after = jnp.where(done[:, None], self.arena.observe(self.arena.begin(1)), after)
            told = {
                "seen": seen,
                "action": action,
                "log_density": _log_density(mean, log_std, action),
                "value": value,
                "reward": jnp.nan_to_num(reward),
                "done": done,
                "solved": solved,
            }
            return (states, jnp.nan_to_num(after)), told

        return jax.lax.scan(step, now, jax.random.split(key, _STEPS))

    def _advantages(self, path: Any, last: jax.Array) -> jax.Array:
        gamma = self.recipe.gamma

        def step(carry: Any, at: Any) -> tuple[Any, jax.Array]:
            after, value_after = carry
            on = 1.0 - at["done"]
            apart = at["reward"] + gamma * value_after * on - at["value"]
            better = apart + gamma * _LAMBDA * on * after
            return (better, at["value"]), better

        used = {k: path[k] for k in ("reward", "value", "done")}
        return jax.lax.scan(step, (jnp.zeros_like(last), last), used, reverse=True)[1]

    def _step(self, scale: Any, batch: Any, carry: Any, rows: jax.Array) -> tuple[Any, None]:
        networks, moments = carry
        part = {k: v[rows] for k, v in batch.items()}
        gradient = jax.grad(self._loss)(networks, scale, part)
        change, moments = self._optimiser.update(gradient, moments, networks)
        return (optax.apply_updates(networks, change), moments), None

    def _loss(self, networks: Any, scale: Any, part: Any) -> jax.Array:
        mean, log_std, value = self._act(networks, scale, part["seen"])
        ratio = jnp.exp(_log_density(mean, log_std, part["action"]) - part["log_density"])
        better = part["better"]
        better = (better - better.mean()) / (better.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - _CLIP, 1 + _CLIP)
        actor = -jnp.minimum(ratio * better, clipped * better).mean()
        return actor + 0.25 * ((value - part["return"]) ** 2).mean()


def _scaled(scale: Any, seen: jax.Array) -> Any:
    """Return mean and mean square of what was seen up to now."""
    flat = seen.reshape(-1, seen.shape[-1])
    count = jnp.minimum(scale["count"] + len(flat), 2e6)
    share = jnp.minimum(1.0, len(flat) / count)
    return {
        "mean": scale["mean"] + share * (flat.mean(0) - scale["mean"]),
        "square": scale["square"] + share * ((flat**2).mean(0) - scale["square"]),
        "count": count,
    }
