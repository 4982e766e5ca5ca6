"""What π0 and π0.5 of the published size take, from LeRobot's classes without their weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from tiny_pi import KINDS

from rtc_ros.policy import lerobot_compat as compat
from rtc_ros.policy.families import FAMILIES

pytestmark = pytest.mark.skipif(
    find_spec("lerobot.policies.pi_gemma") is None,
    reason="this LeRobot builds pi0 and pi05 on a patched transformers only",
)

CAMERAS = {f"observation.images.{name}": (224, 224) for name in ("top", "left", "right")}
GIB, MIB = 2**30, 2**20
# As docs/policies.md has it: parameters [G], GiB, tokens, prefix [MiB], one product [MiB].
SAID = {"pi0": (4.03, 8.3, 816, 14, 88), "pi05": (4.14, 8.7, 968, 17, 96)}


def sizes(policy: Any) -> tuple[int, int]:
    """Return the parameters of a policy, and their bytes."""
    each = list(policy.parameters())
    return sum(p.numel() for p in each), sum(p.numel() * p.element_size() for p in each)


@pytest.mark.parametrize("kind", KINDS)
def test_the_documented_memory_is_what_lerobot_s_classes_come_to(kind, figure):
    family = FAMILIES[kind]
    with torch.device("meta"):
        config = compat.make_config(
            family.config_class(),
            chunk_size=50,
            action_dim=14,
            state_dim=14,
            image_features=CAMERAS,
        )
        config.device = "meta"
        policy = family.build(config)
        family.pin_dtypes(policy, torch.bfloat16)
        policy.requires_grad_(False)
        length = config.tokenizer_max_length
        batch = {
            compat.TOKENS: torch.zeros(1, length, dtype=torch.long),
            compat.TOKEN_MASK: torch.ones(1, length, dtype=torch.bool),
            compat.STATE: torch.zeros(1, 14),
            **{name: torch.zeros(1, 3, *size) for name, size in CAMERAS.items()},
        }
        with torch.no_grad():
            prefix = family.encode_prefix(policy, batch)
        kept: dict[int, torch.Tensor] = {}
        weights = {p.untyped_storage()._cdata for p in policy.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage()._cdata not in weights:
                kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        actions = torch.zeros(1, 50, config.max_action_dim, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            family.denoise(policy, prefix, actions, torch.full((1,), 0.5))
    parameters, size = sizes(policy)
    product = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    found = (
        round(parameters / 1e9, 2),
        round(size / GIB, 1),
        prefix.pad_masks.shape[1],
        round(prefix.bytes / MIB),
        round(product / MIB),
    )
    figure(f"{kind}: {found}")
    assert found == SAID[kind]
    assert 2 * size + 2 * product < 24e9 - 2e9, "two of them fit a GPU of 24 GB and leave 2 GB"
    largest = (24e9 - 2e9) / (size / parameters)
    assert 9.6e9 < largest < 10.1e9
