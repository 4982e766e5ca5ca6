"""The ways to sample a chunk over any velocity function, by what is done with the previous chunk.

Guided is Real-Time Chunking (arXiv 2506.07339, eq. 1 to 4); with given rows, at their own flow
time, what a policy may be trained for (arXiv 2512.05964). The field runs from noise at τ = 0 to
actions at τ = 1. Nothing here knows of a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rtc_ros.core.strategies import OVERWRITE, TRAINED
from rtc_ros.policy.protocol import Guidance

Tau: TypeAlias = float | Tensor
"""One flow time, or float[H]: one for each row."""
Velocity = Callable[[Tensor, Tau], Tensor]
"""velocity(actions[B, H, A], tau) -> [B, H, A], pointing from noise to actions."""


class Field:
    """A velocity as the Euler loop takes it: this one's vector-Jacobian product is autograd's."""

    def __init__(self, velocity: Velocity) -> None:
        self._velocity = velocity
        self._made: tuple[Tensor, Tensor] | None = None

    def times(self, num_steps: int, clean: Tensor | None = None) -> Sequence[Any]:
        """Return what ``at`` takes for τ = 0, 1/n, …; rows of ``clean`` [H, 1] are at τ = 1."""
        taus = [step / num_steps for step in range(num_steps)]
        if clean is None:
            return taus
        done = clean.reshape(-1)
        return [torch.where(done, 1.0, torch.full_like(done, tau, dtype=torch.float32))
                for tau in taus]  # fmt: skip

    def at(self, actions: Tensor, time: Any, back: bool = False) -> Tensor:
        """Return the velocity [B, H, A], a new tensor; ``back``: ``pull_back`` will be asked for.

        Raises:
            RuntimeError: the velocity comes without the gradient that ``pull_back`` needs.
        """
        if not back:
            return self._velocity(actions, time).to(actions.dtype, copy=True)
        with torch.enable_grad():
            here = actions.detach().clone().requires_grad_(True)
            v = self._velocity(here, time)
            if not v.requires_grad:
                raise RuntimeError(
                    "the velocity function returned a tensor without a gradient, so its Jacobian "
                    "is lost: let it run under the caller's grad mode, or choose jacobian: "
                    "identity"
                )
            v = v.to(here.dtype)
        self._made = here, v
        return v.detach().clone()

    def pull_back(self, error: Tensor) -> Tensor:
        """Return Jᵀ error at the point of the last ``at``, J = ∂v/∂actions; once for each."""
        assert self._made is not None, "at(…, back=True) comes first"
        here, v = self._made
        self._made = None
        (product,) = torch.autograd.grad(v, here, grad_outputs=error)
        return product

    def reached(self, prev: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first rows of A_prev [B, H, A] and W [H, 1 or A] that guidance depends on."""
        return prev, weights

    def run(self, key: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return function(*inputs); for one ``key`` it is always the same function."""
        return function(*inputs)


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
    velocity: Velocity | Field,
    noise: Tensor,
    guidance: Guidance | None,
    target: tuple[Tensor, Tensor] | None,
    num_steps: int,
) -> Tensor:
    """Integrate from ``noise`` [B, H, A], as ``guidance.method`` says what ``target`` is for.

    ``target`` is (A_prev [B, H, A], W [H] or [H, A]) in the policy's normalised space. Candidates
    for ``choose`` are not guided: they are sampled with ``guidance`` None.
    """
    if guidance is None or target is None:
        return sample_chunk(velocity, noise, num_steps=num_steps, beta=0.0)
    if guidance.method == OVERWRITE:
        return overwrite_chunk(velocity, noise, *target, num_steps=num_steps)
    if guidance.method == TRAINED:
        return condition_chunk(velocity, noise, *target, num_steps=num_steps)
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
    velocity: Velocity | Field,
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
        velocity: velocity(actions[B, H, A], tau) -> [B, H, A]; tau is a Python float. Or a
            ``Field``, which knows its own Jacobian.
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
    check_steps(num_steps)
    guidance_weight(0.0, beta, sigma_d)  # says what is wrong before any step is taken
    actions = noise.to(torch.promote_types(noise.dtype, torch.float32))
    target = _target(actions, prev, weights, jacobian)
    if target is None or beta == 0.0:
        return integrate(velocity, actions, num_steps)
    gains = [guidance_weight(step / num_steps, beta, sigma_d) for step in range(num_steps)]
    return integrate(velocity, actions, num_steps, jacobian, *target, actions.new_tensor(gains))


def overwrite_chunk(
    velocity: Velocity | Field, noise: Tensor, prev: Tensor, weights: Tensor, *, num_steps: int
) -> Tensor:
    """Integrate the velocity field with n Euler steps over the entries that aren't known.

    Diffuser (arXiv 2205.09991) overwrites with the clean values, as it was trained. A flow policy
    was trained on rows that are all at the noise level of τ, so here known entries take the
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
    start, goal, known = _known(noise, prev, weights, num_steps)
    made = integrate(velocity, start, num_steps, OVERWRITE, known, goal - start)
    return torch.where(known, goal, made)


def condition_chunk(
    velocity: Velocity | Field, noise: Tensor, prev: Tensor, weights: Tensor, *, num_steps: int
) -> Tensor:
    """Integrate the velocity field with n Euler steps over the rows that aren't given.

    Given rows are clean from the first step on, at τ = 1 while the others are at τ, and stay as
    they are: training-time action conditioning (arXiv 2512.05964). Only a policy that was trained
    so makes anything of them.

    Args:
        velocity: velocity(actions[B, H, A], tau[H]) -> [B, H, A].
        noise: [B, H, A], the actions at τ = 0.
        prev: [B, H, A].
        weights: [H] or [H, A]; a row is given where any entry is 1. Its others are 0, as padding
            is in training; ``prev`` is not read there.
        num_steps: n.

    Returns:
        [B, H, A]; given rows are those of ``prev``, to the bit.

    Raises:
        ValueError: n is below 1, or shapes don't fit.
    """
    start, goal, known = _known(noise, prev, weights, num_steps)
    given = known.any(dim=1, keepdim=True)
    start = torch.where(given, goal, start)
    return integrate(velocity, start, num_steps, TRAINED, given, start.new_zeros(()))


@torch.no_grad()
def integrate(
    velocity: Velocity | Field, actions: Tensor, num_steps: int, how: str = "", *given: Tensor
) -> Tensor:
    """Take n Euler steps from ``actions`` [B, H, A], which nothing checks any more.

    ``how`` is one of ``JACOBIANS``, with A_prev [B, H, A], W [H, 1 or A] and the weight of each
    step [n] given; OVERWRITE or TRAINED, with the known entries bool[H, 1 or A] and their
    velocity; or "", with nothing.
    """
    field = velocity if isinstance(velocity, Field) else Field(velocity)
    if how in JACOBIANS:
        given = (*field.reached(*given[:2]), given[2])
    return field.run((num_steps, how), partial(_euler, field, num_steps, how), actions, *given)


def _euler(field: Field, num_steps: int, how: str, actions: Tensor, *given: Tensor) -> Tensor:
    """Equations 1 to 3: v + weight · Jᵀ[W ⊙ (A_prev − f(A))], f(A) = A + (1−τ) v(A, τ)."""
    count = actions.new_full((), num_steps)
    clean = given[0] if how == TRAINED else None
    for step, time in enumerate(field.times(num_steps, clean)):
        v = field.at(actions, time, how == "vjp")
        if how in JACOBIANS:
            prev, weights, gains = given
            remaining, rows = 1.0 - step / num_steps, prev.shape[1]
            final = torch.add(actions[:, :rows], v[:, :rows], alpha=remaining)
            product = error = weights * (prev - final)
            if how == "vjp":
                product = torch.add(error, field.pull_back(error), alpha=remaining)
            v[:, :rows].addcmul_(product, gains[step])
        elif how:
            known, its = given
            v = torch.where(known, its, v)
        actions = torch.addcdiv(actions, v, count)
    return actions


def check_steps(num_steps: int) -> None:
    """Raise ValueError where there is no step to take."""
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; at least one Euler step is needed")


def _known(
    noise: Tensor, prev: Tensor, weights: Tensor, num_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the noise, prev where it is known (else 0), and bool[H, A]: where that is."""
    check_steps(num_steps)
    if prev.shape != noise.shape or len(weights) != noise.shape[1]:
        raise ValueError(
            f"noise is {list(noise.shape)}, prev {list(prev.shape)} and weights "
            f"{list(weights.shape)}; rows and dimensions must be the same"
        )
    start = noise.to(torch.promote_types(noise.dtype, torch.float32))
    known = (weights.to(start.device) >= 1.0).reshape(len(weights), -1).expand(start.shape[1:])
    return start, torch.where(known, prev.to(start), torch.zeros_like(start)), known


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
