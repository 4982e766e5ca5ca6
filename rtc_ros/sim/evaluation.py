"""What an evaluation found: figures over all episodes of one combination of settings, a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtc_ros.core.continuity import ContinuityReport, RunLog
from rtc_ros.core.proportion import difference, wilson

GRIPPER = "gripper"
SOFT_START_STEPS = 25
"""Of config/sim.yaml: until then the limits are meant to act."""

SAME_EPISODES = ("delay", "cube_speed")
"""Settings in which two lines must agree to be compared cube by cube."""


@dataclass(frozen=True)
class Result:
    """What one combination of settings did in all episodes.

    ``interval`` is Wilson's 95 % of the proportion passed, ``done_s`` the median time to it and
    ``done_at`` the time in each episode [s], None where the cube wasn't passed.
    Seams are pooled: ``seam_rad`` how far the largest joint departs from the motion around the
    seam (median, p95, max), ``seam_ratio`` the same in fast ordinary steps, and
    ``seam_to_ordinary`` median and p95 of that over those of ordinary steps, as in
    `rtc_ros continuity`. ``stops`` counts how often the controller's limits began to act on an arm
    after the soft start, where a driver with such limits would have stopped, and
    ``stopped_episodes`` the episodes with one; grippers apart, which the policy closes faster than
    they may go.
    """

    settings: dict[str, Any]
    episodes: int
    passed: int
    interval: tuple[float, float]
    done_s: float | None
    done_at: tuple[float | None, ...]
    starved: int
    misplaced: int
    seams: int
    seam_rad: tuple[float, float, float]
    seam_ratio: tuple[float, float, float]
    seam_to_ordinary: tuple[float, float]
    stops: int
    stopped_episodes: int


def summarise(
    settings: dict[str, Any],
    run: RunLog,
    report: ContinuityReport,
    done_at: Sequence[float | None],
) -> Result:
    """Return the figures of a recording of all episodes; ``done_at`` [s]: None is not passed."""
    passed = [at for at in done_at if at is not None]
    ratio = report.seam_to_ordinary
    arms = [name for name in run.commands.joints if not name.endswith(GRIPPER)]
    stops = limit_events(run, arms)
    return Result(
        settings,
        len(done_at),
        len(passed),
        wilson(len(passed), len(done_at)),
        float(np.median(passed)) if passed else None,
        tuple(done_at),
        report.starved_ticks,
        report.misplaced_steps,
        report.seam_count,
        _spread([s.excess_max for s in report.seams]),
        _spread([s.excess_ratio for s in report.seams]),
        (np.nan, np.nan) if ratio is None else (ratio.median, ratio.p95),
        sum(stops.values()),
        sum(count > 0 for count in stops.values()),
    )


def limit_events(
    run: RunLog, joints: Sequence[str], after_step: int = SOFT_START_STEPS
) -> dict[int, int]:
    """Return, by run of the step count, how often the limits began to act on one of ``joints``.

    A driver with these limits would have stopped there. Ticks in a row are one event; steps
    before ``after_step`` are the soft start's.
    """
    log, origin = run.commands, run.commands.provenance
    assert origin is not None and log.wanted is not None
    columns = [log.joints.index(j) for j in joints]
    cut = (log.command != log.wanted)[:, columns].any(axis=1)
    acts = cut & (origin.row >= 0) & (origin.step >= after_step)
    same = np.concatenate([[False], origin.step_epoch[1:] == origin.step_epoch[:-1]])
    begins = acts & ~(same & np.concatenate([[False], acts[:-1]]))
    return {
        int(e): int(begins[origin.step_epoch == e].sum()) for e in np.unique(origin.step_epoch)
    }


def _spread(values: Sequence[float | None]) -> tuple[float, float, float]:
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return (np.nan, np.nan, np.nan)
    return (float(np.median(known)), float(np.percentile(known, 95)), float(known.max()))


def markdown(results: Sequence[Result], varied: Sequence[str]) -> str:
    """Return a table, a line for each result, with the settings that were varied.

    Where lines of the same delay and cubes differ in something else, each is compared with the
    first of them, cube by cube.
    """
    first: dict[tuple[Any, ...], Result] = {}
    for r in results:
        first.setdefault(_same(r), r)
    compared = len(first) < len(results)
    head = [*varied, "passed", "95 %", *(["more than the first"] if compared else []), "time [s]",
            "starved", "stops", "in episodes", "seam [rad]: median, p95, max",
            "seam [ordinary steps]: median, p95, max",
            "seams ÷ ordinary steps: median, p95"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in results:
        cells = [str(r.settings.get(name, "–")) for name in varied]
        cells += [f"{r.passed}/{r.episodes}", _percent(r.interval)]
        cells += [_more(r, first[_same(r)])] if compared else []
        cells += [
            "–" if r.done_s is None else f"{r.done_s:.1f}",
            str(r.starved),
            str(r.stops),
            f"{r.stopped_episodes} ({_percent(wilson(r.stopped_episodes, r.episodes))})",
            ", ".join(f"{x:.3f}" for x in r.seam_rad),
            ", ".join(f"{x:.2f}" for x in r.seam_ratio),
            ", ".join(f"{x:.2f}" for x in r.seam_to_ordinary),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _percent(interval: tuple[float, float]) -> str:
    low, high = (100 * x for x in interval)
    return f"{low:.0f}–{high:.0f} %"


def _same(result: Result) -> tuple[Any, ...]:
    return (*(result.settings.get(name) for name in SAME_EPISODES), result.episodes)


def _more(one: Result, other: Result) -> str:
    """Return by how many of a hundred cubes ``one`` passes more, with the 95 % interval."""
    if one is other:
        return "–"
    each = [np.array([at is not None for at in r.done_at]) for r in (one, other)]
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*(100 * x for x in difference(*each)))
