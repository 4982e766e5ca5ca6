"""From a recording to its report and what a picture of it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtc_ros.bags.run_reader import judge_stream
from rtc_ros.bags.sent_reader import read_sent
from rtc_ros.bags.topics import TopicNames
from rtc_ros.core.continuity import ContinuityReport, Judge, RunLog, Thresholds
from rtc_ros.core.continuity.evidence import Evidence
from rtc_ros.core.continuity.sent import SentFigures


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
        sent, unknown = read_sent(path, names)
        return _judged(Path(path).name or str(path), judging, run, sent, unknown)


def examined(name: str, run: RunLog, thresholds: Thresholds | None = None) -> JudgedBag:
    """Judge a recording that is in memory."""
    judging = Judge(thresholds)
    judging.feed(run, final=True)
    return _judged(name, judging, run)


def _judged(
    name: str,
    judging: Judge,
    run: RunLog,
    sent: SentFigures | None = None,
    unknown: tuple[str, ...] = (),
) -> JudgedBag:
    begin = judging.begin_ns or 0
    settings = tuple(((at - begin) * 1e-9, dict(values)) for at, values in run.settings)
    return JudgedBag(name, judging.report(run, sent, unknown), judging.evidence(), settings)
