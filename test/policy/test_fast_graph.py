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


class Places:
    """Stands in for a CUDA graph on the CPU: refuses to run where its tensors have moved.

    A graph would go on reading and writing where they were.
    """

    def __init__(self, field: FastField, function, inputs) -> None:
        function(*inputs)
        self.field, self.function = field, function
        self.places = self.now()

    def now(self) -> list[int]:
        return [each.attention.k.data_ptr() for each in self.field.expert._passes]

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert self.now() == self.places
        return self.function(*inputs)


def test_no_graph_goes_on_with_tensors_that_were_made_anew(checkpoint: Path, monkeypatch):
    """Leaving a camera out, or what else changes the prefix's length, takes new graphs."""
    slow = FlowAdapter.load(checkpoint, device="cpu", fast=False)
    field = FastField(slow._policy, padded=True)
    fast = FlowAdapter(slow._policy, slow._pre, slow._post, device="cpu", field=lambda _: field)
    made = []

    def captured(function, inputs):
        made.append(Places(field, function, inputs))
        return made[-1]

    monkeypatch.setattr("rtc_ros.policy.fast.field.captured", captured)
    field._graphs = {}
    for left_out, graphs in (((), 3), (("observation.images.side",), 3)):
        for adapter in (fast, slow):
            adapter.leave_out(left_out)
        made.clear()
        for seed in (1, 2):
            for guidance in (guide(fast.spec), None):
                seen = observe(fast.spec, seed=seed)
                expected = slow.infer(seen, guidance, seed=7).actions
                assert apart(fast.infer(seen, guidance, seed=7).actions, expected) < 1e-4
        assert len(made) == len(field._graphs) == graphs
    with field.eager():
        fast.infer(observe(fast.spec), None)
    assert len(made) == 3 and len(field._graphs) == 3


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

    def test_a_replay_allocates_its_result_and_nothing_else(self, checkpoint):
        fast, _ = self.adapters(checkpoint, "float32")
        fast.warm_up()
        observation, guidance = observe(fast.spec), guide(fast.spec)
        fast.infer(observation, guidance, seed=7)
        (loop,) = (g for key, g in fast._field._graphs.items() if key[1] == "vjp")
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        loop(*loop._inputs)
        assert torch.cuda.memory_stats()["allocation.all.allocated"] - before == 1
