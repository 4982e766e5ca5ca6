"""What becomes of a new chunk before it is handed over: averages, and rows that were given.

Between two chunks nothing new is known, so averaging when a chunk is written executes the same
rows as averaging at each step; the player needs no part in it, and row i of the blended chunk
still is for step origin_step + i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtc_ros.core.limits import JointLimits
from rtc_ros.core.strategies import AVERAGE, ENSEMBLE

Prediction = tuple[int, np.ndarray]
"""An origin step, and the rows [H, A] predicted from there, as the policy made them."""


class Blender:
    """Remembers what was predicted for steps to come, and blends it into new chunks."""

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._predictions: list[Prediction] = []

    def blend(
        self,
        how: str | None,
        actions: np.ndarray,
        origin: int,
        epoch: int,
        prev: np.ndarray | None,
        decay: float,
        average_new: float,
        limits: JointLimits | None = None,
    ) -> np.ndarray:
        """Return the chunk to hand over instead of ``actions`` [H, A], which begin at ``origin``.

        ``epoch`` is the run that the step counts in; ``prev`` [R, A] what would be executed from
        ``origin`` on. The other arguments are those of the two functions below.
        """
        if epoch != self._epoch:
            self._epoch, self._predictions = epoch, []
        self._predictions = [p for p in self._predictions if p[0] + len(p[1]) > origin]
        if np.isfinite(actions).all():  # the controller will refuse others
            self._predictions.append((origin, actions))
            if how == ENSEMBLE:
                return average_of_predictions(self._predictions, decay, limits)
        if how == AVERAGE and prev is not None:
            return average_with_previous(prev, actions, average_new, limits)
        return actions


def average_of_predictions(
    predictions: Sequence[Prediction], decay: float, limits: JointLimits | None = None
) -> np.ndarray:
    """Return the newest chunk with each row the mean of all predictions for its step.

    ACT's temporal ensemble (arXiv 2304.13705): the j-th oldest prediction of a step weighs
    exp(−m j). Oldest chunk first, the newest last; earlier ones may reach beyond it.

    Args:
        predictions: at least one.
        decay: m; 0 is the plain mean, above 0 the oldest weighs most, below 0 the newest.
        limits: say which joints turn endlessly: the mean is that of the angles nearest to the
            newest, not of numbers whole turns apart.
    """
    origin, newest = predictions[-1]
    total, weight = np.zeros(newest.shape), np.zeros((len(newest), 1))
    age = np.zeros((len(newest), 1))  # how many older predictions a row had so far
    # Weights are told beside the largest one, the oldest's or the newest's: exp(710) is infinite.
    fades, older = max(decay, 0.0), np.exp(min(decay, 0.0))
    for begin, actions in predictions:
        first = max(begin, origin)
        last = min(begin + len(actions), origin + len(newest))
        if first >= last:
            continue
        rows = slice(first - origin, last - origin)
        share = np.exp(-fades * age[rows])
        near = _near(actions[first - begin : last - begin], newest[rows], limits)
        total[rows] = older * total[rows] + share * near
        weight[rows] = older * weight[rows] + share
        age[rows] += 1
    return np.asarray(total / weight)


def average_with_previous(
    prev: np.ndarray, actions: np.ndarray, new: float, limits: JointLimits | None = None
) -> np.ndarray:
    """Return (1 − new) · prev + new · actions where both have a row, else ``actions``.

    With new = 0.7 ``weighted_average`` of LeRobot's asynchronous client, whose queue, too, holds
    what earlier averages left. ``limits`` as in ``average_of_predictions``.
    """
    rows = min(len(prev), len(actions))
    blended = np.array(actions, np.float64)
    near = _near(prev[:rows], blended[:rows], limits)
    blended[:rows] = (1.0 - new) * near + new * blended[:rows]
    return blended


def with_given_rows(
    actions: np.ndarray, prev: np.ndarray | None, weights: np.ndarray | None
) -> np.ndarray:
    """Return ``actions`` [H, A] with those of ``prev`` [R, A] in rows of weight 1."""
    if prev is None or weights is None:
        return actions
    given = np.array(actions, np.float64)
    rows = weights[: len(prev)] >= 1.0
    given[: len(prev)][rows] = prev[rows]
    return given


def _near(rows: np.ndarray, to: np.ndarray, limits: JointLimits | None) -> np.ndarray:
    return rows if limits is None else limits.nearest(rows, to)
