"""From a recording to its report and what a picture of it shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rtc_ros.bags.run_reader import judge_stream
from rtc_ros.bags.sent_reader import SentLog, read_sent
from rtc_ros.bags.topics import TopicNames
from rtc_ros.core.continuity import ContinuityReport, Judge, RunLog, Thresholds
from rtc_ros.core.continuity.evidence import Evidence


@dataclass(frozen=True, eq=False)
class JudgedBag:
    """A recording's name, its report, what there is to draw, and the settings as recorded."""

    name: str
    report: ContinuityReport
    evidence: Evidence
    settings: tuple[tuple[float, dict[str, object]], ...] = ()


def examine(
    path: str | Path, names: TopicNames | None = None, thresholds: Thresholds | None = None
) -> JudgedBag:
    """Read and judge a recording.

    Raises:
        BagError: nothing to judge in there, or something that can't be one run.
    """
    judging = Judge(thresholds)
    # Damaged numbers are as large as they are: figures that can't be had are null.
    with np.errstate(all="ignore"):
        run = judge_stream(path, judging, names)
        seams = [c.seam for c in judging.evidence().closeups]
        begin_ns = judging.begin_ns or 0
        sent = read_sent(path, names, [begin_ns + round(s.time_s * 1e9) for s in seams])
        return _judged(Path(path).name or str(path), judging, run, sent)


def examined(name: str, run: RunLog, thresholds: Thresholds | None = None) -> JudgedBag:
    """Judge a recording that is in memory."""
    judging = Judge(thresholds)
    judging.feed(run, final=True)
    return _judged(name, judging, run)


def _judged(
    name: str,
    judging: Judge,
    run: RunLog,
    sent: SentLog | None = None,
) -> JudgedBag:
    sent = sent or SentLog()
    evidence = judging.evidence()
    if sent.curves:
        pairs = zip(evidence.closeups, sent.curves, strict=True)
        closeups = tuple(replace(close, curve=curve) for close, curve in pairs)
        evidence = replace(evidence, closeups=closeups)
    begin = judging.begin_ns or 0
    settings = tuple(((at - begin) * 1e-9, dict(values)) for at, values in run.settings)
    report = judging.report(run, sent.figures, sent.unknown)
    return JudgedBag(name, report, evidence, settings)
