"""One chunk (or a batch of them) by the method that a strategy asks for."""

from __future__ import annotations

from torch import Tensor

from rtc_ros.core.strategies import OVERWRITE
from rtc_ros.policy.guidance import Integrator, Velocity, sample_chunk
from rtc_ros.policy.overwrite import overwrite_chunk
from rtc_ros.policy.protocol import Guidance


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
