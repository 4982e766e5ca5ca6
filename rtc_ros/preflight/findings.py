"""What a preflight check finds, and the table that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from rich.table import Table
from rich.text import Text


class Level(IntEnum):
    """How bad a finding is; the worst one is the exit code."""

    GOOD = 0
    DOUBT = 1
    BAD = 2


_SIGNS = {
    Level.GOOD: ("✓", "green"),
    Level.DOUBT: ("!", "yellow"),
    Level.BAD: ("✗", "bold red"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was looked at, what was found, and what to do about it."""

    level: Level
    subject: str
    sentence: str
    fix: str = ""


def good(subject: str, sentence: str) -> Finding:
    """Return a ✓."""
    return Finding(Level.GOOD, subject, sentence)


def doubt(subject: str, sentence: str, fix: str) -> Finding:
    """Return a !: it may work, but not as well as it should."""
    return Finding(Level.DOUBT, subject, sentence, fix)


def bad(subject: str, sentence: str, fix: str) -> Finding:
    """Return a ✗: don't start."""
    return Finding(Level.BAD, subject, sentence, fix)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 where all is ✓, 1 where the worst is !, 2 where there is a ✗."""
    return int(max((f.level for f in findings), default=Level.GOOD))


def table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table, in their order.

    A topic that is wider than its column is folded: cut off, two of them would look the same.
    """
    made = Table(expand=True)
    made.add_column("", width=1)
    made.add_column("checked", ratio=2, overflow="fold")
    made.add_column("found", ratio=5, overflow="fold")
    made.add_column("fix", ratio=4, overflow="fold")
    for finding in findings:
        sign, style = _SIGNS[finding.level]
        made.add_row(
            Text(sign, style), Text(finding.subject), Text(finding.sentence), Text(finding.fix)
        )
    return made


def verdict(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of each, and what follows."""
    counts = [sum(f.level is level for f in findings) for level in Level]
    follows = (
        "ready to start",
        "may be started; read each ! first",
        "don't start before each ✗ is gone",
    )[exit_code(findings)]
    return f"{counts[0]} ✓  {counts[1]} !  {counts[2]} ✗: {follows}"
