"""Whether a recorded motion was continuous: figures and a verdict (docs/continuity.md)."""

from rtc_ros.core.continuity.judge import Judge, evidence_of, judge
from rtc_ros.core.continuity.report import ContinuityReport, JointFigures
from rtc_ros.core.continuity.run_log import CommandLog, JointLog, Provenance, RunLog, SwapEvent
from rtc_ros.core.continuity.verdict import Thresholds, Verdict

__all__ = [
    "CommandLog",
    "ContinuityReport",
    "JointFigures",
    "Judge",
    "JointLog",
    "Provenance",
    "RunLog",
    "SwapEvent",
    "Thresholds",
    "Verdict",
    "evidence_of",
    "judge",
]
