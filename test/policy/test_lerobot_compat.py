"""The forms of newer versions, as far as they can be tried without them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_checkpoint import SPEC
from transformers import DynamicCache

from rtc_ros.policy.families.smolvla import fill_cache
from rtc_ros.policy.kv_cache import step_cache
from rtc_ros.policy.tiny import TinySpec


def test_a_step_s_cache_is_its_own_and_shares_the_prefix():
    """From 0.6.1 on each step appends to the cache: it must not reach the next step's."""
    prefix = DynamicCache()
    prefix.update(torch.zeros(1, 2, 5, 4), torch.ones(1, 2, 5, 4), 0)
    own = step_cache(prefix)
    appended = torch.full((1, 2, 3, 4), 2.0, requires_grad=True)
    keys, _ = own.update(appended, appended, 0)
    assert keys.shape[2] == 8 and keys.requires_grad
    assert prefix.get_seq_length() == 5
    assert not prefix.layers[0].keys.requires_grad
    again = step_cache(prefix)
    assert again.layers[0].keys.data_ptr() == prefix.layers[0].keys.data_ptr()


def test_a_cache_is_asked_for_only_where_lerobot_wants_to_be_asked():
    def older(inputs_embeds, use_cache, fill_kv_cache): ...
    def newer(inputs_embeds, use_cache): ...

    assert fill_cache(older) == {"fill_kv_cache": True}
    assert fill_cache(newer) == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_size": 70}, "70 px.* 32 px"),
        ({"hidden": 70}, "70.* 32"),
        ({"action_dim": 9}, "action_dim 9"),
        ({"state_dim": 9}, "state_dim 9"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(change, named):
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(SPEC, **change)


def test_the_default_size_is_what_it_says(tmp_path):
    from rtc_ros.policy.tiny import make_tiny_policy

    policy = make_tiny_policy(tmp_path / "backbone")
    assert sum(p.numel() for p in policy.parameters()) == pytest.approx(1.4e6, rel=0.02)
    assert policy.config.chunk_size == TinySpec().chunk_size
