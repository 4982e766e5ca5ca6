"""What a demo leaves: reports, pictures and films beside the bags, and the conclusion."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.report.examine import JudgedBag, examine
from rtc_ros.tools.continuity import as_json, print_table
from rtc_ros.tools.film import write_film, write_strip

_CUBE_S = 7.0
"""How long `sim eval` gives the policy for one."""


@dataclass(frozen=True)
class Phase:
    """One strategy's turn: its bag ``folder/strategy``, its length [s], what the cubes did."""

    strategy: str
    folder: Path
    seconds: float
    passes: int
    put_backs: int

    @property
    def bag(self) -> Path:
        """The recording."""
        return self.folder / self.strategy


def write_reports(phases: Sequence[Phase], latency_ms: float, console: Console) -> bool:
    """Judge every phase, write its files and ``comparison.png``, print what follows.

    Returns whether the first phase passed a cube and keeps within the thresholds.

    Raises:
        BagError: a bag can't be judged.
        OSError: the folder can't be written.
    """
    from rtc_ros.report.comparison import draw_comparison

    found: list[JudgedBag] = []
    for phase in phases:
        with console.status(f"judging {phase.strategy}, making its film"):
            found.append(examine(phase.bag))
            _write(phase, found[-1])
    pictures = [
        (f"{phase.strategy}, +{latency_ms:g} ms", judged.report, judged.evidence)
        for phase, judged in zip(phases, found, strict=True)
    ]
    draw_comparison(pictures, phases[0].folder / "comparison.png")
    reports = [judged.report for judged in found]
    print_table([(p.bag, r) for p, r in zip(phases, reports, strict=True)], console)
    _conclude(phases, reports, console)
    return bool(reports[0].verdict.passed) and phases[0].passes > 0


def _write(phase: Phase, judged: JudgedBag) -> None:
    """Write one phase's JSON, picture, film and strip of frames."""
    from rtc_ros.report.figure import draw_report

    beside = phase.bag
    text = json.dumps(as_json(phase.bag, judged.report), indent=1, allow_nan=False)
    beside.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    picture = beside.with_suffix(".png")
    draw_report(judged.report, judged.evidence, phase.strategy, picture)
    write_film(phase.bag, beside.with_suffix(".mp4"))
    write_strip(phase.bag, beside.with_name(f"{phase.strategy}_film.png"))


def _conclude(
    phases: Sequence[Phase], reports: Sequence[ContinuityReport], console: Console
) -> None:
    """Say in a sentence or two what the figures mean."""
    cubes = "; ".join(
        f"passed {p.passes}, put back {p.put_backs} with {p.strategy}" for p in phases
    )
    console.print(f"Cubes: {cubes}.", soft_wrap=True)
    if reports[0].starved_ticks:
        latest = max((s.delay_observed for s in reports[0].seams), default=0)
        console.print(
            f"The arms starved: a chunk came up to {latest} steps after its inference began. The "
            f"load average of the last minute is {os.getloadavg()[0]:.1f} on {os.cpu_count()} "
            "cores; the nodes and the simulation need two for themselves.",
            soft_wrap=True,
        )
    first = reports[0].seam_excess
    for phase, report in zip(phases[1:], reports[1:], strict=True):
        other = report.seam_excess
        if first is None or other is None or first.p95 == 0:
            continue
        console.print(
            f"One seam in twenty of {phase.strategy} departs from the motion around it by "
            f"{other.p95:.2g} rad or more, of {phases[0].strategy} by {first.p95:.2g} rad: "
            f"{other.p95 / first.p95:.1f} times as much.",
            soft_wrap=True,
        )
    if phases[0].passes == 0:
        console.print(_no_cube(phases), highlight=False, soft_wrap=True)


def _no_cube(phases: Sequence[Phase]) -> str:
    """Say that the first phase failed at its job, and where to look."""
    first, *others = phases
    beside = "".join(f", {p.strategy} {p.passes or 'none'}" for p in others)
    text = f"[red]FAIL[/red] {first.strategy} passed no cube in {first.seconds:g} s{beside}."
    if first.seconds < _CUBE_S:
        return f"{text} A cube takes up to {_CUBE_S:g} s: give more --seconds."
    installed = ", ".join(f"{name} {_version(name)}" for name in ("lerobot", "transformers"))
    return (
        f"{text} Smooth motion alone is not the job. Where none passes one, the policy doesn't do "
        f"its task with {installed}: see what {first.folder / 'logs' / 'rtc_inference.log'} says; "
        "rtc_ros sim rollout scores it without ROS."
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
