"""Bidirectional decoding: which of N chunks to take (arXiv 2408.17355).

The weights of the backward term are those of RTC's mask, as in the comparison of the RTC paper.
"""

from __future__ import annotations

import numpy as np


def choose(
    candidates: np.ndarray,
    prev: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    weak: np.ndarray | None = None,
    contrast: int = 0,
) -> np.ndarray:
    """Return the index of the best candidate, int[…].

    The loss of candidate a is Σ_i W_i ‖a_i − prev_i‖ (backward coherence). With chunks of a weaker
    policy it gains (Σ₊ Σ_i ‖a_i − a⁺_i‖ − Σ₋ Σ_i ‖a_i − a⁻_i‖) / N (forward contrast): a⁺ are
    the K candidates and a⁻ the K weak chunks of least backward loss.

    Args:
        candidates: float[…, N, H, A].
        prev: float[…, R, A], R ≤ H; no row of it without weight is read.
        weights: W, float[H], 0 from row R on.
        scale: float[A], what counts as a distance of 1; 0 leaves a dimension out.
        weak: float[…, N, H, A], or None.
        contrast: K.
    """
    per_unit = np.divide(1.0, scale, out=np.zeros(len(scale)), where=scale > 0)
    rows = weights > 0
    weighted = weights[rows]
    target = prev[..., rows[: prev.shape[-2]], :]

    def backward(chunks: np.ndarray) -> np.ndarray:
        apart = (chunks[..., rows, :] - target[..., None, :, :]) * per_unit
        return np.asarray((np.linalg.norm(apart, axis=-1) * weighted).sum(axis=-1))

    loss = backward(candidates)
    if weak is not None and contrast > 0:
        good = _best(candidates, loss, contrast)
        bad = _best(weak, backward(weak), contrast)
        difference = _distances(candidates, good, per_unit) - _distances(candidates, bad, per_unit)
        loss = loss + difference / candidates.shape[-3]
    return np.asarray(loss.argmin(axis=-1))


def _best(chunks: np.ndarray, loss: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(loss, axis=-1, kind="stable")[..., :count]
    return np.take_along_axis(chunks, order[..., None, None], axis=-3)


def _distances(chunks: np.ndarray, others: np.ndarray, per_unit: np.ndarray) -> np.ndarray:
    """Return, for each chunk, the distances to all ``others`` added up over chunks and rows."""
    total = np.zeros(chunks.shape[:-2])
    for k in range(others.shape[-3]):
        apart = (chunks - others[..., k : k + 1, :, :]) * per_unit
        total += np.linalg.norm(apart, axis=-1).sum(axis=-1)
    return total
