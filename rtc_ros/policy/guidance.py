"""The ways to sample a chunk over any velocity function, by what is done with the previous chunk.

Guided is Real-Time Chunking (arXiv 2506.07339, eq. 1 to 4). The field runs from noise at τ = 0 to
actions at τ = 1. Nothing here knows of a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rtc_ros.core.strategies import OVERWRITE
from rtc_ros.policy.protocol import Guidance

Velocity = Callable[[Tensor, float], Tensor]
"""velocity(actions[B, H, A], tau) -> [B, H, A], pointing from noise to actions."""


@runtime_checkable
class Integrator(Protocol):
    """A velocity function that takes ``sample_chunk``'s steps itself, knowing its own Jacobian."""

    def integrate(
        self,
        actions: Tensor,
        target: tuple[Tensor, Tensor] | None,
        gains: Sequence[float],
        jacobian: str,
    ) -> Tensor:
        """Return the actions [B, H, A] after one Euler step per gain, min(β, (1−τ)/(τ r²)).

        ``target`` is (A_prev [B, H, A], W [H, 1 or A]), both finite and checked; None is for no
        guidance.
        """
        ...


JACOBIANS = ("vjp", "identity")


def guidance_weight(tau: float, beta: float, sigma_d: float = 1.0) -> float:
    """Return min(β, (1−τ)/(τ r²)) with r² = (1−τ)² σ_d² / ((1−τ)² + σ_d² τ²) (eq. 2 and 4).

    It is exactly β at τ = 0 and at τ = 1, where the unclipped weight has no bound.

    Args:
        tau: flow time, 0 (noise) to 1 (actions).
        beta: the clip, ≥ 0.
        sigma_d: prior standard deviation of the (normalised) actions, > 0; 1 is the paper.

    Raises:
        ValueError: an argument is out of range or not finite.
    """
    if not 0.0 <= tau <= 1.0:
        raise ValueError(f"tau is {tau}; flow time runs from 0 to 1")
    if not (math.isfinite(beta) and beta >= 0.0):
        raise ValueError(f"beta is {beta}; the guidance clip must be finite and not negative")
    if not (math.isfinite(sigma_d) and sigma_d > 0.0):
        raise ValueError(f"sigma_d is {sigma_d}; a standard deviation must be finite and positive")
    noise_term = tau * sigma_d * sigma_d
    if noise_term == 0.0 or tau == 1.0:
        return float(beta)
    # (1−τ)/(τ r²), with r² put in and cancelled.
    return min(float(beta), (1.0 - tau) / noise_term + tau / (1.0 - tau))


def sample(
    velocity: Velocity | Integrator,
    noise: Tensor,
    guidance: Guidance | None,
    target: tuple[Tensor, Tensor] | None,
    num_steps: int,
) -> Tensor:
    """Integrate from ``noise`` [B, H, A], guided to or overwritten with ``target``.

    ``target`` is (A_prev [B, H, A], W [H] or [H, A]) in the policy's normalised space. Candidates
    for ``choose`` are not guided: they are sampled with ``guidance`` None.
    """
    if guidance is None or target is None:
        return sample_chunk(velocity, noise, num_steps=num_steps, beta=0.0)
    if guidance.method == OVERWRITE:
        return overwrite_chunk(velocity, noise, *target, num_steps=num_steps)
    return sample_chunk(
        velocity,
        noise,
        *target,
        num_steps=num_steps,
        beta=guidance.beta,
        sigma_d=guidance.sigma_d,
        jacobian=guidance.jacobian,
    )


@torch.no_grad()
def sample_chunk(
    velocity: Velocity | Integrator,
    noise: Tensor,
    prev: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    num_steps: int,
    beta: float,
    sigma_d: float = 1.0,
    jacobian: str = "vjp",
) -> Tensor:
    """Integrate the velocity field with n Euler steps, guided to ``prev`` (eq. 1 to 3).

    The guidance is computed in float32 (float64 where ``noise`` is) whatever the model computes
    in. Entries of ``prev`` whose weight is 0 are never read into the result, NaN or not; with
    all weights 0 the result is that without ``prev``, to the bit.

    Args:
        velocity: velocity(actions[B, H, A], tau) -> [B, H, A]; tau is a Python float. Or what
            takes the steps itself.
        noise: [B, H, A], the actions at τ = 0.
        prev: [B, H, A], what the chunk is guided to; None for no guidance.
        weights: W, [H] or [H, A], within [0, 1].
        num_steps: n.
        beta: clip of the guidance weight.
        sigma_d: see ``guidance_weight``.
        jacobian: "vjp" for the true vector-Jacobian product of f (eq. 3), "identity" for J = I,
            which costs no backward pass.

    Returns:
        The actions at τ = 1, [B, H, A], float32 or float64, on the device of ``noise``.

    Raises:
        ValueError: shapes or values don't fit.
        RuntimeError: the product is asked for where PyTorch can't form it.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; at least one Euler step is needed")
    guidance_weight(0.0, beta, sigma_d)  # says what is wrong before any step is taken
    actions = noise.to(torch.promote_types(noise.dtype, torch.float32))
    target = _target(actions, prev, weights, jacobian)
    if isinstance(velocity, Integrator):
        gains = [guidance_weight(step / num_steps, beta, sigma_d) for step in range(num_steps)]
        return velocity.integrate(actions, target, gains, jacobian)
    for step in range(num_steps):
        tau = step / num_steps
        if target is None:
            v = velocity(actions, tau).to(actions.dtype)
        else:
            weight = guidance_weight(tau, beta, sigma_d)
            v = _guided_velocity(velocity, actions, tau, *target, weight, jacobian)
        actions = actions + v / num_steps
    return actions


@torch.no_grad()
def overwrite_chunk(
    velocity: Velocity, noise: Tensor, prev: Tensor, weights: Tensor, *, num_steps: int
) -> Tensor:
    """Integrate the velocity field with n Euler steps over the rows that aren't known.

    Diffuser (arXiv 2205.09991) overwrites with the clean values, as it was trained. A flow policy
    was trained on rows that are all at the noise level of τ, so here known rows are put on the
    straight path from their noise to their value. There is no guidance.

    Args:
        velocity: velocity(actions[B, H, A], tau) -> [B, H, A].
        noise: [B, H, A], the actions at τ = 0.
        prev: [B, H, A]; entries that aren't known are never read.
        weights: [H] or [H, A]; an entry is known where it is 1.
        num_steps: n.

    Returns:
        [B, H, A]; known entries are those of ``prev``.

    Raises:
        ValueError: n is below 1, or shapes don't fit.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; at least one Euler step is needed")
    if prev.shape != noise.shape or len(weights) != noise.shape[1]:
        raise ValueError(
            f"noise is {list(noise.shape)}, prev {list(prev.shape)} and weights "
            f"{list(weights.shape)}; rows and dimensions must be the same"
        )
    start = noise.to(torch.promote_types(noise.dtype, torch.float32))
    known = (weights.to(start.device) >= 1.0).reshape(len(weights), -1).expand(start.shape[1:])
    goal = torch.where(known, prev.to(start), torch.zeros_like(start))
    actions = start
    for step in range(num_steps):
        tau = step / num_steps
        actions = torch.where(known, torch.lerp(start, goal, tau), actions)
        actions = actions + velocity(actions, tau).to(actions.dtype) / num_steps
    return torch.where(known, goal, actions)


def _guided_velocity(
    velocity: Velocity,
    actions: Tensor,
    tau: float,
    prev: Tensor,
    weights: Tensor,
    weight: float,
    jacobian: str,
) -> Tensor:
    """Return v + weight · Jᵀ[W ⊙ (A_prev − f(A))] (eq. 2), f(A) = A + (1−τ) v(A, τ) (eq. 3)."""
    if jacobian == "identity":
        v = velocity(actions, tau).to(actions.dtype)
        return v + weight * weights * (prev - (actions + (1.0 - tau) * v))
    with torch.enable_grad():
        at = actions.detach().clone().requires_grad_(True)
        v = velocity(at, tau)
        if not v.requires_grad:
            raise RuntimeError(
                "the velocity function returned a tensor without a gradient, so its Jacobian is "
                "lost: let it run under the caller's grad mode, or choose jacobian: identity"
            )
        v = v.to(at.dtype)
        final = at + (1.0 - tau) * v
        error = weights * (prev - final.detach())
        (product,) = torch.autograd.grad(final, at, grad_outputs=error)
    return v.detach() + weight * product


def _target(
    actions: Tensor, prev: Tensor | None, weights: Tensor | None, jacobian: str
) -> tuple[Tensor, Tensor] | None:
    """Check what the chunk is guided to; return (prev, W[H, 1 or A]), None for no guidance."""
    if actions.ndim != 3:
        raise ValueError(f"noise must be [B, H, A], got {list(actions.shape)}")
    if jacobian not in JACOBIANS:
        raise ValueError(f"jacobian is {jacobian!r}; it must be one of {', '.join(JACOBIANS)}")
    if prev is None and weights is None:
        return None
    if prev is None or weights is None:
        raise ValueError("prev and weights go together: give both for guidance, neither without")
    _, rows, dims = actions.shape
    if prev.shape != actions.shape:
        raise ValueError(f"prev is {list(prev.shape)}, but noise is {list(actions.shape)}")
    if weights.shape not in ((rows,), (rows, dims)):
        raise ValueError(
            f"weights are {list(weights.shape)}; H = {rows} and A = {dims} ask for [{rows}] or "
            f"[{rows}, {dims}]"
        )
    weights = weights.to(device=actions.device, dtype=actions.dtype)
    if not bool(((weights >= 0.0) & (weights <= 1.0)).all()):
        raise ValueError("weights must lie within 0 and 1")
    if not bool((weights > 0.0).any()):
        return None
    if jacobian == "vjp" and torch.is_inference_mode_enabled():
        raise RuntimeError(
            "the vector-Jacobian product can't be formed inside torch.inference_mode(): use "
            "torch.no_grad() around the call, or choose jacobian: identity"
        )
    weights = weights.reshape(rows, -1)
    # 0 · NaN is NaN: what has no weight must not stay in the sum.
    prev = torch.where(weights > 0.0, prev.to(actions), torch.zeros_like(actions))
    if not bool(torch.isfinite(prev).all()):
        raise ValueError("prev holds NaN or infinite values in rows that have a weight")
    return prev, weights
