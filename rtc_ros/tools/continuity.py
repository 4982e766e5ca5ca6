"""``rtc_ros continuity BAG …``: judge the motion in recordings; no ROS needed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtc_ros.bags.parameters import recorded_parameters
from rtc_ros.bags.reader import BagError
from rtc_ros.bags.topics import TopicNames
from rtc_ros.core.continuity import ContinuityReport, Thresholds
from rtc_ros.paths import a_path
from rtc_ros.report.examine import JudgedBag, examine
from rtc_ros.report.facts import alike

PASSED, FAILED, UNUSABLE = 0, 1, 2
FORMAT = 1
"""Of the JSON; counts up when a field changes its meaning or goes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 within the thresholds, 1 past one, 2 if it can't be judged."""
    arguments = _parser().parse_args(argv)
    several = len(arguments.bags) > 1
    if several and (arguments.json or arguments.png or arguments.parameters):
        print(
            "continuity: --json, --png and --parameters are for one bag; give --out DIR",
            file=sys.stderr,
        )
        return UNUSABLE
    thresholds = Thresholds(
        max_starved=arguments.max_starved,
        max_misplaced=arguments.max_misplaced,
        max_seam_excess=arguments.max_seam_excess,
        max_lateness_s=arguments.max_lateness_ms * 1e-3,
        max_seam_p95_ratio=arguments.max_seam_p95_ratio,
        max_seam_median_ratio=arguments.max_seam_median_ratio,
        max_sent_acceleration=arguments.max_sent_acceleration,
        max_sent_jerk=arguments.max_sent_jerk,
    )
    names = TopicNames(
        executed=arguments.executed,
        swap=arguments.swap,
        chunk=arguments.chunk,
        joint_states=arguments.joint_states,
        commands=tuple(arguments.commands),
    )
    code = PASSED
    reports: list[tuple[Path, ContinuityReport]] = []
    found: list[JudgedBag] = []
    for bag in arguments.bags:
        try:
            judged = examine(bag, names, thresholds)
            _write(arguments, bag, judged)
        except BagError as error:
            print(f"continuity: {error}", file=sys.stderr)
            code = UNUSABLE
            continue
        except OSError as error:
            print(f"continuity: can't write the report: {error}", file=sys.stderr)
            return UNUSABLE
        report = judged.report
        reports.append((bag, report))
        found.append(judged)
        code = max(code, {True: PASSED, False: FAILED, None: UNUSABLE}[report.verdict.passed])
    if found and arguments.html:
        # Drawing takes a second to import, which a check in a script needn't pay.
        from rtc_ros.report.page import write_html

        try:
            write_html(found, arguments.html)
        except OSError as error:
            print(f"continuity: can't write the report: {error}", file=sys.stderr)
            return UNUSABLE
    if reports and not arguments.quiet:
        # A file or a pipe has no width; cut-off figures would be of no use there.
        width = None if sys.stdout.isatty() else 40 + 20 * len(reports)
        print_table(reports, Console(width=width and max(100, width)))
    return code


def as_json(bag: Path, report: ContinuityReport) -> dict[str, Any]:
    """Return ``report`` as what JSON can hold: NaN becomes null."""
    return {"format": FORMAT, "bag": str(bag), **_plain(dataclasses.asdict(report))}


def print_table(reports: Sequence[tuple[Path, ContinuityReport]], console: Console) -> None:
    """Print the figures, a column for each bag, and the verdicts with their reasons."""
    table = Table()
    table.add_column("median / worst", overflow="fold")
    for bag, _ in reports:
        table.add_column(escape(bag.name or str(bag)), justify="right", overflow="fold")
    columns = alike([report for _, report in reports])
    for lines in zip(*columns, strict=True):
        values = [f"[red]{value}[/red]" if bad else value for _, value, bad in lines]
        table.add_row(escape(lines[0][0]), *values)
    console.print(table)
    for bag, report in reports:
        colour = {True: "green", False: "red", None: "yellow"}[report.verdict.passed]
        console.print(f"[{colour}]{report.verdict.word}[/{colour}] {escape(str(bag))}")
        for sentence in report.verdict.why:
            console.print(f"  {escape(sentence)}", highlight=False)
        for sentence in (*report.notes, *report.unknown):
            console.print(f"  [yellow]note:[/yellow] {escape(sentence)}", highlight=False)


def _write(arguments: argparse.Namespace, bag: Path, judged: JudgedBag) -> None:
    json_path, png_path = arguments.json, arguments.png
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        name = "continuity" if len(arguments.bags) == 1 else f"{bag.stem}_continuity"
        json_path = json_path or arguments.out / f"{name}.json"
        png_path = png_path or arguments.out / f"{name}.png"
    if arguments.parameters is not None:
        _write_parameters(bag, arguments.parameters)
    if json_path is not None:
        text = json.dumps(as_json(bag, judged.report), indent=1, allow_nan=False)
        json_path.write_text(text + "\n", encoding="utf-8")
    if png_path is not None:
        from rtc_ros.report.figure import draw_report

        draw_report(judged.report, judged.evidence, bag.name, png_path)


def _write_parameters(bag: Path, path: Path) -> None:
    text = yaml.safe_dump(recorded_parameters(bag), sort_keys=False, default_flow_style=None)
    path.write_text(f"# As recorded in {bag.name}.\n{text}", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _parser() -> argparse.ArgumentParser:
    default = Thresholds()
    parser = argparse.ArgumentParser(
        prog="rtc_ros continuity",
        description="Judge the motion in rosbag2 recordings: pauses, jumps at chunk seams, "
        "misplaced steps. Exit code 0: within the thresholds, 1: past one, 2: can't be judged.",
        epilog="A negative threshold leaves its figure unjudged. docs/continuity.md defines all.",
    )
    add = parser.add_argument
    add("bags", nargs="+", type=a_path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    add("--json", type=a_path, metavar="FILE", help="write the report as JSON")
    add("--png", type=a_path, metavar="FILE", help="write the picture")
    add("--parameters", type=a_path, metavar="FILE",
        help="write the nodes' parameters, as recorded")  # fmt: skip
    add("--html", type=a_path, metavar="FILE", help="write one page on all bags, side by side")
    add("--out", type=a_path, metavar="DIR", help="write both into DIR, for each bag")
    add("--quiet", action="store_true", help="print nothing where the bags can be read")
    add(
        "--max-starved",
        type=int,
        default=default.max_starved,
        metavar="TICKS",
        help="ticks held without a row to execute (default %(default)s)",
    )
    add(
        "--max-misplaced",
        type=int,
        default=default.max_misplaced,
        metavar="STEPS",
        help="steps from a wrong row or out of order (default %(default)s)",
    )
    add(
        "--max-seam-excess",
        type=float,
        default=default.max_seam_excess,
        metavar="RATIO",
        help="the worst seam's jump beyond the motion around it, in fast ordinary steps of the "
        "same joint (default %(default)s)",
    )
    ratios = {"p95": default.max_seam_p95_ratio, "median": default.max_seam_median_ratio}
    for which, value in ratios.items():
        add(
            f"--max-seam-{which}-ratio",
            type=float,
            default=value,
            metavar="RATIO",
            help=f"{which} of the excess at seams over that of ordinary steps (default: not "
            "judged)",
        )
    add(
        "--max-lateness-ms",
        type=float,
        default=default.max_lateness_s * 1e3,
        metavar="MS",
        help="p99 of the control tick's lateness (default %(default)s)",
    )
    for what, unit in (("acceleration", "rad/s²"), ("jerk", "rad/s³")):
        add(
            f"--max-sent-{what}",
            type=float,
            default=-1.0,
            metavar="LIMIT",
            help=f"largest {what} in time of what drivers of rows were sent [{unit}] (default: "
            "not judged)",
        )
    for topic, what in (
        ("executed", "executed actions with provenance"),
        ("swap", "swap events"),
        ("chunk", "chunks"),
        ("joint-states", "measured joints"),
    ):
        add(f"--{topic}", metavar="TOPIC", help=f"topic of the {what} (default: by its name)")
    add(
        "--commands",
        nargs="+",
        default=[],
        metavar="TOPIC",
        help="command topics to fall back on in a bag without executed actions",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
