"""Which card, clocks and packages `rtc_ros bench gpu` meets, and the tests that need a GPU."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from rtc_ros.bench.gpu_worker import Out

PACKAGES = (
    *("numpy", "torch", "triton", "transformers", "tokenizers", "safetensors", "lerobot"),
    *("draccus", "gymnasium", "num2words", "pytest", "hypothesis", "rclpy"),
)
_ASKED = (
    *("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
    *("temperature.gpu", "power.draw", "power.limit", "memory.total", "memory.used"),
)
_REPOSITORY = Path(__file__).resolve().parents[2]


def machine(out: Out) -> dict[str, str]:
    """Say which machine this is, and what can be imported here."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
            version = metadata.version(name)
        except Exception as error:  # a package that is there may raise whatever it likes
            out.row(name, reason=f"can't be imported: {type(error).__name__}: {error}")
        else:
            out.row(name, version=version)
    cpu = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    out.where(device="cpu", machine=cpu)
    try:
        import torch
    except Exception:  # said above
        return {"status": "done"}
    out.where(versions=f"torch {torch.__version__}, CUDA {torch.version.cuda}")
    if not torch.cuda.is_available():
        out.row("card", reason="torch sees no CUDA device")
        return {"status": "done"}
    card = torch.cuda.get_device_properties(0)
    out.where(device="cuda", card=card.name)
    out.row("multiprocessors", version=str(card.multi_processor_count))
    out.row("memory [MiB]", version=str(card.total_memory >> 20))
    out.row("compute capability", version=f"{card.major}.{card.minor}")
    out.row("cuDNN", version=str(torch.backends.cudnn.version()))
    for name, value in _nvidia_smi().items():
        out.row(name, **value)
    return {"status": "done"}


def _nvidia_smi() -> dict[str, dict[str, str]]:
    asked = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return {"nvidia-smi": {"reason": f"{type(error).__name__}: {error}"}}
    values = done.stdout.splitlines()[0].split(", ")
    return {name: {"version": value} for name, value in zip(_ASKED, values, strict=False)}


def tests(out: Out) -> dict[str, str]:
    """Run the tests that are marked ``gpu``."""
    folder = _REPOSITORY / "test" / "policy"
    files = [p for p in sorted(folder.glob("test_*.py")) if "mark.gpu" in p.read_text("utf-8")]
    if not files:
        return {"status": "skipped", "reason": "the tests are not here: run it from a checkout"}
    with TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", *map(str, files)]
        try:
            subprocess.run(command, cwd=_REPOSITORY, timeout=max(out.left(), 1.0), check=False)
        except subprocess.TimeoutExpired as error:
            return {"status": "out of time", "reason": f"pytest took over {error.timeout:.0f} s"}
        if not report.is_file():
            return {"status": "failed", "reason": "pytest wrote no report, see log.txt"}
        cases = list(ElementTree.parse(report).iter("testcase"))
    for case in cases:
        out.row(str(case.get("name")), **_outcome(case))
    if not cases:
        return {"status": "failed", "reason": f"no test in {', '.join(p.name for p in files)}"}
    return {"status": "done"}


def _outcome(case: ElementTree.Element) -> dict[str, Any]:
    seconds = float(case.get("time", 0.0))
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            return {"seconds": seconds, "holds": False, "reason": f"{found.get('message')}"[:300]}
    skipped = case.find("skipped")
    if skipped is not None:
        return {"reason": f"skipped: {skipped.get('message')}"}
    return {"seconds": seconds, "holds": True}


PARTS: dict[str, Callable[[Any], dict[str, str]]] = {"machine": machine, "tests": tests}
