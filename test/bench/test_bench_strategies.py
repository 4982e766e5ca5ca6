"""The comparison from end to end, small: tables, figures, and what is there isn't done again."""

from __future__ import annotations

import csv

import pytest

from rtc_ros.bench.strategies import main

_SMALL = ["--quick", "--tasks", "spring_bar", "catch", "--episodes", "8", "--updates", "10",
          "--demonstrations", "30"]  # fmt: skip


def test_quick_run_writes_tables_and_figures_and_resumes(tmp_path, capsys):
    options = [*_SMALL, "--out", str(tmp_path), "--sweeps", "delay", "stride"]
    options += ["--methods", "rtc", "bid"]
    assert main(options) == 0
    text = capsys.readouterr().out
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    rows = list(csv.DictReader((tmp_path / "strategies.csv").open()))
    assert len(rows) == 2 * (2 * 2 + 2 * 2) and {r["episodes"] for r in rows} == {"8"}
    for row in rows:
        share = int(row["done"]) / 8
        assert float(row["low"]) <= share <= float(row["high"])
    assert text == (tmp_path / "strategies.md").read_text()
    for words in ("all tasks", "`catch`", "| rtc |", "| bid |", "| d = 0 |", "| s = 1 |"):
        assert words in text
    for picture in ("strategies_delay.png", "strategies_stride.png"):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"

    assert main([*options, "naive_async"]) == 0
    more = (tmp_path / "results.jsonl").read_text().splitlines()
    assert more[: len(lines)] == lines and len(more) == len(lines) + 2 * 4


def test_ablations_are_of_rtc_and_its_defaults_are_among_them(tmp_path, capsys):
    small = ["--quick", "--episodes", "4", "--updates", "5", "--demonstrations", "20"]
    options = [*small, "--tasks", "catch", "--sweeps", "ablation", "--out", str(tmp_path)]
    assert main(options) == 0
    text = capsys.readouterr().out
    names = ("defaults", "schedule ones", "β 20", "n 10", "Jacobian identity", "σ_d 0.5")
    assert all(f"| {name} |" in text for name in names)
    assert not list(tmp_path.glob("*.png"))


def test_a_folder_of_other_conditions_is_refused(tmp_path, capsys):
    small = [*_SMALL, "--out", str(tmp_path), "--methods", "naive_async", "--sweeps", "delay"]
    assert main(small) == 0
    assert main([*small, "--seed", "8"]) == 2
    assert "was made with seed 7 (now 8)" in capsys.readouterr().err


def test_a_number_below_one_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--episodes", "0"])
    assert stopped.value.code == 2 and "0 is too few" in capsys.readouterr().err
