"""Draws how a training went: losses, how well the cube is seen, closed-loop checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(
    history: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write a PNG of reports (step, loss) and checks (step, still, sliding).

    A report may have its ``stage``, and ``cube_mm``.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no state

    seen = [p for p in history if "cube_mm" in p]
    panels = 1 + bool(seen) + bool(seen or checks)
    figure = Figure(figsize=(8, 2 + 1.5 * panels), layout="constrained")
    loss, *others = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for stage in dict.fromkeys(p.get("stage", "") for p in history):
        points = [p for p in history if p.get("stage", "") == stage]
        loss.semilogy([p["step"] for p in points], [p["loss"] for p in points], label=stage)
    loss.set_ylabel("loss")
    if seen:
        loss.legend()
        cube = others.pop(0)
        cube.semilogy([p["step"] for p in seen], [p["cube_mm"] for p in seen])
        cube.set_ylabel("cube's place\n[mm RMS]")
    for passed in others:
        for name in ("still", "sliding"):
            shares = [100.0 * c[name] / c["episodes"] for c in checks]
            passed.plot([c["step"] for c in checks], shares, "o-", label=f"{name} cubes")
        passed.set_ylabel("passed [%]")
        passed.set_ylim(-5, 105)
        if checks:
            passed.legend()
    figure.axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=100)
