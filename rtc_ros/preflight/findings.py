"""What a preflight check finds, and how that is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from rich.console import Console
from rich.text import Text


class Level(IntEnum):
    """How bad a finding is."""

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
    """What was looked at, what was found, and what to do about it."""

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
    """Return 2 where there is a ✗, else 0: what only has a ! may be started.

    Not 1: that is how Python ends where a program breaks off.
    """
    return 2 if any(f.level is Level.BAD for f in findings) else 0


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings in their order, each ! and each ✗ once more, and the verdict."""
    for finding in findings:
        _print(finding, console)
    again = sorted((f for f in findings if f.level is not Level.GOOD), key=lambda f: f.level)
    if again:
        console.print("\nOnce more, what isn't ✓:" if len(again) < len(findings) else "")
    for finding in again:
        _print(finding, console)
    console.print(f"\n{verdict(findings)}", highlight=False)


def _print(finding: Finding, console: Console) -> None:
    """Print one finding, wrapped between words: a name is never broken, nor cut off."""
    sign, style = _SIGNS[finding.level]
    told = _wrapped(f"{finding.subject}: {finding.sentence}", "  ", console.width)
    text = Text.assemble((sign, style), told[1:])
    if finding.fix:
        text.append("\n" + _wrapped(f"    → {finding.fix}", "      ", console.width), "cyan")
    console.print(text, soft_wrap=True)


def _wrapped(text: str, indent: str, width: int) -> str:
    """Return ``text`` in lines of ``width``; what is longer than a line stays in one piece."""
    first = "" if text.startswith(" ") else indent
    return textwrap.fill(
        " ".join(text.split()) if first else text,
        width,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def verdict(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of each, and what follows."""
    counts = [sum(f.level is level for f in findings) for level in Level]
    follows = (
        "ready to start",
        "may be started; read each ! first",
        "don't start before each ✗ is gone",
    )[max((f.level for f in findings), default=Level.GOOD)]
    return f"{counts[0]} ✓  {counts[1]} !  {counts[2]} ✗: {follows}"
