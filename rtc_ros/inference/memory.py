"""How much memory this process, the machine and the GPU use, and when that is too much."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rtc_ros.ros.diagnostics import OK, WARN, Report

_MIB = 2**20


def resident_mib(pid: int | str = "self") -> float:
    """Return the resident memory of a process [MiB], shared pages included (Linux: statm).

    Raises:
        OSError: there is no such process.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def host_mib() -> tuple[float, float]:
    """Return the machine's (available, total) memory [MiB]; a container's own limit isn't seen."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    known = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    return known["MemAvailable"] / 1024, known["MemTotal"] / 1024


def gpu_mib(device: str) -> tuple[float, float, float] | None:
    """Return (ours, free, total) memory [MiB] of the CUDA device in use; None without one.

    ``device`` is as in the parameter of that name.
    """
    torch = sys.modules.get("torch")  # never a reason to load it
    if torch is None or device == "cpu" or not torch.cuda.is_initialized():
        return None
    chosen = None if device == "auto" else device
    free, total = torch.cuda.mem_get_info(chosen)
    return torch.cuda.memory_reserved(chosen) / _MIB, free / _MIB, total / _MIB


def give_back() -> None:
    """Return what a policy held, now that nobody refers to it any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class MemoryWatch:
    """The entry ``memory`` of /diagnostics.

    Args:
        most: share of the machine's, or the GPU's, memory in use above which it warns.
        device: returns the policy's, as in the parameter of that name.
    """

    def __init__(self, most: float, device: Callable[[], str]) -> None:
        self._most, self._device = most, device
        self._begun_mib = 0.0

    def begin(self) -> None:
        """Count growth from now on."""
        self._begun_mib = resident_mib()

    def report(self) -> Report:
        """Say what is used and what is left; WARN where it is scarce."""
        resident = resident_mib()
        rooms = {"host": host_mib()}
        values: dict[str, object] = {"process [MiB]": resident}
        if self._begun_mib:
            values["process, growth since activation [MiB]"] = resident - self._begun_mib
        # Before, another thread may be half way through importing torch.
        gpu = gpu_mib(self._device()) if self._begun_mib else None
        if gpu is not None:
            values["GPU, by us [MiB]"] = gpu[0]
            rooms["GPU"] = gpu[1:]
        problems = []
        for where, (free, total) in rooms.items():
            values[f"{where}, free [MiB]"], values[f"{where}, total [MiB]"] = free, total
            used = 1.0 - free / total
            if used > self._most:
                problems.append(
                    f"{used:.0%} of the {where}'s memory is in use (memory_warning is "
                    f"{self._most:.0%}), {free:.0f} MiB are left"
                )
        if problems:
            return Report(WARN, "; ".join(problems), values)
        return Report(OK, f"{resident:.0f} MiB resident", values)
