"""The continuity report: was the motion without pauses and jerks, and of the right rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity.evidence import Evidence, EvidenceSum
from rtc_ros.core.continuity.motion import Motion, motion_of
from rtc_ros.core.continuity.report import ContinuityReport, JointFigures
from rtc_ros.core.continuity.run_log import CommandLog, RunLog
from rtc_ros.core.continuity.seams import Seam, find_seams
from rtc_ros.core.continuity.sections import Part, Section, control_period, section_of, worst_of
from rtc_ros.core.continuity.spread import Spread, SpreadSum
from rtc_ros.core.continuity.tracking import TrackingSum
from rtc_ros.core.continuity.verdict import Thresholds, verdict_of

MOVED_RAD = 1e-4
"""A run none of whose steps is larger than this didn't move the arm."""

SPAN = 1 << 15
"""Records of a section that are judged together: 11 minutes at 50 Hz. A longer section is judged
in spans of this many, each with its own scale and period, in memory that doesn't grow."""

LEAD, TRAIL = 2048, 4
"""Records before and after a span that its differences may reach into."""

MAX_SEAMS = 20_000
"""Seams that a report lists; of more, the worst."""


def judge(run: RunLog, thresholds: Thresholds | None = None) -> ContinuityReport:
    """Compute every figure of a recording and hold them against ``thresholds``.

    Runs of the step count (controller restarts) are separate sections: no difference is ever
    taken across two of them, so putting two recordings together changes no seam's figures.
    """
    judging = Judge(thresholds)
    judging.feed(run, final=True)
    return judging.report(run)


def evidence_of(run: RunLog) -> Evidence:
    """Return what a picture of ``run`` shows."""
    judging = Judge()
    judging.feed(run, final=True)
    return judging.evidence()


class Judge:
    """Judges a recording piece by piece: ``feed`` until it is over, then ``report``."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self._base = 0
        # The first record that isn't judged yet, in what the next call is given.
        self._next = 0
        self.begin_ns: int | None = None
        """The first record's stamp."""
        self._part = 0
        self._sections: list[Section] = []
        self._seams: list[Seam] = []
        self._seam_count = 0
        self._delays: Counter[tuple[int, int]] = Counter()
        self._late = 0
        self._moved = False
        self._joints: tuple[str, ...] = ()
        self._over_seams = {name: SpreadSum() for name in _OF_SEAM}
        self._sums: dict[str, SpreadSum] = {}
        self._tracking: TrackingSum | None = None
        self._evidence = EvidenceSum((), False)

    def feed(self, run: RunLog, *, final: bool = False) -> int:
        """Judge what can be judged of ``run`` and return how many records are done with.

        ``run`` begins with the records that the last call left over; ``final`` says that
        nothing follows. Chunks, events and joint states have to be there with the records
        that they belong to.
        """
        log = run.commands
        if self.begin_ns is None and len(log):
            self.begin_ns = int(log.stamp_ns[0])
            self._joints = log.joints
            self._evidence = EvidenceSum(log.joints, log.provenance is not None)
            self._tracking = TrackingSum(len(log.joints))
            for name in _SIZES:
                self._sums[name] = SpreadSum(len(log.joints))
                self._sums[f"worst_{name}"] = SpreadSum()
            self._sums["lateness"], self._sums["ordinary_excess_ratio"] = SpreadSum(), SpreadSum()
        kept = 0
        for part in self._parts(log, final):
            self._judge(run, part)
            kept = max(0, part.rows.stop - LEAD)
        self._base += kept
        self._next -= kept
        return kept

    def _parts(self, log: CommandLog, final: bool) -> Iterator[Part]:
        origin, count = log.provenance, len(log)
        cuts = [0, count]
        if origin is not None:
            cuts = [0, *(np.flatnonzero(np.diff(origin.step_epoch)) + 1).tolist(), count]
        for begin, end in pairwise(cuts):
            closed = final or end < count
            while self._next < end:
                stop = min(end, self._next + SPAN)
                if not (closed and stop == end) and stop + TRAIL > count:
                    return
                if self._next == begin:
                    self._part = 0
                context = slice(max(begin, self._next - LEAD), min(end, stop + TRAIL))
                rows = slice(self._next, stop)
                self._next = stop
                yield Part(rows, context, self._part, self._base)
                self._part += 1

    def _judge(self, run: RunLog, part: Part) -> None:
        log, origin = run.commands, run.commands.provenance
        assert self.begin_ns is not None and self._tracking is not None
        chunks = {c.name: c for c in run.chunks or ()}
        motion = motion_of(log, part.context, control_period(log, part.rows), part.own)
        seams: list[Seam] = []
        if origin is not None:
            epoch = int(origin.step_epoch[part.rows.start])
            swaps = {s.step: s for s in run.swaps or () if s.step_epoch in (epoch, NO_STEP)}
            seams = find_seams(log, part, motion, swaps, chunks, self.begin_ns)
            self._sums["lateness"].add(origin.lateness_us[part.rows])
            limit = self.thresholds.max_lateness_s * 1e6
            self._late += int((origin.lateness_us[part.rows] > abs(limit)).sum())
        self._sections.append(section_of(log, part, motion, chunks))
        self._add_sizes(motion)
        self._add_seams(seams)
        self._tracking.add(log, part.rows, run.measured)
        self._evidence.add(log, part, motion, seams, chunks, self.begin_ns)

    def _add_sizes(self, motion: Motion) -> None:
        self._moved = self._moved or bool(np.nanmax(np.abs(motion.jump), initial=0) > MOVED_RAD)
        for name, size in _SIZES.items():
            values = np.abs(size(motion))
            self._sums[name].add(values)
            self._sums[f"worst_{name}"].add(worst_of(values))
        scale = np.where(motion.scale > 0, motion.scale, np.nan)
        self._sums["ordinary_excess_ratio"].add(worst_of(motion.inside(motion.excess) / scale))

    def _add_seams(self, seams: list[Seam]) -> None:
        self._seam_count += len(seams)
        self._seams += seams
        if len(self._seams) > 2 * MAX_SEAMS:
            self._seams = _worst(self._seams)
        for name, total in self._over_seams.items():
            total.add(np.array([getattr(s, name) for s in seams], dtype=np.float64))
        self._delays.update(
            (s.delay_forecast, s.delay_observed) for s in seams if s.delay_forecast is not None
        )

    def evidence(self) -> Evidence:
        """Return what a picture shows of what was judged so far."""
        return self._evidence.evidence()

    def report(self, run: RunLog) -> ContinuityReport:
        """Return the report on all that was fed; ``run`` says what the recording lacks."""
        sections = self._sections
        has_provenance = run.commands.provenance is not None

        def total(count: Callable[[Section], int]) -> int:
            return sum(count(s) for s in sections)

        def pooled(name: str) -> Spread | None:
            return self._sums[name].spread() if name in self._sums else None

        over_seams = {n: s.spread() for n, s in self._over_seams.items()}
        rates = [(s.rate_hz, s.records) for s in sections if s.rate_hz]
        periods = [s.control_period_s for s in sections if s.control_period_s]
        per_s = 1 / float(np.median(periods)) if periods else None
        excess, lateness = over_seams["excess_ratio"], pooled("lateness")
        steps, misplaced = total(lambda s: s.steps), total(lambda s: sum(s.misplaced.values()))
        starved = total(lambda s: s.starved_ticks)
        notes = run.notes
        back, missed = total(lambda s: s.clock_jumps_back), total(lambda s: s.unrecorded_ticks)
        if back:
            times = "once" if back == 1 else f"{back} times"
            notes = (*notes, f"the clock jumps back {times}: times after that are shifted")
        if missed:
            notes = (*notes, f"{missed} ticks are missing in the recording")
        if self._seam_count > MAX_SEAMS:
            notes = (*notes, f"of {self._seam_count} seams the worst {MAX_SEAMS} are listed")
        unknown = run.missing()
        if self._seam_count and excess is None:
            unknown = (*unknown, "too few ordinary steps to compare the seams with")
        late = sum(n for (f, o), n in self._delays.items() if o > f)
        return ContinuityReport(
            joints=self._joint_figures(run, per_s),
            sections=tuple(sections),
            seams=tuple(_worst(self._seams)),
            seam_count=self._seam_count,
            steps=steps,
            ticks=total(lambda s: s.ticks),
            duration_s=sum(s.duration_s for s in sections),
            rate_hz=sum(r * n for r, n in rates) / sum(n for _, n in rates) if rates else None,
            starved_ticks=starved,
            waiting_ticks=total(lambda s: s.waiting_ticks),
            fault_ticks=total(lambda s: s.fault_ticks),
            misplaced_steps=misplaced,
            limited_steps=total(lambda s: s.limited_steps),
            late_ticks=self._late if has_provenance else None,
            chunks_recorded=run.chunk_count,
            seam_jump=over_seams["jump_max"],
            seam_jump_ratio=over_seams["jump_ratio"],
            seam_excess=over_seams["excess_max"],
            seam_excess_ratio=excess,
            seam_speed=_per(over_seams["jump_max"], per_s),
            seam_acceleration=over_seams["acceleration_max"],
            seam_jerk=pooled("worst_seam_jerk"),
            ordinary_jump=pooled("worst_ordinary_jump"),
            ordinary_excess=pooled("worst_ordinary_excess"),
            ordinary_excess_ratio=pooled("ordinary_excess_ratio"),
            ordinary_speed=_per(pooled("worst_ordinary_jump"), per_s),
            ordinary_acceleration=pooled("worst_ordinary_acceleration"),
            ordinary_jerk=pooled("worst_ordinary_jerk"),
            prefix_mismatch=over_seams["prefix_mismatch"],
            overlap_rms=over_seams["overlap_rms"],
            sparc=_mean([(s.sparc, s.records) for s in sections]),
            ldlj=_mean([(s.ldlj, s.records) for s in sections]),
            delays={f"{f} -> {o}": n for (f, o), n in sorted(self._delays.items())},
            under_forecast=late if self._delays else None,
            stride=over_seams["stride"],
            lateness_us=lateness,
            unknown=unknown,
            notes=notes,
            thresholds=self.thresholds,
            verdict=verdict_of(
                self.thresholds,
                has_provenance=has_provenance,
                steps=steps,
                moved=self._moved,
                starved=starved,
                misplaced=misplaced,
                worst_seam_excess=None if excess is None else excess.max,
                seams=self._seam_count,
                lateness_p99_s=None if lateness is None else lateness.p99 * 1e-6,
            ),
        )

    def _joint_figures(self, run: RunLog, per_s: float | None) -> tuple[JointFigures, ...]:
        if self._tracking is None:
            nothing: dict[str, Any] = dict.fromkeys(JointFigures.__dataclass_fields__)
            return tuple(JointFigures(**{**nothing, "name": n}) for n in run.commands.joints)
        tracking = self._tracking.rms()
        figures = []
        for j, name in enumerate(self._joints):
            sizes = {size: self._sums[size].spread(j) for size in _SIZES}
            speeds = {f"{w}_speed": _per(sizes[f"{w}_jump"], per_s) for w in ("ordinary", "seam")}
            figures.append(JointFigures(name=name, tracking_rms=tracking[j], **sizes, **speeds))
        return tuple(figures)


_OF_SEAM = (
    "jump_max",
    "jump_ratio",
    "excess_max",
    "excess_ratio",
    "acceleration_max",
    "prefix_mismatch",
    "overlap_rms",
    "stride",
)

_SIZES: dict[str, Callable[[Motion], np.ndarray]] = {
    "ordinary_jump": lambda m: m.jump[m.ordinary],
    "seam_jump": lambda m: m.jump[m.seam],
    "ordinary_excess": lambda m: m.inside(m.excess),
    "seam_excess": lambda m: m.excess[m.seam],
    "ordinary_acceleration": lambda m: m.inside(m.bend) / m.period_s**2,
    "seam_acceleration": lambda m: m.bend[m.seam] / m.period_s**2,
    "ordinary_jerk": lambda m: m.twist[m.deep] / m.period_s**3,
    "seam_jerk": lambda m: m.twist[m.seam] / m.period_s**3,
}


def _worst(seams: list[Seam]) -> list[Seam]:
    """Return at most ``MAX_SEAMS`` of the seams, the worst, in the order of time."""
    if len(seams) <= MAX_SEAMS:
        return seams
    by_size = sorted(seams, key=lambda s: s.excess_ratio or 0.0, reverse=True)
    return sorted(by_size[:MAX_SEAMS], key=lambda s: s.record)


def _per(spread: Spread | None, per_s: float | None) -> Spread | None:
    return None if spread is None or per_s is None else spread.scaled(per_s)


def _mean(values: list[tuple[float | None, int]]) -> float | None:
    known = [(v, n) for v, n in values if v is not None]
    return sum(v * n for v, n in known) / sum(n for _, n in known) if known else None
