"""What the inference node says of memory: figures of this very process and machine."""

import mmap

import pytest

from rtc_ros.inference.memory import MemoryWatch, gpu_mib, host_mib, resident_mib
from rtc_ros.ros.diagnostics import ERROR, OK, WARN, Report


def test_resident_memory_grows_by_what_is_touched_and_is_given_back():
    before = resident_mib()
    with mmap.mmap(-1, 64 * 2**20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        held = resident_mib() - before
    assert 60 < held < 80
    assert resident_mib() - before < 10


def test_growth_is_counted_from_begin():
    watch = MemoryWatch(1.0, lambda: "cpu")
    name = "process, growth since activation [MiB]"
    assert name not in watch.report().values
    watch.begin()
    with mmap.mmap(-1, 32 * 2**20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert 28 < watch.report().values[name] < 40


@pytest.mark.parametrize(("most", "level"), [(0.0, WARN), (1.0, OK)])
def test_it_warns_above_the_share_that_may_be_in_use(most, level):
    report = MemoryWatch(most, lambda: "cpu").report()
    assert report.level == level
    free, total = host_mib()
    assert 0 < free < total and report.values["host, total [MiB]"] == total
    assert ("memory_warning is 0%" in report.message) == (level == WARN)


def test_no_gpu_is_looked_for_where_none_is_in_use():
    assert gpu_mib("cpu") is None and gpu_mib("auto") is None


@pytest.mark.gpu
def test_gpu_memory_is_that_of_the_device_in_use():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    held = torch.zeros(2**26, device="cuda")  # 256 MiB
    ours, free, total = gpu_mib("auto")
    assert 256 <= ours <= total - free and total > 1000
    watch = MemoryWatch(1.0, lambda: "auto")
    watch.begin()
    assert "GPU, free [MiB]" in watch.report().values
    del held


@pytest.mark.ros
def test_the_device_is_the_one_of_now_and_a_report_that_fails_is_one(ros, monkeypatch):
    from rclpy.node import Node

    from rtc_ros.inference import memory
    from rtc_ros.ros.diagnostics import Diagnostics

    asked = []

    def gpu_mib(device):
        asked.append(device)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(memory, "gpu_mib", gpu_mib)
    values = {"device": "cuda:1"}
    watch = MemoryWatch(1.0, lambda: values["device"])
    watch.begin()
    node = Node("reporting")
    try:
        diagnostics = Diagnostics(node, {"memory": watch.report, "other": lambda: Report(OK, "")})
        heard = []
        monkeypatch.setattr(diagnostics._publisher, "publish", heard.append)
        diagnostics.publish()
        values["device"] = "cuda:0"
        diagnostics.publish()
    finally:
        node.destroy_node()
    assert asked == ["cuda:1", "cuda:0"]
    failed, other = heard[-1].status
    assert failed.level == ERROR and "RuntimeError: CUDA error: an illegal" in failed.message
    assert other.level == OK
