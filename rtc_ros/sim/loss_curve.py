"""Draws how a training went: losses, how well the cube is seen, closed-loop checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(
    history: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write a PNG of reports (step, stage, loss, cube_mm) and checks (step, still, sliding)."""
    from matplotlib.figure import Figure  # without pyplot: no display, no state

    figure = Figure(figsize=(8, 6), layout="constrained")
    loss, cube, passed = figure.subplots(3, 1, sharex=True)
    for stage in ("vision", "policy"):
        points = [p for p in history if p["stage"] == stage]
        loss.semilogy([p["step"] for p in points], [p["loss"] for p in points], label=stage)
    loss.set_ylabel("loss")
    loss.legend()
    cube.semilogy([p["step"] for p in history], [p["cube_mm"] for p in history])
    cube.set_ylabel("cube's place\n[mm RMS]")
    for name in ("still", "sliding"):
        shares = [100.0 * c[name] / c["episodes"] for c in checks]
        passed.plot([c["step"] for c in checks], shares, "o-", label=f"{name} cubes")
    passed.set_ylabel("passed [%]")
    passed.set_ylim(-5, 105)
    if checks:
        passed.legend()
    passed.set_xlabel("step")
    figure.savefig(path, dpi=100)
