"""CUDA graphs of the fast path. The first test runs anywhere, the others need a CUDA device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import guide, observe
from test_fast_equality import apart

from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.fast.graph import CapturedFunction

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_without_a_cuda_device_there_are_no_graphs(checkpoint: Path):
    adapter = FlowAdapter.load(checkpoint, device="cpu")
    adapter.warm_up()
    assert isinstance(adapter._field, FastField) and adapter._field._graphs is None


class TestOnCuda:
    pytestmark = gpu

    def adapters(self, checkpoint: Path, dtype: str) -> list[FlowAdapter]:
        return [
            FlowAdapter.load(checkpoint, device="cuda", dtype=dtype, fast=fast)
            for fast in (True, False)
        ]

    def test_graphs_give_lerobot_s_chunks(self, checkpoint):
        fast, slow = self.adapters(checkpoint, "float32")
        fast.warm_up()
        for task in ("pass the cube", "put it on the far side, slowly"):
            observation = observe(fast.spec, task=task)
            for rows in (None, 3, 9, 12):
                guidance = None if rows is None else guide(fast.spec, rows=rows)
                expected = slow.infer(observation, guidance, seed=7).actions
                got = fast.infer(observation, guidance, seed=7).actions
                assert apart(got, expected) < 1e-3  # cuBLAS and cuDNN sum in another order

    def test_one_graph_serves_every_delay_stride_and_sentence(self, checkpoint):
        fast, _ = self.adapters(checkpoint, "float32")
        fast.warm_up()
        graphs = dict(fast._field._graphs)
        assert len(graphs) == 3  # prefix, unguided, guided
        assert all(isinstance(each, CapturedFunction) for each in graphs.values())
        for rows, task in ((4, "lift"), (12, "put it on the far side, slowly")):
            fast.infer(observe(fast.spec, task=task), guide(fast.spec, rows=rows))
        assert fast._field._graphs == graphs

    def test_same_seed_same_chunk(self, checkpoint):
        fast, _ = self.adapters(checkpoint, "float32")
        fast.warm_up()
        observation, guidance = observe(fast.spec), guide(fast.spec)
        first = fast.infer(observation, guidance, seed=7).actions
        fast.infer(observe(fast.spec, seed=1), None)
        assert np.array_equal(fast.infer(observation, guidance, seed=7).actions, first)

    def test_bfloat16_is_as_near_to_float32_as_lerobot_s(self, checkpoint):
        _, exact = self.adapters(checkpoint, "float32")
        fast, slow = self.adapters(checkpoint, "bfloat16")
        fast.warm_up()
        off = [0.0, 0.0]
        for seed in range(4):
            observation = observe(fast.spec, seed=seed)
            for guidance in (None, guide(fast.spec)):
                expected = exact.infer(observation, guidance, seed=seed).actions
                for i, each in enumerate((fast, slow)):
                    off[i] += apart(each.infer(observation, guidance, seed=seed).actions, expected)
        assert off[0] < 1.2 * off[1]
