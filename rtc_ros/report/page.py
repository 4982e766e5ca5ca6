"""The continuity report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from rtc_ros.core.continuity.evidence import Closeup
from rtc_ros.core.continuity.spread import Spread
from rtc_ros.report.examine import JudgedBag
from rtc_ros.report.facts import alike
from rtc_ros.report.svg import closeup, delay_histogram, sizes, spectrum, timeline

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 24px } h2 { margin-top: 40px; border-bottom: 1px solid #ddd }
h3 { margin: 18px 0 4px }
table { border-collapse: collapse; margin: 8px 0 } th { text-align: left; font-weight: 600 }
td, th { padding: 2px 10px; border-bottom: 1px solid #eee; white-space: nowrap }
td { text-align: right; font-variant-numeric: tabular-nums } td:first-child { text-align: left }
.bad { color: #c62828; font-weight: 600 } .note { color: #8a6d00 }
.small { color: #666; font-size: 13px }
.verdict { color: white; border-radius: 5px; padding: 2px 10px; font-weight: 700 }
.PASS { background: #2e7d32 } .FAIL { background: #c62828 } .NOT { background: #8a6d00 }
.bags { display: grid; gap: 28px } .bags > * { min-width: 0; overflow-x: auto }
img, svg { max-width: 100%; height: auto } .pair { display: flex; flex-wrap: wrap; gap: 16px }
pre { background: #f6f6f6; padding: 8px; overflow-x: auto }
"""


def write_html(bags: Sequence[JudgedBag], path: str | Path) -> None:
    """Write the page on one bag, or on several side by side.

    Raises:
        OSError: the file can't be written.
    """
    Path(path).write_text(html_page(bags), encoding="utf-8")


def html_page(bags: Sequence[JudgedBag]) -> str:
    """Return the page: overview, motion, delays, joints, the worst seams, settings."""
    width = 1400 if len(bags) == 1 else min(1300 * len(bags), 2600)
    names = ", ".join(b.name for b in bags)
    body = [
        f"<h1>Continuity: {escape(names)}</h1>",
        _columns(bags, _verdict),
        "<h2>Overview</h2>",
        _overview(bags),
        _columns(bags, lambda b: timeline(b.report, b.evidence)),
        "<p class=small>Grey bands: one chunk each. Pink: starved; darker grey: waiting for the "
        "first chunk. Red lines: seams past the threshold. Excess: a step's departure from the "
        "motion around it, in fast ordinary steps (p99) of the same joint.</p>",
        "<h2>Delays and sizes</h2>",
        _columns(
            bags,
            lambda b: f"<div class=pair>{delay_histogram(b.report)}{sizes(b.report)}</div>",
        ),
        *_sent(bags),
        "<h2>Joints</h2>",
        _columns(bags, _joints),
        "<h2>The worst seams</h2>",
        _columns(bags, _seams),
        "<h2>Sections</h2>",
        _columns(bags, _sections),
        "<h2>Settings and thresholds</h2>",
        _columns(bags, _settings),
    ]
    return (
        f"<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{escape(names)}</title>"
        f"<style>{STYLE}\nbody {{ max-width: {width}px }}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _columns(bags: Sequence[JudgedBag], content: Callable[[JudgedBag], str]) -> str:
    columns = " ".join(["1fr"] * len(bags))
    titles = [f"<h3>{escape(b.name)}</h3>" if len(bags) > 1 else "" for b in bags]
    cells = [f"<div>{t}{content(b)}</div>" for t, b in zip(titles, bags, strict=True)]
    return f'<div class=bags style="grid-template-columns: {columns}">{"".join(cells)}</div>'


def _verdict(bag: JudgedBag) -> str:
    verdict = bag.report.verdict
    lines = [f"<p><span class='verdict {verdict.word}'>{verdict.word}</span></p><ul>"]
    lines += [f"<li>{escape(why)}</li>" for why in verdict.why]
    notes = (*bag.report.notes, *bag.report.unknown)
    lines += [f"<li class=note>{escape(text)}</li>" for text in notes]
    return "".join(lines) + "</ul>"


def _overview(bags: Sequence[JudgedBag]) -> str:
    rows = []
    for lines in zip(*alike([b.report for b in bags]), strict=True):
        cells = [_bad(escape(value), bad) for _, value, bad in lines]
        rows.append([escape(lines[0][0]), *cells])
    return _table(["median / worst", *(escape(b.name) for b in bags)], rows)


def _sent(bags: Sequence[JudgedBag]) -> list[str]:
    if not any(b.report.sent for b in bags):
        return []
    return [
        "<h2>What drivers were sent</h2>",
        _columns(bags, lambda b: "" if b.report.sent is None else spectrum(b.report.sent)),
        "<p class=small>A driver stands where it was told last: what it is told is a staircase in "
        "time. Beyond half the rows' rate (dotted) a policy can say nothing: what lies there is "
        "the steps themselves.</p>",
    ]


def _joints(bag: JudgedBag) -> str:
    head = ["joint"]
    for what in ("step [rad]", "excess [rad]", "speed [rad/s]", "acceleration", "jerk"):
        head += [f"{what}, ordinary p99", "at seams p99", "max"]
    rows = []
    for joint in bag.report.joints:
        cells = [escape(joint.name)]
        for ordinary, seam in (
            (joint.ordinary_jump, joint.seam_jump),
            (joint.ordinary_excess, joint.seam_excess),
            (joint.ordinary_speed, joint.seam_speed),
            (joint.ordinary_acceleration, joint.seam_acceleration),
            (joint.ordinary_jerk, joint.seam_jerk),
        ):
            cells += [_p99(ordinary), _p99(seam), "" if seam is None else f"{seam.max:.3g}"]
        rows.append([*cells, _number(joint.tracking_rms)])
    return _table([*head, "tracking RMS [rad]"], rows)


def _seams(bag: JudgedBag) -> str:
    if not bag.evidence.closeups:
        return "<p>No seam in the recording.</p>"
    return "".join(
        _seam(number, found, bag) for number, found in enumerate(bag.evidence.closeups, 1)
    )


def _seam(number: int, found: Closeup, bag: JudgedBag) -> str:
    seam, joints = found.seam, bag.evidence.joints
    guided = {True: "guided", False: "unguided", None: "guided or not: unknown"}[seam.guided]
    limit = bag.report.thresholds.max_seam_excess
    ratio = "unknown" if seam.excess_ratio is None else f"{seam.excess_ratio:.2f} ordinary steps"
    over = 0 <= limit < (seam.excess_ratio or 0.0)
    worst = f" in {escape(joints[seam.worst_joint])}" if seam.worst_joint >= 0 else ""
    said = [
        f"jump {seam.jump_max:.3g} rad",
        f"excess {_number(seam.excess_max)} rad",
        f"acceleration {_number(seam.acceleration_max)} rad/s²",
        f"d {_count(seam.delay_forecast)} forecast, {seam.delay_observed} observed",
        f"stride {_count(seam.stride)}",
        f"held before {seam.held_ticks} ticks",
        f"frozen rows against executed {_number(seam.prefix_mismatch)} rad",
        f"overlap RMS {_number(seam.overlap_rms)} rad",
        f"{seam.limited} joints limited",
    ]
    return (
        f"<h3>{number}. step {seam.step} at {seam.time_s:.2f} s: {_bad(ratio, over)}{worst}</h3>"
        f"<p class=small>chunk {seam.previous[1]} → {seam.chunk[1]} ({guided}), row {seam.row}; "
        f"{'; '.join(said)}</p>{closeup(found, joints)}"
    )


def _sections(bag: JudgedBag) -> str:
    head = ["run, part", "records", "steps", "duration [s]", "rate [Hz]", "starved", "waiting"]
    head += ["fault", "misplaced", "unrecorded", "pauses", "clock back", "SPARC", "LDLJ"]
    rows = []
    for s in bag.report.sections[:50]:
        misplaced = sum(s.misplaced.values())
        rows.append(
            [
                f"{_count(s.step_epoch)}, {s.part}",
                *(str(x) for x in (s.records, s.steps)),
                *(_number(x) for x in (s.duration_s, s.rate_hz)),
                *(str(x) for x in (s.starved_ticks, s.waiting_ticks, s.fault_ticks)),
                _bad(str(misplaced), misplaced > 0),
                *(str(x) for x in (s.unrecorded_ticks, s.pauses)),
                _bad(str(s.clock_jumps_back), s.clock_jumps_back > 0),
                *(_number(x) for x in (s.sparc, s.ldlj)),
            ]
        )
    more = len(bag.report.sections) - len(rows)
    return _table(head, rows) + (f"<p class=note>{more} more are not shown</p>" if more else "")


def _settings(bag: JudgedBag) -> str:
    limits = bag.report.thresholds
    text = [
        f"<p>Thresholds: starved {limits.max_starved}, misplaced {limits.max_misplaced}, seam's "
        f"excess {limits.max_seam_excess:g}, excess at seams ÷ ordinary p95 "
        f"{limits.max_seam_p95_ratio:g}, median {limits.max_seam_median_ratio:g}, lateness p99 "
        f"{limits.max_lateness_s * 1e3:g} ms, largest acceleration sent "
        f"{limits.max_sent_acceleration:g} rad/s², jerk {limits.max_sent_jerk:g} rad/s³ "
        "(negative: not judged).</p>"
    ]
    if not bag.settings:
        text.append("<p class=note>The recording holds no settings.</p>")
    for time_s, values in bag.settings[:20]:
        known = json.dumps(values, indent=1, ensure_ascii=False)
        text.append(f"<h3>from {time_s:.2f} s</h3><pre>{escape(known)}</pre>")
    if len(bag.settings) > 20:
        text.append(f"<p class=note>{len(bag.settings) - 20} later changes are not shown</p>")
    return "".join(text)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<table><tr>", *(f"<th>{h}</th>" for h in head), "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows]
    return "".join(lines) + "</table>"


def _bad(text: str, bad: bool) -> str:
    return f"<span class=bad>{text}</span>" if bad else text


def _p99(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.p99:.3g}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _count(value: int | None) -> str:
    return "unknown" if value is None else str(value)
