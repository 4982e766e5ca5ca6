"""Flow matching on demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rtc_ros.bench.kinetix.flow_policy import FlowNetwork, FlowPolicy
from rtc_ros.policy.protocol import check_weak

WEAK_UPDATES = 400
"""When the weaker checkpoint for forward contrast is taken."""

_BATCH = 512
_AVERAGE = 0.998


def fit(
    observed: np.ndarray,
    chunks: np.ndarray,
    seed: int,
    updates: int,
    told: Callable[[int], None] = lambda done: None,
) -> tuple[FlowPolicy, FlowPolicy]:
    """Return the policy and a weaker one, an early checkpoint of the same training.

    ``chunks`` [N, H, A] begin at ``observed`` [N, O]. ``told`` hears how many updates are done.
    The same seed gives the same policy on one machine.
    """
    horizon = chunks.shape[1]
    o_scale = (observed.mean(axis=0), observed.std(axis=0) + 1e-6)
    a_scale = (chunks.mean(axis=(0, 1)), chunks.std(axis=(0, 1)) + 1e-6)
    o = torch.as_tensor((observed - o_scale[0]) / o_scale[1], dtype=torch.float32)
    a = torch.as_tensor((chunks - a_scale[0]) / a_scale[1], dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FlowNetwork(o.shape[1], a.shape[2], horizon)
    source = torch.Generator().manual_seed(seed)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    weak = average
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, updates, pct_start=max(0.05, min(0.9, 2 / updates))
    )
    for update in range(updates):
        rows = torch.randint(len(o), (_BATCH,), generator=source)
        goal = a[rows]
        noise = torch.randn(goal.shape, generator=source)
        tau = torch.rand((_BATCH, 1), generator=source)
        at = torch.lerp(noise, goal, tau[..., None])
        loss = (network(at, o[rows], tau) - (goal - noise)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        keep = min(_AVERAGE, (update + 1) / (update + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1.0 - keep)
        if update + 1 == min(WEAK_UPDATES, updates):
            weak = {k: v.clone() for k, v in average.items()}
        told(update + 1)
    return _policy(average, o_scale, a_scale), _policy(weak, o_scale, a_scale)


def _policy(
    weights: dict[str, torch.Tensor],
    o_scale: tuple[np.ndarray, np.ndarray],
    a_scale: tuple[np.ndarray, np.ndarray],
) -> FlowPolicy:
    joints = len(a_scale[0])
    network = FlowNetwork(len(o_scale[0]), joints, weights["out.bias"].numel() // joints)
    network.load_state_dict(weights)
    return FlowPolicy(network.eval().requires_grad_(False), o_scale, a_scale)


def save(path: Path, policies: tuple[FlowPolicy, FlowPolicy]) -> None:
    """Keep the policy and the weak one in a file."""
    first, part = policies[0], path.with_suffix(".part")
    torch.save(
        {
            "weights": [p.network.state_dict() for p in policies],
            "observation": [torch.as_tensor(x) for x in first.observation_scale],
            "action": [torch.as_tensor(x) for x in first.action_scale],
        },
        part,
    )
    part.replace(path)


def load(path: Path) -> tuple[FlowPolicy, FlowPolicy]:
    """Return what ``save`` kept; ValueError where the file holds something else."""
    try:
        kept = torch.load(path, weights_only=True)
        o_mean, o_std = (x.numpy() for x in kept["observation"])
        a_mean, a_std = (x.numpy() for x in kept["action"])
        strong, weak = (_policy(w, (o_mean, o_std), (a_mean, a_std)) for w in kept["weights"])
        check_weak(strong.spec, weak.spec)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever torch and a foreign file come to
        kind = type(error).__name__
        raise ValueError(f"{path} holds no flow policy: {kind}: {error}") from error
    return strong, weak
