"""Kinetix's physics over the pairs of bodies that can matter, and no others.

Most pairs never touch: walls and walls, bodies of one joint, modes of collision that let each
other pass. The stock engine looks at each of them four times in a step.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax2d import engine as stock
from jax2d.engine import PhysicsEngine

from .level import Level

_GOAL, _RED = 2, 3
"""Products of the roles of two bodies whose contact ends an episode."""


class FewerPairs(PhysicsEngine):
    """The stock engine, made for one level's pairs, its contacts solved in as many turns."""

    def __init__(self, level: Level) -> None:
        super().__init__(level.static)
        state, polygons = level.state, level.static.num_polygons
        mass = np.concatenate([state.polygon.inverse_mass, state.circle.inverse_mass])
        active = np.concatenate([state.polygon.active, state.circle.active])
        mode = np.concatenate([state.polygon.collision_mode, state.circle.collision_mode])
        role = np.concatenate([state.polygon_shape_roles, state.circle_shape_roles])
        touches = np.asarray(state.collision_matrix)

        def kept(pairs: Any, first: int, second: int) -> np.ndarray:
            pairs = np.asarray(pairs)
            a, b = pairs[:, 0] + first, pairs[:, 1] + second
            apart = (mode[a] != 2) & (mode[b] != 2) & (mode[a] * mode[b] == 0)
            moves = touches[a, b] & ~apart & ((mass[a] > 0) | (mass[b] > 0))
            # Reward looks also at bodies that pass through each other.
            decides = np.isin(role[a] * role[b], (_GOAL, _RED))
            found = np.flatnonzero(active[a] & active[b] & (moves | decides))
            return found if len(found) else np.zeros(1, int)  # it can't be built with none

        cc, cr, rr = stock.get_pairwise_interaction_indices(level.static)[3:]
        self.kept = kept(rr, 0, 0), kept(cr, polygons, 0), kept(cc, polygons, polygons)
        chosen = [pairs[which] for pairs, which in zip((rr, cr, cc), self.kept, strict=True)]
        self.poly_poly_pairs, self.circle_poly_pairs, self.circle_circle_pairs = chosen
        resolvers, warm = [], []
        for pairs, turns, kinds in zip(
            chosen,
            level.batches,
            ((True, True), (False, True), (False, False)),
            strict=True,
        ):
            count = len(pairs)
            size = -(-count // turns)
            resolvers.append(
                stock.make_impulse_resolver_fn(
                    level.static, *kinds, count, turns, size, turns * size, pairs
                )
            )
            warm.append(stock.make_impulse_warm_starting_fn(level.static, *kinds, count, pairs))
        self.rr_fn, self.cr_fn, self.cc_fn = resolvers
        self.ws_rr_fn, self.ws_cr_fn, self.ws_cc_fn = warm

    def first(self, state: Any) -> Any:
        """Return a state of the level with contacts for these pairs alone."""
        rr, cr, cc = (
            jax.tree.map(lambda x, k=k: jnp.asarray(x)[k], manifolds)
            for manifolds, k in zip(
                (state.acc_rr_manifolds, state.acc_cr_manifolds, state.acc_cc_manifolds),
                self.kept,
                strict=True,
            )
        )
        return state.replace(acc_rr_manifolds=rr, acc_cr_manifolds=cr, acc_cc_manifolds=cc)
