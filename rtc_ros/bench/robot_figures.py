"""What one point of `rtc_ros bench robot` comes to, from its recording."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtc_ros.core.continuity import ContinuityReport, RunLog
from rtc_ros.core.proportion import wilson

SOFT_START_STEPS = 25
"""Of config/sim.yaml: until then the limits are meant to act."""

PERIOD_S = 0.02
"""Δt in config/sim.yaml."""

_GRIPPER = "gripper"


@dataclass(frozen=True)
class Point:
    """A strategy at an injected latency [simulated ms], ``factor`` times as fast as real time."""

    strategy: str
    latency_ms: float
    factor: float = 1.0

    @property
    def key(self) -> str:
        """What this point is, in one line: where it is found again in the results."""
        return f"{self.strategy} +{self.latency_ms:g} ms x{self.factor:g}"


@dataclass(frozen=True)
class Measured:
    """One point's figures; times in simulated s and ms, angles in rad.

    ``done`` of ``episodes`` with Wilson's 95 % interval; ``per_minute`` is done over the episodes'
    time, to the end of each; ``time_s`` the median time to it (None: never). ``delay`` [steps] and
    ``latency_ms_seen`` are medians of what was observed, ``own_ms`` is the inference itself in
    real time. ``jump``, ``excess`` (in ordinary steps) and ``acceleration`` [rad/s²] are of the
    seams: median, p95 and largest; ``ordinary_acceleration`` the p95 elsewhere. ``stops`` counts
    the times the controller's limits began to act on an arm after the soft start,
    ``stopped_episodes`` the episodes with one; ``gripper_limits`` the same of the grippers, which
    the policy closes faster than they may go. ``ticks_kept`` is the share of the control ticks
    that there was time for: less than 1 means that the machine didn't keep up and the arms paused.
    """

    key: str
    strategy: str
    latency_ms: float
    factor: float
    episodes: int
    done: int
    low: float
    high: float
    per_minute: float
    time_s: float | None
    simulated_s: float
    delay: float | None
    delay_max: int | None
    latency_ms_seen: float | None
    own_ms: float
    seams: int
    jump: tuple[float, float, float] | None
    excess: tuple[float, float, float] | None
    acceleration: tuple[float, float, float] | None
    ordinary_acceleration: float | None
    stops: int
    stopped_episodes: int
    gripper_limits: int
    starved_ticks: int
    misplaced_steps: int
    ticks_kept: float
    load: float
    wall_s: float


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


def ticks_kept(run: RunLog) -> float:
    """Return the ticks in ``run`` over the control periods that passed in its sections."""
    log, origin = run.commands, run.commands.provenance
    assert origin is not None
    epochs = np.unique(origin.step_epoch)
    spans = [np.ptp(log.stamp_ns[origin.step_epoch == e]) * 1e-9 / PERIOD_S + 1 for e in epochs]
    return len(log) / sum(spans)


def figures(
    point: Point,
    ends: list[tuple[bool, float]],
    run: RunLog,
    report: ContinuityReport,
    own_ms: float,
    wall_s: float,
) -> Measured:
    """Return a point's figures; ``ends``: of each episode whether it was done, and when [s]."""
    times = [seconds for passed, seconds in ends if passed]
    total, done = sum(seconds for _, seconds in ends), len(times)
    delays = [s.delay_observed for s in report.seams]
    latencies = [(c.end_ns - c.start_ns) * 1e-6 * point.factor for c in run.chunks or ()]
    grippers = [j for j in run.commands.joints if j.endswith(_GRIPPER)]
    events = limit_events(run, [j for j in run.commands.joints if j not in grippers])

    def spread(of: Any) -> tuple[float, float, float] | None:
        return None if of is None else (of.median, of.p95, of.max)

    ordinary = report.ordinary_acceleration
    return Measured(
        point.key,
        point.strategy,
        point.latency_ms,
        point.factor,
        len(ends),
        done,
        *wilson(done, len(ends)),
        60.0 * done / total,
        statistics.median(times) if times else None,
        total,
        statistics.median(delays) if delays else None,
        max(delays, default=None),
        statistics.median(latencies) if latencies else None,
        own_ms,
        report.seam_count,
        spread(report.seam_jump),
        spread(report.seam_excess_ratio),
        spread(report.seam_acceleration),
        None if ordinary is None else ordinary.p95,
        sum(events.values()),
        sum(n > 0 for n in events.values()),
        sum(limit_events(run, grippers).values()),
        report.starved_ticks,
        report.misplaced_steps,
        ticks_kept(run),
        os.getloadavg()[0],
        wall_s,
    )
