"""Gives the patches of a policy's images the positions that it was trained with.

See ``image_positions``. The ids are those that transformers itself would compute; they are
replaced where it looks its table up, so that LeRobot's code and the fast path see the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtc_ros.policy.image_positions import RIGHT, SHIFTED


def measured(policy: Any) -> str | None:
    """Return the positions that a LeRobot SmolVLAPolicy gives its patches now: RIGHT or SHIFTED.

    None: another policy, in which nothing shifts them; or neither of the two, as transformers
    4.57 does in 16 bits with other sides than powers of two.
    """
    if policy.name != "smolvla":
        return None
    embeddings = _embeddings(policy)
    weight = embeddings.patch_embedding.weight
    height, width = policy.config.resize_imgs_with_padding
    grid = _grid(embeddings, height, width)
    seen: list[Tensor] = []
    hook = embeddings.position_embedding.register_forward_hook(
        lambda module, args, output: seen.append(args[0])
    )
    try:
        with torch.no_grad():
            embeddings(
                pixel_values=torch.zeros(
                    1, weight.shape[1], height, width, dtype=weight.dtype, device=weight.device
                ),
                patch_attention_mask=torch.ones(1, *grid, dtype=torch.bool, device=weight.device),
            )
    finally:
        hook.remove()
    for positions in (RIGHT, SHIFTED):
        wanted = patch_positions(*grid, embeddings.num_patches_per_side, positions)
        if torch.equal(seen[0].flatten().cpu(), wanted):
            return positions
    return None


def show(policy: Any, positions: str) -> bool:
    """Let a policy see its patches at RIGHT or SHIFTED positions; False: it did so already.

    Its weights stay as they are. To be called once, in the policy's dtype and on its device.

    Raises:
        ValueError: this transformers looks positions up in another way.
    """
    if measured(policy) == positions:
        return False
    embeddings = _embeddings(policy)
    own = _LookUp(positions)
    embeddings.register_forward_pre_hook(own.see, with_kwargs=True)
    embeddings.position_embedding.register_forward_pre_hook(own.ids)
    if measured(policy) != positions:
        raise ValueError(
            f"image_positions can't be made {positions}: this transformers looks the positions of "
            "image patches up in another way"
        )
    return True


def patch_positions(rows: int, columns: int, side: int, positions: str) -> Tensor:
    """Return int64[rows · columns], the index into a table of side² positions of each patch.

    To the bit as transformers computes it in float32, SHIFTED as 4.57 does, RIGHT as 5.5 does.
    """
    edges = torch.arange(1 / side, 1.0, 1 / side)
    row, column = (
        torch.bucketize(_fractions(count, positions), edges, right=True)
        for count in (rows, columns)
    )
    return (row[:, None] * side + column).flatten()


def _fractions(count: int, positions: str) -> Tensor:
    index = torch.arange(count, dtype=torch.float32)
    if positions == SHIFTED:
        return index / count * (1 - 1e-6)
    return torch.clamp(index * (1.0 / torch.tensor(count)), max=1.0 - 1e-6)


def _embeddings(policy: Any) -> Any:
    return policy.model.vlm_with_expert.get_vlm_model().vision_model.embeddings


def _grid(embeddings: Any, height: int, width: int) -> tuple[int, int]:
    patch = int(embeddings.patch_size)
    return height // patch, width // patch


class _LookUp:
    """Puts its own ids in place of those with which a position table is asked."""

    def __init__(self, positions: str) -> None:
        self._positions = positions
        self._size = (0, 0)
        self._known: dict[tuple[int, int], Tensor] = {}

    def see(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the size of the images whose patches are embedded next."""
        pixels = kwargs["pixel_values"] if "pixel_values" in kwargs else args[0]
        self._size = (int(pixels.shape[2]), int(pixels.shape[3]))
        if self._size not in self._known:
            self._known[self._size] = patch_positions(
                *_grid(module, *self._size), module.num_patches_per_side, self._positions
            ).to(pixels.device)

    def ids(self, module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Return the ids [images, patches] in place of those of transformers."""
        return (self._known[self._size].expand_as(args[0]),)
