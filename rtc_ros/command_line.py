"""Command lines: a command's parser, numbers as types that refuse what can't be, name:=value."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable


def tool(name: str, text: str) -> argparse.ArgumentParser:
    """Return the parser of `rtc_ros NAME`, whose help has the lines of ``text`` as they are."""
    kind = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"rtc_ros {name}", description=text, formatter_class=kind)


def whole(least: int) -> Callable[[str], int]:
    """Return a type for integers from ``least`` up."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text} is no whole number") from error
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is too few: at least {least}")
        return value

    return read


def real(least: float = 0.0, *, above: bool = False) -> Callable[[str], float]:
    """Return a type for finite numbers from ``least`` up, or ``above`` it."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text} is no number") from error
        if not math.isfinite(value) or value < least or (above and value == least):
            than = "above" if above else "at least"
            raise argparse.ArgumentTypeError(f"{text} can't be: a number, {than} {least:g}")
        return value

    return read


SECONDS = real(above=True)
"""A time that passes."""

COUNT = whole(1)
"""How many of something."""


def assigned(words: Iterable[str]) -> dict[str, str]:
    """Return name → value of words like ``name:=value``; a later one wins.

    Raises:
        ValueError: names the first word that isn't of that form.
    """
    values = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise ValueError(f"{word} is not of the form name:=value")
        values[name] = value
    return values
