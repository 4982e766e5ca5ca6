"""The figures worth a line, in words: for the terminal and for the picture."""

from __future__ import annotations

from collections.abc import Sequence

from rtc_ros.core.continuity import ContinuityReport
from rtc_ros.core.continuity.spread import Spread


def alike(reports: Sequence[ContinuityReport]) -> list[list[tuple[str, str, bool]]]:
    """Return the ``facts`` of several reports: the same lines of each."""
    sent = any(report.sent for report in reports)
    return [facts(report, sent=sent) for report in reports]


def facts(
    report: ContinuityReport, *, sent: bool | None = None
) -> list[tuple[str, str, bool]]:
    """Return (name, value, is past its threshold); two values are median / worst.

    With lines about what was ``sent``: by default where the report knows it.
    """
    limits = report.thresholds

    def past(value: float | None, limit: float) -> bool:
        return value is not None and 0 <= limit < value

    def spread(values: Spread | None) -> str:
        return "unknown" if values is None else f"{values.median:.3g} / {values.max:.3g}"

    def number(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.3f}"

    excess, late = report.seam_excess_ratio, report.lateness_us
    ratio = report.seam_to_ordinary
    rate = "unknown" if report.rate_hz is None else f"{report.rate_hz:.2f}"
    forecasts = "unknown" if report.under_forecast is None else str(report.under_forecast)
    lines: list[tuple[str, str, bool]] = [
        ("steps executed", str(report.steps), False),
        ("duration [s], rate [Hz]", f"{report.duration_s:.1f}, {rate}", False),
        (
            "starved ticks",
            str(report.starved_ticks),
            past(report.starved_ticks, limits.max_starved),
        ),
        (
            "misplaced steps",
            str(report.misplaced_steps),
            past(report.misplaced_steps, limits.max_misplaced),
        ),
        ("ticks held: waiting, fault", f"{report.waiting_ticks}, {report.fault_ticks}", False),
        ("seams, later than forecast", f"{report.seam_count}, {forecasts}", False),
        (
            "seam's excess [ordinary steps]",
            spread(excess),
            past(None if excess is None else excess.max, limits.max_seam_excess),
        ),
        (
            "excess, seams ÷ ordinary: median, p95",
            "unknown" if ratio is None else f"{ratio.median:.3g}, {ratio.p95:.3g}",
            past(None if ratio is None else ratio.p95, limits.max_seam_p95_ratio)
            or past(None if ratio is None else ratio.median, limits.max_seam_median_ratio),
        ),
        ("seam's excess [rad]", spread(report.seam_excess), False),
        ("speed at seams [rad/s]", spread(report.seam_speed), False),
        ("ordinary speed [rad/s]", spread(report.ordinary_speed), False),
        ("acceleration at seams [rad/s²]", spread(report.seam_acceleration), False),
        ("ordinary acceleration [rad/s²]", spread(report.ordinary_acceleration), False),
        ("jerk at seams [rad/s³]", spread(report.seam_jerk), False),
        ("ordinary jerk [rad/s³]", spread(report.ordinary_jerk), False),
        ("frozen rows against executed [rad]", spread(report.prefix_mismatch), False),
        ("overlap of two chunks, rms [rad]", spread(report.overlap_rms), False),
        ("SPARC, LDLJ", f"{number(report.sparc)}, {number(report.ldlj)}", False),
        ("steps with a limit at work", str(report.limited_steps), False),
        (
            "tick lateness [ms]",
            "unknown" if late is None else f"{late.median / 1e3:.3g} / {late.max / 1e3:.3g}",
            False,
        ),
        ("late ticks", "unknown" if late is None else str(report.late_ticks), False),
        (
            "tick lateness p99 [ms]",
            "unknown" if late is None else f"{late.p99 / 1e3:.3g}",
            past(None if late is None else late.p99 * 1e-6, limits.max_lateness_s),
        ),
    ]
    if report.sent is not None if sent is None else sent:
        lines += _sent(report)
    return lines


def _sent(report: ContinuityReport) -> list[tuple[str, str, bool]]:
    """Return the lines about what drivers of rows were sent."""
    sent, limits = report.sent, report.thresholds
    names = (
        "messages sent [Hz], per row, not in time",
        "acceleration sent [rad/s²], of rows alone",
        "jerk sent [rad/s³], of rows alone",
        "sent beyond the rows' rate [mrad], of rows alone",
    )
    if sent is None:
        return [(name, "unknown", False) for name in names]

    def spread(values: Spread | None, rows: Spread | None) -> str:
        if values is None:
            return "unknown"
        alone = "" if rows is None else f", {rows.max:.3g}"
        return f"{values.median:.3g} / {values.max:.3g}{alone}"

    def past(values: Spread | None, limit: float) -> bool:
        return values is not None and 0 <= limit < values.max

    above = "unknown"
    if sent.above_rms is not None and sent.rows_above_rms:
        above = f"{sent.above_rms * 1e3:.3g}, {sent.rows_above_rms * 1e3:.3g}"
    values = (
        (f"{sent.rate_hz:g}, {sent.points}, {sent.unsent}", False),
        (
            spread(sent.acceleration, sent.rows_acceleration),
            past(sent.acceleration, limits.max_sent_acceleration),
        ),
        (spread(sent.jerk, sent.rows_jerk), past(sent.jerk, limits.max_sent_jerk)),
        (above, False),
    )
    return [(name, *value) for name, value in zip(names, values, strict=True)]
