"""The continuity report: was the motion without pauses and jerks, and of the right rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity.evidence import Evidence, EvidenceSum
from rtc_ros.core.continuity.motion import motion_of
from rtc_ros.core.continuity.report import ContinuityReport, JointFigures
from rtc_ros.core.continuity.run_log import CommandLog, RunLog
from rtc_ros.core.continuity.seams import Seam, find_seams
from rtc_ros.core.continuity.sections import Part, Section, control_period, section_of
from rtc_ros.core.continuity.sent import SentFigures
from rtc_ros.core.continuity.spread import Ratio, SpreadSum
from rtc_ros.core.continuity.sums import SeamSums, SizeSums, per
from rtc_ros.core.continuity.tracking import TrackingSum
from rtc_ros.core.continuity.verdict import Thresholds, verdict_of

SPAN = 1 << 15
"""Records of a section that are judged together: 11 minutes at 50 Hz. A longer section is judged
in spans of this many, each with its own scale and period, in memory that doesn't grow."""

LEAD, TRAIL = 2048, 4
"""Records before and after a span that its differences may reach into."""


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
        self._joints: tuple[str, ...] = ()
        self._seams = SeamSums()
        self._sizes = SizeSums(0)
        self._lateness = SpreadSum()
        self._late = 0
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
            self._sizes = SizeSums(len(log.joints))
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
            self._lateness.add(origin.lateness_us[part.rows])
            limit = self.thresholds.max_lateness_s * 1e6
            self._late += int((origin.lateness_us[part.rows] > abs(limit)).sum())
        self._sections.append(section_of(log, part, motion, chunks))
        self._sizes.add(motion)
        self._seams.add(seams)
        self._tracking.add(log, part.rows, run.measured)
        self._evidence.add(log, part, motion, seams, chunks, self.begin_ns)

    def evidence(self) -> Evidence:
        """Return what a picture shows of what was judged so far."""
        return self._evidence.evidence()

    def report(
        self, run: RunLog, sent: SentFigures | None = None, unknown: tuple[str, ...] = ()
    ) -> ContinuityReport:
        """Return the report on all that was fed; ``run`` says what the recording lacks.

        ``sent`` is what drivers of rows were sent, ``unknown`` what of that can't be told.
        """
        sections = self._sections
        has_provenance = run.commands.provenance is not None

        def total(count: Callable[[Section], int]) -> int:
            return sum(count(s) for s in sections)

        sizes, seams = self._sizes, self._seams
        rates = [(s.rate_hz, s.records) for s in sections if s.rate_hz]
        periods = [s.control_period_s for s in sections if s.control_period_s]
        per_s = 1 / float(np.median(periods)) if periods else None
        excess, lateness = seams.spread("excess_ratio"), self._lateness.spread()
        to_ordinary = Ratio.of(excess, sizes.excess_ratio)
        steps, misplaced = total(lambda s: s.steps), total(lambda s: sum(s.misplaced.values()))
        starved = total(lambda s: s.starved_ticks)
        notes = run.notes
        back, missed = total(lambda s: s.clock_jumps_back), total(lambda s: s.unrecorded_ticks)
        if back:
            times = "once" if back == 1 else f"{back} times"
            notes = (*notes, f"the clock jumps back {times}: times after that are shifted")
        if missed:
            notes = (*notes, f"{missed} ticks are missing in the recording")
        listed = seams.listed()
        if seams.count > len(listed):
            notes = (*notes, f"of {seams.count} seams the worst {len(listed)} are listed")
        unknown = (*run.missing(), *unknown)
        if sent is not None and sent.lost:
            notes = (*notes, f"of {sent.lost} ticks not all that was sent was recorded")
        if seams.count and excess is None:
            unknown = (*unknown, "too few ordinary steps to compare the seams with")
        tracked = self._tracking is None or any(r is not None for r in self._tracking.rms())
        if run.measured is not None and not tracked:
            said = "no joint state at the time of a command: how the arm followed can't be told"
            unknown = (*unknown, said)
        late = sum(n for (f, o), n in seams.delays.items() if o > f)
        return ContinuityReport(
            joints=self._joint_figures(run, per_s),
            sections=tuple(sections),
            seams=listed,
            seam_count=seams.count,
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
            seam_jump=seams.spread("jump_max"),
            seam_jump_ratio=seams.spread("jump_ratio"),
            seam_excess=seams.spread("excess_max"),
            seam_excess_ratio=excess,
            seam_speed=per(seams.spread("jump_max"), per_s),
            seam_acceleration=seams.spread("acceleration_max"),
            seam_jerk=sizes.worst("seam_jerk"),
            ordinary_jump=sizes.worst("ordinary_jump"),
            ordinary_excess=sizes.worst("ordinary_excess"),
            ordinary_excess_ratio=sizes.excess_ratio,
            seam_to_ordinary=to_ordinary,
            ordinary_speed=per(sizes.worst("ordinary_jump"), per_s),
            ordinary_acceleration=sizes.worst("ordinary_acceleration"),
            ordinary_jerk=sizes.worst("ordinary_jerk"),
            prefix_mismatch=seams.spread("prefix_mismatch"),
            overlap_rms=seams.spread("overlap_rms"),
            sparc=_mean([(s.sparc, s.records) for s in sections]),
            ldlj=_mean([(s.ldlj, s.records) for s in sections]),
            delays={f"{f} -> {o}": n for (f, o), n in sorted(seams.delays.items())},
            under_forecast=late if seams.delays else None,
            stride=seams.spread("stride"),
            lateness_us=lateness,
            unknown=unknown,
            notes=notes,
            thresholds=self.thresholds,
            verdict=verdict_of(
                self.thresholds,
                has_provenance=has_provenance,
                steps=steps,
                moved=sizes.moved,
                starved=starved,
                misplaced=misplaced,
                worst_seam_excess=None if excess is None else excess.max,
                seam_to_ordinary=to_ordinary,
                seams=seams.count,
                lateness_p99_s=None if lateness is None else lateness.p99 * 1e-6,
                sent=sent,
            ),
            sent=sent,
        )

    def _joint_figures(self, run: RunLog, per_s: float | None) -> tuple[JointFigures, ...]:
        if self._tracking is None:
            nothing: dict[str, Any] = dict.fromkeys(JointFigures.__dataclass_fields__)
            return tuple(JointFigures(**{**nothing, "name": n}) for n in run.commands.joints)
        tracking = self._tracking.rms()
        return tuple(
            self._sizes.of_joint(j, name, tracking[j], per_s)
            for j, name in enumerate(self._joints)
        )


def _mean(values: list[tuple[float | None, int]]) -> float | None:
    known = [(v, n) for v, n in values if v is not None]
    return sum(v * n for v, n in known) / sum(n for _, n in known) if known else None
