"""The comparison from end to end, small: tables, figures, and what is there isn't done again."""

from __future__ import annotations

import csv
import json

import pytest

from rtc_ros.bench import strategies
from rtc_ros.bench.strategies import main
from rtc_ros.bench.tasks import learn
from rtc_ros.bench.tasks.episodes import run_episodes

_SMALL = ["--quick", "--tasks", "slalom", "catch", "--episodes", "8", "--updates", "10",
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
    told = ("`slalom`", "`catch`", "| rtc |", "| bid |", "| d = 0 |", "| s = 1 |")
    for words in (*told, "**More done than rtc, in percentage points, by d, s = max(d, 1): "):
        assert words in text
    for picture in ("strategies_delay.png", "strategies_stride.png"):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"

    assert main([*options, "naive_async"]) == 0
    more = (tmp_path / "results.jsonl").read_text().splitlines()
    assert more[: len(lines)] == lines and len(more) == len(lines) + 2 * 4

    capsys.readouterr()
    assert main([*options, "synchronous", "naive_async", "--measured"]) == 0
    text = capsys.readouterr().out
    assert "| naive_async |" in text and "synchronous" not in text
    assert (tmp_path / "results.jsonl").read_text().splitlines() == more


def test_each_method_s_settings_are_tried_on_episodes_that_are_not_compared(tmp_path, capsys):
    small = ["--quick", "--episodes", "4", "--updates", "20", "--demonstrations", "20"]
    options = [*small, "--tasks", "catch", "--methods", "rtc", "temporal_ensembling"]
    assert main([*options, "--sweeps", "settings", "chosen", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    tried = [f"rtc, {x}" for x in ("schedule ones", "β 20", "n 10", "Jacobian identity")]
    for name in (*tried, "temporal_ensembling, m -1.0", "temporal_ensembling, m 0.3"):
        assert f"| {name} |" in text
    assert "rtc_hard" not in text and "what was chosen**" in text
    assert [p.name for p in tmp_path.glob("*.png")] == ["strategies_chosen.png"]
    rows = list(csv.DictReader((tmp_path / "strategies.csv").open()))
    tried, compared = ([r for r in rows if r["sweep"] == s] for s in ("settings", "chosen"))
    # Half as many episodes, of another seed: to the same settings other figures.
    assert {r["episodes"] for r in tried} == {"2"} and {r["episodes"] for r in compared} == {"4"}
    done = {r["variant"]: int(r["done"]) for r in tried if r["method"] == "rtc"}
    (chosen,) = {r["variant"] for r in compared if r["method"] == "rtc"}
    assert done[chosen] == max(done.values())
    _, *lines = (tmp_path / "results.jsonl").read_text().splitlines()
    keys = [json.loads(x)["key"] for x in lines]
    assert sum(k.startswith("choosing catch d=2") for k in keys) == len(tried)


def test_starts_are_other_ones_in_training_choosing_and_comparing(tmp_path, monkeypatch):
    seeds = {}
    monkeypatch.setattr(strategies.learn, "train", noted(seeds, "train", learn.train, 1))
    monkeypatch.setattr(strategies, "run_episodes", noted(seeds, "run", run_episodes, 5))
    options = ["--quick", "--episodes", "2", "--updates", "5", "--demonstrations", "20"]
    options += ["--tasks", "catch", "--methods", "naive_async", "--sweeps", "settings", "delay"]
    assert main([*options, "--out", str(tmp_path)]) == 0
    assert len(seeds["run"]) == 2 and not seeds["run"] & seeds["train"]


def noted(seeds, name, function, place):
    def call(*args):
        seeds.setdefault(name, set()).add(args[place])
        return function(*args)

    return call


def test_a_folder_of_other_conditions_is_refused(tmp_path, capsys):
    small = [*_SMALL, "--out", str(tmp_path), "--methods", "naive_async", "--sweeps", "delay"]
    assert main(small) == 0
    assert main([*small, "--seed", "8"]) == 2
    assert "was made with seed 7 (now 8)" in capsys.readouterr().err
    # One from before the stride was what it is said to be.
    file = tmp_path / "results.jsonl"
    file.write_text(file.read_text().replace(', "stride": "max(d, s_min)"}', "}", 1))
    assert main(small) == 2
    assert "was made with stride None (now max(d, s_min))" in capsys.readouterr().err


def test_a_number_below_one_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--episodes", "0"])
    assert stopped.value.code == 2 and "0 is too few" in capsys.readouterr().err
