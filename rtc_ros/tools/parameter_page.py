"""`rtc_ros docs parameters`: writes docs/parameters.md from the table that declares them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rtc_ros.nodes.parameter_table import as_markdown


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with ``--check`` exit with 1 where the file says something else."""
    parser = argparse.ArgumentParser(prog="rtc_ros docs parameters", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/parameters.md"))
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(argv)
    if options.check:
        same = options.output.is_file() and options.output.read_text() == as_markdown()
        print(f"{options.output} is {'up to date' if same else 'not what the table says'}")
        return 0 if same else 1
    options.output.write_text(as_markdown())
    print(f"wrote {options.output}")
    return 0
