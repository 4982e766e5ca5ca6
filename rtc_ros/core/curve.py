"""The curve that a trajectory driver is sent: a uniform cubic B-spline along the rows.

Its acceleration at a knot is the rows' own second difference and linear in between, its velocity a
mixture of their steps, its place one of the rows themselves. So the whole curve keeps every limit
of position, velocity, acceleration and jerk that the rows keep. A curve *through* the rows can't:
rows whose acceleration changes sign at each step, as a policy's noise makes it, need up to three
times their acceleration in between. The price is that a knot lies beside its row by a sixth of
that second difference, at most ``max_bend`` / 6.

A cubic through two knots with their velocities, which is what a joint_trajectory_controller makes
of them, is this very curve. After L. Biagiotti and C. Melchiorri, "Trajectory Planning for
Automatic Machines and Robots", Springer 2008, section 8.10.
"""

from __future__ import annotations

import numpy as np


def knots(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve at the inner ``points`` float64[R + 2, A]: places and velocities.

    Both are float64[R, A], in robot units and robot units / step.
    """
    before, at, after = points[:-2], points[1:-1], points[2:]
    # Differences first: where the points rest, so does the curve, to the bit.
    return at + ((before - at) + (after - at)) / 6.0, (after - before) / 2.0
