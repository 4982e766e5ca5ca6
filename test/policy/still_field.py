"""A policy that doesn't move by itself."""

from __future__ import annotations

import torch

from rtc_ros.policy.adapter import FlowAdapter


class StillField:
    """A field of no velocity, so that all that moves the actions is the guidance."""

    def __init__(self, policy: object) -> None:
        self.last: torch.Tensor | None = None

    def __call__(self, batch: dict) -> object:
        def velocity(actions: torch.Tensor, tau: float) -> torch.Tensor:
            self.last = actions.detach().clone()
            return 0.0 * actions

        return velocity


def still_like(loaded: FlowAdapter) -> tuple[FlowAdapter, StillField]:
    """Return an adapter with the processors of ``loaded`` in such a field."""
    adapter = FlowAdapter(
        loaded._policy, loaded._pre, loaded._post, device="cpu", field=StillField
    )
    return adapter, adapter._field
