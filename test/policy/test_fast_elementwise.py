"""What the expert computes between its products: fused, it is PyTorch's arithmetic.

Triton's kernels run here in its interpreter, in a process of their own: it is chosen at import.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from rtc_ros.policy.fast import elementwise as module
from rtc_ros.policy.fast.elementwise import ByOperations, Fused, apart, elementwise

CPU = torch.device("cpu")


def interpreted(code: str, *arguments: str) -> str:
    setup = "import os\nos.environ['TRITON_INTERPRET'] = '1'\nimport sys, torch\n"
    setup += f"sys.path.insert(0, {str(Path(__file__).parent)!r})\ntorch.set_num_threads(1)\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_each_kernel_computes_what_pytorch_s_operations_do():
    """Widths that are no power of two, several blocks of a row, both precisions."""
    pytest.importorskip("triton")
    told = interpreted(
        """
        from rtc_ros.policy.fast.elementwise import Fused, apart
        for dtype in (torch.float32, torch.bfloat16):
            for rows, width in ((5, 96), (1, 1), (3, 2080)):
                print(apart(Fused(), torch.device("cpu"), dtype, rows, width))
        """
    )
    off = [float(line) for line in told.split()]
    assert len(off) == 6 and max(off[:3]) < 1e-5 and max(off[3:]) < 0.02


def test_chunks_by_fused_kernels_are_lerobot_s(checkpoint: Path):
    pytest.importorskip("triton")
    told = interpreted(
        """
        from reference import guide, observe
        from test_fast_equality import apart, load
        from rtc_ros.policy.fast.elementwise import Fused
        for dtype in ("float32", "bfloat16"):
            fast, slow = (load(sys.argv[1], dtype=dtype, fast=each) for each in (True, False))
            expert = fast._field.expert
            for each in (expert, *expert._layers):
                each.ops = Fused()
            for guidance in (None, guide(fast.spec)):
                run = dict(num_steps=2, seed=7)
                expected = slow.infer(observe(fast.spec), guidance, **run).actions
                print(apart(fast.infer(observe(fast.spec), guidance, **run).actions, expected))
        """,
        str(checkpoint),
    )
    exact, guided, low, low_guided = (float(line) for line in told.split())
    assert exact < 1e-5 and guided < 1e-4
    assert low < 0.05 and low_guided < 0.05


def test_a_wrong_kernel_is_told(monkeypatch):
    class Wrong(ByOperations):
        def gate(self, values, silu):
            return 1.01 * super().gate(values, silu)

    assert apart(Wrong(), CPU, torch.float32) > 5e-3
    assert apart(ByOperations(), CPU, torch.float32) == 0.0


def test_where_triton_is_not_there_or_fails_operations_are_taken(monkeypatch, caplog):
    module._fuses.cache_clear()
    monkeypatch.setitem(sys.modules, "rtc_ros.policy.fast.triton_kernels", None)
    assert not module._fuses(CPU, torch.float32)
    assert "each operation is a kernel of its own" in caplog.text
    module._fuses.cache_clear()
    assert isinstance(elementwise(CPU, torch.float32), ByOperations)


def test_kernels_that_are_off_are_not_taken(monkeypatch, caplog):
    module._fuses.cache_clear()
    monkeypatch.setattr(Fused, "__init__", lambda self: None)
    monkeypatch.setattr(module, "apart", lambda *_: 0.5)
    assert not module._fuses(CPU, torch.float32)
    assert "0.5 off" in caplog.text
    module._fuses.cache_clear()
