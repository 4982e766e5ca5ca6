"""A level, with nothing in it but what is there.

A file has room for 12 polygons, 4 circles, 6 joints and 2 thrusters, and each place costs time
whether it is used or not. Measured on ``h17_unicycle``: see docs/kinetix.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax2d.engine import calculate_collision_matrix, get_empty_collision_manifolds
from kinetix.util.saving import load_from_json_file

FRAME_SKIP = 2
_WALLS = 4
"""The first polygons of every level."""


@dataclass(frozen=True, eq=False)
class Level:
    """A level's first state, sizes and parameters (Kinetix's), and where its actions go.

    ``actions`` int[A] are the places among Kinetix's bindings (motors, then thrusters) that the
    level uses; ``thrusters`` bool[A] says which of them push in [0, 1]. ``moving`` are the indices
    of the (polygons, circles) that can move.
    """

    state: Any
    static: Any
    params: Any
    batches: tuple[int, int, int]
    actions: np.ndarray
    thrusters: np.ndarray
    moving: tuple[np.ndarray, np.ndarray]


def load(name: str) -> Level:
    """Load a level by the path of its file, or by name from those that come with Kinetix."""
    path = Path(name)
    given = str(path.resolve()) if path.suffix == ".json" else f"l/{name}"
    state, static, params = load_from_json_file(given)
    whole = static.replace(frame_skip=FRAME_SKIP)
    state, static = _trimmed(state, whole)
    joints, thrusters = state.joint, state.thruster
    driven = np.asarray(joints.active & joints.motor_on & ~state.motor_auto)
    motors = np.unique(np.asarray(state.motor_bindings)[driven])
    pushes = np.unique(np.asarray(state.thruster_bindings)[np.asarray(thrusters.active)])
    moving = [
        np.flatnonzero(np.asarray(b.active & ((b.inverse_mass > 0) | (b.inverse_inertia > 0))))
        for b in (state.polygon, state.circle)
    ]
    return Level(
        state,
        static,
        params,
        _solver_batches(whole),
        np.concatenate([motors, pushes + static.num_motor_bindings]),
        np.arange(len(motors) + len(pushes)) >= len(motors),
        (moving[0], moving[1]),
    )


def _solver_batches(static: Any) -> tuple[int, int, int]:
    """Return in how many turns the solver takes the contacts of the file's own sizes."""
    p, c, w = static.num_polygons, static.num_circles, static.num_static_fixated_polys
    pairs = (p * (p - 1) // 2 - w * (w - 1) // 2, p * c, c * (c - 1) // 2)
    rr, cr, cc = (-(-n // static.solver_batch_size) for n in pairs)
    return rr, cr, cc


def _trimmed(state: Any, static: Any) -> tuple[Any, Any]:
    """Leave out what isn't active, and renumber what refers to what is left."""
    polygons = _used(state.polygon.active, first=_WALLS)
    circles = _used(state.circle.active, least=2)  # the engine can't be built with fewer
    joints, thrusters = _used(state.joint.active, least=1), _used(state.thruster.active, least=1)
    number = np.zeros(static.num_polygons + static.num_circles, np.int32)
    number[polygons] = np.arange(len(polygons))
    number[static.num_polygons + circles] = len(polygons) + np.arange(len(circles))
    static = static.replace(
        num_polygons=len(polygons),
        num_circles=len(circles),
        num_joints=len(joints),
        num_thrusters=len(thrusters),
    )

    def of(kept: np.ndarray, tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x)[kept], tree)

    joint, thruster = of(joints, state.joint), of(thrusters, state.thruster)
    joint = joint.replace(
        a_index=jnp.asarray(number[joint.a_index]), b_index=jnp.asarray(number[joint.b_index])
    )
    rr, cr, cc = get_empty_collision_manifolds(static)
    return state.replace(
        polygon=of(polygons, state.polygon),
        circle=of(circles, state.circle),
        joint=joint,
        thruster=thruster.replace(object_index=jnp.asarray(number[thruster.object_index])),
        collision_matrix=calculate_collision_matrix(static, joint),
        acc_rr_manifolds=rr,
        acc_cr_manifolds=cr,
        acc_cc_manifolds=cc,
        thruster_bindings=state.thruster_bindings[thrusters],
        motor_bindings=state.motor_bindings[joints],
        motor_auto=state.motor_auto[joints],
        polygon_shape_roles=state.polygon_shape_roles[polygons],
        circle_shape_roles=state.circle_shape_roles[circles],
        polygon_highlighted=state.polygon_highlighted[polygons],
        circle_highlighted=state.circle_highlighted[circles],
        polygon_densities=state.polygon_densities[polygons],
        circle_densities=state.circle_densities[circles],
        # Python scalars in the file's state.
        timestep=jnp.asarray(state.timestep, jnp.int32),
        last_distance=jnp.asarray(state.last_distance, jnp.float32),
    ), static


def _used(active: Any, first: int = 0, least: int = 0) -> np.ndarray:
    """Return the indices of what is active, of the ``first``, and of ``least`` in all."""
    used = np.array(active)
    used[:first] = True
    used[np.flatnonzero(~used)[: max(0, least - int(used.sum()))]] = True
    return np.flatnonzero(used)
