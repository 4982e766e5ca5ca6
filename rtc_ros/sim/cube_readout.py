"""A linear readout of the cube's place from a policy's image tokens, used while it is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CubeReadout(nn.Module):
    """A linear readout of the cube's position from the mean image token of a policy."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        vlm = policy.model.vlm_with_expert
        self._embed = vlm.embed_image  # a bound method: the policy is no part of this module
        self._tokens: Tensor | None = None
        self.linear = nn.Linear(vlm.config.text_config.hidden_size, 3)
        model = vlm.get_vlm_model()
        self._vision = [*model.vision_model.parameters(), *model.connector.parameters()]
        model.connector.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._tokens = output

    def of_last(self) -> Tensor:
        """Return the cube position [B, 3] read from the tokens of the last forward pass."""
        assert self._tokens is not None, "no forward pass yet"
        return self.linear(self._tokens.mean(dim=1))

    def of_images(self, images: Tensor) -> Tensor:
        """Return the cube position [B, 3] read from ``images`` [B, 3, h, w] in 0..1."""
        self._embed(2.0 * images - 1.0)  # as SmolVLA does
        return self.of_last()

    @torch.no_grad()
    def fit(self, images: Tensor, cubes: Tensor) -> None:
        """Set it to the least-squares readout of what the policy's vision gives by itself."""
        self.of_images(images)
        assert self._tokens is not None
        seen = self._tokens.mean(dim=1)
        known = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1).double()
        ridge = 1e-4 * len(known) * torch.eye(known.shape[1], device=known.device).double()
        found = torch.linalg.solve(known.T @ known + ridge, known.T @ cubes.double()).float()
        self.linear.weight.copy_(found[:-1].T)
        self.linear.bias.copy_(found[-1])

    def vision_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of vision, connector and readout."""
        return [*self._vision, *self.linear.parameters()]
