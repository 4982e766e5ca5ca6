"""Many episodes of a level, stepped together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from kinetix.environment.env import KinetixEnv
from kinetix.environment.spaces import ContinuousActions

from .level import Level
from .pairs import FewerPairs


class _WhatMoves:
    """The observation: of each body that can move x, y, their rates, ω, sine and cosine."""

    def __init__(self, level: Level) -> None:
        self._moving = level.moving

    def hash_key(self) -> str:
        return "what moves"

    def get_obs(self, state: Any) -> jax.Array:
        found = []
        for bodies, which in zip((state.polygon, state.circle), self._moving, strict=True):
            if len(which):
                angle = bodies.rotation[which]
                columns = [
                    bodies.position[which],
                    bodies.velocity[which],
                    jnp.tanh(bodies.angular_velocity[which] / 10.0)[:, None],
                    jnp.sin(angle)[:, None],
                    jnp.cos(angle)[:, None],
                ]
                found.append(jnp.concatenate(columns, axis=1).reshape(-1))
        return jnp.concatenate(found)


class Arena:
    """The level as functions of many states: every episode begins at ``start``.

    Actions are float[n, A] in [-1, 1]; a thruster pushes (1 + action) / 2 of its power.
    ``stock`` takes Kinetix's engine as it is, to compare.
    """

    def __init__(self, level: Level, dense_reward: float = 0.0, stock: bool = False) -> None:
        self.actions = len(level.actions)
        self.params = level.params.replace(dense_reward_scale=dense_reward)
        engine = None if stock else FewerPairs(level)
        self.start = typed(level.state if engine is None else engine.first(level.state))
        self._level = level
        self._env = KinetixEnv(
            action_type=ContinuousActions(self.params, level.static),
            observation_type=_WhatMoves(level),
            static_env_params=level.static,
            physics_engine=engine,
            auto_reset=False,
        )
        self.steps = int(self.params.max_timesteps)

    def begin(self, n: int) -> Any:
        """Return ``n`` first states."""
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), self.start)

    def observe(self, states: Any) -> jax.Array:
        """Return float[n, O]."""
        return jax.vmap(self._env.get_obs)(states)

    def step(self, states: Any, actions: jax.Array) -> tuple[Any, ...]:
        """Return states, observations [n, O], rewards, done, solved [n]."""
        return jax.vmap(self._one)(states, actions)

    def _one(self, state: Any, action: jax.Array) -> tuple[Any, ...]:
        static, level = self._level.static, self._level
        whole = jnp.zeros(static.num_motor_bindings + static.num_thruster_bindings)
        pushed = jnp.where(level.thrusters, 0.5 + 0.5 * action, action)
        whole = whole.at[level.actions].set(pushed)
        key = jax.random.key(0)  # nothing in a step is random
        seen, state, reward, done, info = self._env.step_env(key, state, whole, self.params)
        return state, seen, reward, done, info["GoalR"] & done


def typed(tree: Any) -> Any:
    """Return the tree with types that are not weak, as a step returns them: it compiles once."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), tree)


def where(chosen: jax.Array, one: Any, other: Any) -> Any:
    """Return, for each of n episodes, the state of ``one`` where ``chosen``, else ``other``."""

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)
