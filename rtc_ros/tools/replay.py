"""`rtc_ros replay`: a recording through the policy again, without moving anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtc_ros.bags.reader import BagError
from rtc_ros.command_line import COUNT, SECONDS, real, whole
from rtc_ros.core.continuity import Thresholds
from rtc_ros.core.prefix import SCHEDULES
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.paths import a_path, path_text
from rtc_ros.replay.check import Reproduction, reproduce
from rtc_ros.replay.recorded_policy import base_settings, check_policy, load_policy
from rtc_ros.replay.shadow import Timing, recorded_timing
from rtc_ros.replay.source import Recording
from rtc_ros.replay.sweep import UNSEEN, Trial, combinations, draw_sweep, recommended, sweep
from rtc_ros.report.examine import examined
from rtc_ros.spelling import few

DONE, DIFFERS, UNUSABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 where chunks differ or no trial passes, 2 where it can't be run."""
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        with Recording(options.bag) as recording:
            return _replay(options, recording, console)
    except (BagError, OSError, ValueError, RuntimeError) as error:
        print(f"replay: {' '.join(str(error).split())}", file=sys.stderr)
        return UNUSABLE


def _replay(options: argparse.Namespace, recording: Recording, console: Console) -> int:
    for path in (options.json, options.png, options.html):
        if path is not None and not path.parent.is_dir():  # known before all is computed
            raise OSError(f"{path} can't be written: there is no folder {path.parent}")
    for sentence in recording.notes:
        console.print(f"[yellow]note:[/yellow] {escape(sentence)}", highlight=False)
    thresholds = Thresholds(options.max_starved, 0, options.max_seam_excess, -1.0)
    policy = load_policy(recording, options.policy)
    check_policy(recording, policy)
    console.print(f"{policy.spec.description}, H = {policy.spec.horizon}", highlight=False)
    if options.reproduce:
        found = reproduce(recording, policy, options.chunks, options.policy)
        _say_reproduction(found, console)
        _write_json(options.json, {"reproduction": asdict(found), "notes": recording.notes})
        if not found.same + found.others:
            return UNUSABLE
        return DIFFERS if found.others else DONE
    latency = None if options.latency_ms is None else options.latency_ms * 1e-3
    timing = recorded_timing(recording, latency, options.seconds)
    choices = combinations(
        base_settings(recording),
        options.s_min,
        options.beta,
        options.schedule,
        options.strategy,
    )
    trials = []
    with console.status("replaying") as status:
        for trial in sweep(recording, policy, choices, timing, thresholds, options.seed):
            trials.append(trial)
            status.update(f"replaying: {len(trials)} of {len(choices)} done")
    best, why = recommended(trials, thresholds)
    _say_trials(trials, best, timing, console)
    if best is not None and len(trials) > 1:
        chosen = best.settings
        console.print(
            f"recommended: {chosen.strategy}, s_min {chosen.s_min}, beta {chosen.beta:g}, "
            f"schedule {chosen.mask_schedule}: {why}",
            highlight=False,
        )
        console.print(UNSEEN, highlight=False)
    elif best is None:
        console.print(why, highlight=False)
    elif best.report is not None and not best.report.verdict.passed:
        told = "; ".join(best.report.verdict.why)
        console.print(f"not within the thresholds: {escape(told)}", highlight=False)
    _write(options, recording, trials, best, why, timing, thresholds)
    passed = [t for t in trials if t.report is not None and t.report.verdict.passed]
    return DONE if passed else DIFFERS


def _say_reproduction(found: Reproduction, console: Console) -> None:
    made = found.same + found.others
    console.print(f"{found.same} of {made} chunks made again are the same to the bit")
    if found.others:
        which = _chunks(list(found.different))
        console.print(f"[red]{found.others} differ, by up to {found.largest:.3g}: {which}[/red]")
    for strategy, (same, others, not_made) in found.by_strategy.items():
        parts = [f"{same} the same", f"{others} differ", f"{not_made} couldn't be made again"]
        console.print(f"  {strategy}: {', '.join(parts)}", highlight=False)
    for reason, names in found.not_made.items():
        told = f"  {len(names)} couldn't be made again: {reason} ({_chunks(names)})"
        console.print(told, highlight=False, markup=False)


def _chunks(names: Sequence[str]) -> str:
    """Return the first of the chunks' names; all of them are in the file of --json."""
    return f"chunk {few(names)}"


def _say_trials(
    trials: Sequence[Trial], best: Trial | None, timing: Timing, console: Console
) -> None:
    low, high = min(timing.delays), max(timing.delays)
    seconds = timing.ticks * timing.period_ns * 1e-9
    console.print(
        f"{timing.ticks} ticks ({seconds:.1f} s), inferences of {low} to {high} ticks; the arm "
        "does not follow the shadow: its observations are the recorded ones",
        highlight=False,
    )
    names, cells = _columns(trials)
    if "strategy" not in names:
        console.print(f"strategy {trials[0].settings.strategy}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True)
    for name in ("", *names):
        no_wrap = name in _SETTINGS
        table.add_column(escape(name), justify="right", no_wrap=no_wrap, overflow="fold")
    for trial, row in zip(trials, cells, strict=True):
        table.add_row("→" if trial is best and len(trials) > 1 else "", *row)
    console.print(table)
    for why in dict.fromkeys(t.why for t in trials if t.why):
        console.print(f"refused: {why}", highlight=False)


_SETTINGS = ("strategy", "s_min", "β", "schedule")
_FIGURES = (
    "seams",
    "starved",
    "seam: median",
    "p95",
    "worst",
    "jump [rad]",
    "frozen rows off [rad]",
    "age [ms]",
    "held back [rad]",
)


def _columns(trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    """Return the columns' names and each trial's cells; a strategy that all have is left out."""
    one = len({t.settings.strategy for t in trials}) == 1
    names = [n for n in _SETTINGS if not (one and n == "strategy")]
    return [*names, *_FIGURES], [_cells(t)[one:] for t in trials]


def _cells(trial: Trial) -> list[str]:
    settings, report, found = trial.settings, trial.report, trial.shadow
    cells = [settings.strategy, str(settings.s_min), f"{settings.beta:g}", settings.mask_schedule]
    if report is None or found is None:
        return [*cells, "refused", *["–"] * (len(_FIGURES) - 1)]
    excess, jump, frozen = report.seam_excess_ratio, report.seam_jump, report.prefix_mismatch
    values: list[float | None] = [None] * 3
    if excess is not None:
        values = [excess.median, excess.p95, excess.max]
    values += [jump.p95 if jump else None, frozen.p95 if frozen else None]
    values += [None if found.age_s is None else found.age_s * 1e3, found.held_back]
    figures = ["–" if v is None else f"{v:.3g}" for v in values]
    return [*cells, str(report.seam_count), str(report.starved_ticks), *figures]


def _write(
    options: argparse.Namespace,
    recording: Recording,
    trials: Sequence[Trial],
    best: Trial | None,
    why: str,
    timing: Timing,
    thresholds: Thresholds,
) -> None:
    _write_json(
        options.json,
        {
            "bag": str(recording.path),
            "notes": recording.notes,
            "ticks": timing.ticks,
            "delays": list(timing.delays),
            "seed": options.seed,
            "trials": [t.as_json() for t in trials],
            "recommended": None if best is None else trials.index(best),
            "why": why,
            "unseen": UNSEEN,
        },
    )
    if options.png is not None:
        draw_sweep(trials, best, thresholds, options.png)
    if options.html is not None and best is not None and best.shadow is not None:
        from rtc_ros.report.page import write_html

        pages = [
            examined(f"{recording.path.name} (recorded)", recording.run, thresholds),
            examined(f"{recording.path.name} (shadow)", best.shadow.run, thresholds),
        ]
        write_html(pages, options.html)


def _write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _numbers(kind: type) -> Any:
    def parse(text: str) -> list[Any]:
        return [kind(x) for x in text.split(",")]

    parse.__name__ = f"list of {kind.__name__}"
    return parse


def _words(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        unknown = [w for w in words if w not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
        return words

    return parse


def _parser() -> argparse.ArgumentParser:
    default = Thresholds()
    parser = argparse.ArgumentParser(
        prog="rtc_ros replay",
        description="Feed a recording's observations to the policy, without moving anything, and "
        "report the continuity that it would have had. docs/replay.md says what that tells.",
        epilog="Exit code 0: done, 1: a chunk differs or no trial passes, 2: can't be run.",
    )
    add = parser.add_argument
    add("bag", type=a_path, metavar="BAG", help="recorded with record_cameras:=true")
    add("--policy", type=path_text, metavar="PATH",
        help="another checkpoint than the recorded one")  # fmt: skip
    add("--reproduce", action="store_true", help="make the recorded chunks again and compare bits")
    add("--chunks", type=COUNT, metavar="N", help="with --reproduce: the first N only")
    add("--latency-ms", type=real(), metavar="MS", help="in place of the recorded latencies")
    add("--seconds", type=SECONDS, metavar="S", help="no more than this from the beginning")
    add("--s-min", type=_numbers(int), default=[], metavar="N,…", help="values of s_min to try")
    add("--beta", type=_numbers(float), default=[], metavar="B,…", help="values of β to try")
    add("--schedule", type=_words(SCHEDULES), default=[], metavar="G,…", help="schedules to try")
    add("--strategy", type=_words(STRATEGIES), default=[], metavar="NAME,…",
        help="strategies to try, in place of the recorded one")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default %(default)s)")
    add("--json", type=a_path, metavar="FILE", help="write the figures")
    add("--png", type=a_path, metavar="FILE", help="write the trade-off as a picture")
    add("--html", type=a_path, metavar="FILE", help="write recorded and best shadow side by side")
    add("--max-starved", type=whole(0), default=default.max_starved, metavar="TICKS")
    add("--max-seam-excess", type=real(), default=default.max_seam_excess, metavar="RATIO")
    return parser


if __name__ == "__main__":
    sys.exit(main())
