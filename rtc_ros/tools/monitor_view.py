"""The terminal view of a running robot: what to know at a glance, drawn with rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rtc_ros.core.cursor import Mode
from rtc_ros.report.facts import facts
from rtc_ros.report.live_run import LiveState, nothing_yet

SILENT_S = 1.0
SEAMS_SHOWN = 40
_BLOCKS = " ▁▂▃▄▅▆▇█"
_COLOURS = {
    Mode.RUNNING: "green",
    Mode.WAITING: "yellow",
    Mode.STARVED: "bold red",
    Mode.FAULT: "bold red",
    Mode.STOPPED: "dim",
}


def view(state: LiveState, absent: Sequence[str] = ()) -> RenderableType:
    """Return the whole view of ``state``; nobody publishes the topics ``absent``."""
    return Group(
        Panel(_now(state, absent), title="now", title_align="left"),
        Panel(_seams(state), title="seams, newest last", title_align="left"),
        Panel(_figures(state), title="the last minute", title_align="left"),
    )


def line(state: LiveState, absent: Sequence[str] = ()) -> str:
    """Return one line on ``state``, for pipes and files."""
    if state.report is None:
        return nothing_yet(absent)
    chunk, report = state.chunk, state.report
    excess = report.seam_excess_ratio
    return " ".join(
        [
            f"step={state.step}",
            f"mode={state.mode.name if state.mode is not None else 'unknown'}",
            f"chunk={chunk.seq if chunk else '?'}",
            f"row={state.row}/{chunk.horizon if chunk else '?'}",
            f"d={_delays(state)}",
            f"s={chunk.stride if chunk else '?'}",
            f"beta={state.settings.get('beta', '?')}",
            f"seams={report.seam_count}",
            f"worst={'?' if excess is None else f'{excess.max:.2f}'}",
            f"starved={report.starved_ticks}",
            f"late_p99_ms={_late(state)}",
            f"verdict={report.verdict.word}",
        ]
    )


def _now(state: LiveState, absent: Sequence[str]) -> RenderableType:
    if state.silent_s is None:
        return Text(f"{nothing_yet(absent)}: is the controller started?", style="yellow")
    if state.problem:
        return Text(state.problem, style="yellow")
    grid = Table.grid(padding=(0, 3))
    if state.silent_s > SILENT_S:
        word = Text(f"no tick for {state.silent_s:.1f} s", style="bold yellow")
    else:
        word = Text(state.reason, style=_COLOURS.get(state.mode or Mode.STOPPED, ""))
    chunk, settings = state.chunk, state.settings
    grid.add_row("motion", word, f"step {state.step}")
    if chunk is not None:
        guided = "guided" if chunk.guided else "unguided"
        grid.add_row("chunk", f"{chunk.seq} ({guided})", f"s {chunk.stride}   d {_delays(state)}")
        used = rows_bar(state.row, chunk.delay, chunk.horizon)
        grid.add_row("rows in use", used, f"row {state.row} of H {chunk.horizon}")
    words = [f"{n} {settings[n]}" for n in ("strategy", "s_min", "schedule") if n in settings]
    beta = f"β {settings['beta']}" if "beta" in settings else "β unknown"
    grid.add_row("settings", beta, "   ".join(words))
    totals = ", ".join(f"{count} {name}" for name, count in state.totals.items() if count)
    grid.add_row("in all", totals or "nothing yet", f"tick {state.lateness_ms:.2f} ms late")
    return grid


def rows_bar(row: int, delay: int, horizon: int, width: int = 48) -> Text:
    """Return a chunk's rows as a bar: executed, frozen ahead, the rest."""
    bar = Text()
    for cell in range(width):
        at = cell * horizon // width
        if row >= 0 and at <= row:
            bar.append("█", style="green")
        else:
            bar.append("▒" if at < delay else "░", style="cyan" if at < delay else "dim")
    return bar


def _seams(state: LiveState) -> RenderableType:
    report = state.report
    if report is None or not report.seams:
        return Text("no seam yet", style="dim")
    limit = report.thresholds.max_seam_excess
    shown = report.seams[-SEAMS_SHOWN:]
    top = max([limit, *(s.excess_ratio or 0.0 for s in shown)]) or 1.0
    bars = Text()
    for seam in shown:
        size = seam.excess_ratio or 0.0
        level = _BLOCKS[round(min(size / top, 1.0) * (len(_BLOCKS) - 1))]
        bars.append(level if level != " " else "▁", style="bold red" if 0 <= limit < size else "")
    delays = Text("d ")
    for seam in shown[-20:]:
        late = seam.delay_forecast is not None and seam.delay_observed > seam.delay_forecast
        delays.append(f"{seam.delay_observed} ", style="bold red" if late else "")
    last = shown[-1]
    excess = "unknown" if last.excess_ratio is None else f"{last.excess_ratio:.2f}"
    said = f"last: step {last.step}, excess {excess}, held {last.held_ticks} ticks before"
    return Group(bars, delays, Text(said))


def _figures(state: LiveState) -> RenderableType:
    report = state.report
    if report is None:
        return Text("nothing to judge yet", style="dim")
    colour = {True: "green", False: "red", None: "yellow"}[report.verdict.passed]
    grid = Table.grid(padding=(0, 3))
    lines = facts(report)
    half = (len(lines) + 1) // 2
    for left, right in zip(lines[:half], [*lines[half:], ("", "", False)], strict=False):
        cells: list[Text] = []
        for name, value, bad in (left, right):
            # As Text: units in brackets are no markup.
            cells += [Text(name), Text(value, style="bold red" if bad else "bold")]
        grid.add_row(*cells)
    verdict = Text(f"{report.verdict.word}: {'; '.join(report.verdict.why)}", style=colour)
    return Group(grid, verdict)


def _delays(state: LiveState) -> str:
    forecast = state.chunk.delay if state.chunk else "?"
    return f"{forecast}→{state.swap.delay_observed if state.swap else '?'}"


def _late(state: LiveState) -> str:
    late = state.report.lateness_us if state.report else None
    return "?" if late is None else f"{late.p99 * 1e-3:.2f}"
