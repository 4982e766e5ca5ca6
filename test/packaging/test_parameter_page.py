"""docs/parameters.md says what the tables say, and the check notices when it doesn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtc_ros.bringup import SIM_ARGUMENTS
from rtc_ros.tools.cli import main
from rtc_ros.tools.parameter_page import SECTIONS

CHECK = ("docs", "parameters", "--check", "--output")


def test_the_page_in_the_repository_is_up_to_date(repo: Path) -> None:
    assert main([*CHECK, str(repo / "docs/parameters.md")]) == 0


@pytest.mark.parametrize("drift", ["changed", "missing"])
def test_the_check_notices_and_leaves_the_page_alone(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], drift: str
) -> None:
    page = tmp_path / "parameters.md"
    text = (repo / "docs/parameters.md").read_text(encoding="utf-8")
    if drift == "changed":
        page.write_text(text.replace("0.02", "0.03", 1), encoding="utf-8")
    assert main([*CHECK, str(page)]) == 1
    wrong = "isn't there" if drift == "missing" else "is not what the tables say"
    assert f"{page} {wrong}: run rtc_ros docs parameters" in capsys.readouterr().err
    if drift == "changed":
        assert page.read_text(encoding="utf-8") != text
    else:
        assert not page.exists()
    assert main([*CHECK[:2], "--output", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == text
    assert main([*CHECK, str(page)]) == 0


def test_a_place_that_can_not_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "nowhere" / "parameters.md"
    assert main([*CHECK[:2], "--output", str(page)]) == 2
    assert str(page) in capsys.readouterr().err


def test_every_parameter_and_launch_argument_has_a_row(repo: Path) -> None:
    text = (repo / "docs/parameters.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n## ")[1:]}
    assert list(sections) == [title for title, _, _ in SECTIONS] + ["Launch arguments"]
    for title, prefix, table in SECTIONS:
        rows = [line for line in sections[title].splitlines() if line.startswith("| `")]
        assert len(rows) == len(table)
        for parameter, row in zip(table, rows, strict=True):
            assert row.startswith(f"| `{prefix}{parameter.name}` |")
            assert ("**live**" in row) == parameter.live
            assert parameter.description in row
    for argument in SIM_ARGUMENTS:
        assert f"| `{argument.name}` |" in sections["Launch arguments"]
