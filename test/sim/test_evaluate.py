"""Closed-loop evaluation without ROS: deterministic, with delays and seams as asked for."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from rtc_ros.core.continuity import judge
from rtc_ros.core.proportion import difference, wilson
from rtc_ros.core.settings import RtcSettings
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.running.processes import RobotError
from rtc_ros.sim import evaluate as evaluation
from rtc_ros.sim.evaluate import evaluate, main
from rtc_ros.sim.evaluation import limit_events, summarise

FIGURES = (
    '"episodes": 1, "passed": 1, "interval": [0, 1], "done_s": 1, "done_at": [1], "starved": 0, '
    '"misplaced": 0, "seams": 3, "seam_rad": [1, 1, 1], "seam_ratio": [1, 1, 1], '
    '"seam_to_ordinary": [1, 1], "stops": 0, "stopped_episodes": 0}}'
)
"""The rest of a line."""


@pytest.fixture(scope="module")
def policy():
    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path

    return FlowAdapter.load(checkpoint_path("package:aloha_cube"), torch_threads=1)


def test_wilson_against_published_values():
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=2e-4)
    np.testing.assert_allclose(wilson(15, 148), (0.0624, 0.1605), atol=2e-4)
    np.testing.assert_allclose(wilson(0, 20), (0.0, 0.1611), atol=2e-4)
    np.testing.assert_allclose(wilson(1, 29), (0.0061, 0.1718), atol=2e-4)


def test_a_difference_of_pairs_has_scipy_s_interval():
    from scipy.stats import ttest_rel

    random = np.random.default_rng(1)
    hard = random.random(2000)
    one, other = hard < 0.5 + 0.03 * random.random(2000), hard < 0.47
    middle, low, high = difference(one, other)
    assert middle == pytest.approx(one.mean() - other.mean())
    wanted = ttest_rel(one.astype(float), other.astype(float)).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), (wanted.low, wanted.high), atol=1e-5)
    # Of episodes that have nothing to do with each other it is as wide as two proportions are.
    assert high - low < 0.3 * np.subtract(*difference(one, random.permutation(other))[:0:-1])
    assert difference(one, one) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_figures_and_rtc_has_the_smaller_seams(policy):
    rtc, naive = RtcSettings(s_min=15), RtcSettings(s_min=15, strategy="naive_async")
    options = {"episodes": 1, "seed": 3, "steps": 160}
    results = [evaluate(policy, s, 12, **options) for s in (rtc, naive, rtc)]
    assert results[0] == results[2] != results[1]
    assert all(r.starved == r.misplaced == 0 and r.seams > 5 for r in results)
    assert results[1].seam_rad[1] > results[0].seam_rad[1]
    assert results[1].seam_to_ordinary[1] > results[0].seam_to_ordinary[1] > 0
    assert results[1].stops > results[0].stops and results[1].stopped_episodes == 1


def test_an_episode_ends_with_the_pass_when_asked_to_and_is_the_same_until_then(policy):
    options = {"episodes": 1, "seed": 3, "steps": 260}
    whole, cut = (
        evaluate(policy, RtcSettings(s_min=15), 12, until_done=until, **options)
        for until in (False, True)
    )
    assert whole.done_at == cut.done_at == (whole.done_s,)
    assert cut.seams < whole.seams


def test_a_quick_evaluation_prints_a_table_and_writes_the_figures(tmp_path, capsys):
    path = tmp_path / "figures.json"
    words = ["--quick", "--delay", "0", "12", "--json", str(path)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| delay | passed | 95 %") and len(lines) == 4
    figures = json.loads(path.read_text())
    assert [f["settings"]["delay"] for f in figures] == [0, 12]
    assert all(f["episodes"] == 1 and f["seams"] > 2 for f in figures)


def test_kept_lines_are_not_measured_again_and_join_one_table(tmp_path, capsys, monkeypatch):
    words = ["--quick", "--results", str(tmp_path)]
    assert main([*words, "--delay", "12"]) == 0
    assert main([*words, "--delay", "0", "12", "--strategy", "rtc", "naive_async"]) == 0
    table = capsys.readouterr().out
    lines = table[table.rindex("| delay |") :].splitlines()
    assert lines[0].startswith("| delay | strategy | passed | 95 % | more than the first |")
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [f" {delay} ", f" {strategy} "] for delay in (0, 12) for strategy in ("rtc", "naive_async")
    ]
    monkeypatch.setattr(evaluation, "evaluate", None)
    assert main([*words, "--delay", "12"]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert main([*words, "--seed", "1"]) == 2
    assert "was made with seed 9000 (now 1)" in capsys.readouterr().err


def test_a_line_whose_nodes_fail_is_told_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    """Only the nodes are left out: which lines are asked for, kept and told is as always."""
    asked = []

    def evaluate_nodes(checkpoint, settings, folder, **options):
        asked.append(settings.strategy)
        if settings.strategy == "bid" and len(asked) < 3:
            raise RobotError("rtc_inference refused this")
        log = example_run(ExampleSettings(ticks=60))
        return summarise({"delay": 6, **asdict(settings)}, log, judge(log), [1.0])

    monkeypatch.setattr(evaluation, "evaluate_nodes", evaluate_nodes)
    words = ["--nodes", "--quick", "--strategy", "bid", "rtc", "--results", str(tmp_path)]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "strategy bid" in told.err and "rtc_inference refused this" in told.err
    assert "| 6 | 1/1 |" in told.out and asked == ["bid", "rtc"]
    assert main(words) == 0, "what failed is tried again, what was measured isn't"
    assert asked == ["bid", "rtc", "bid"]
    assert capsys.readouterr().out.count("| 1/1 |") == 2


def test_limits_that_act_are_counted_by_event_and_not_in_the_soft_start():
    run = example_run(ExampleSettings(ticks=300))
    arm, log = "left_elbow", run.commands
    command = log.command.copy()
    command[[30, 100, 101, 102, 104, 200], log.joints.index(arm)] += 0.01  # as limits would
    run = replace(run, commands=replace(log, command=command))
    first = int(log.provenance.step[30])
    assert sum(limit_events(run, [arm]).values()) == 4
    assert limit_events(run, [arm], after_step=first + 1) == {1: 3}
    assert limit_events(run, ["left_gripper"]) == {1: 0}


def test_a_line_from_before_a_setting_was_one_is_found_again(tmp_path, capsys):
    words = ["--quick", "--delay", "12", "--results", str(tmp_path)]
    assert main(words) == 0
    table, file = capsys.readouterr().out, tmp_path / "results.jsonl"
    before = file.read_text()
    assert "ensemble_decay" in before
    file.write_text(before.replace(', \\"ensemble_decay\\": 0.0', ""))
    assert file.read_text() != before
    assert main(words) == 0
    assert capsys.readouterr().out == table and len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "row",
    [
        '{"key": "{}"}',
        '{"key": "{}", "result": 3}',
        '{"key": "{}", "result": {"passed": 1}}',
        '{"key": "no object", "result": {}}',
        '{"key": "[]", "result": {}}',
        '{"key": "{}", "result": {"settings": null, ' + FIGURES,
        '{"key": "{}", "result": {"settings": {"delay": "3", "strategy": "rtc", '
        '"jacobian": "vjp"}, ' + FIGURES,
    ],
)
def test_lines_of_something_else_are_told(tmp_path, capsys, row):
    same = '"seed": 9000, "episodes": 1, "steps": 75, "until_done": false, "nodes": false, '
    first = '{"conditions": {' + same + '"quick": true}}'
    (tmp_path / "results.jsonl").write_text(f"{first}\n{row}\n")
    assert main(["--quick", "--delay", "12", "--results", str(tmp_path)]) == 2
    assert "sim eval: " in (told := capsys.readouterr().err) and "results.jsonl" in told, told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--latency-ms", "200"], "--latency-ms is for --nodes"),
        (["--nodes", "--until-done"], "--until-done is for runs without --nodes"),
        (["--quick", "--episodes", "3"], "takes no --episodes"),
        (["--seed", "-5"], "at least 0"),
        (["--results", ""], "an empty path"),
        (["--out", "x"], "--out is for --nodes"),
    ],
)
def test_what_would_have_no_effect_is_refused(words, why, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and why in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    assert main(["--quick", "--json", str(tmp_path / "nowhere" / "x.json")]) == 2
    assert "sim eval: [Errno 2] No such file" in capsys.readouterr().err
    assert main(["--quick", "--json", str(tmp_path)]) == 2
    assert "sim eval: [Errno 21] Is a directory" in capsys.readouterr().err


def test_figures_are_told_though_their_file_can_not_be_written_at_last(capsys):
    assert main(["--quick", "--delay", "2", "--json", "/dev/full"]) == 2
    said = capsys.readouterr()
    assert "| rtc |" in said.out and "No space left" in said.err


def test_settings_that_cannot_work_are_refused(capsys):
    assert main(["--delay", "30", "--episodes", "1"]) == 2
    assert "H = 50" in capsys.readouterr().err
    assert main(["--nodes", "--s-min", "60"]) == 2
    assert "H = 50" in capsys.readouterr().err
    assert main(["--strategy", "foo"]) == 2
    assert "strategy is 'foo'" in capsys.readouterr().err
    assert main(["--ensemble-decay", "-2000"]) == 2
    assert "ensemble_decay is -2000; it must be within -10 and 10" in capsys.readouterr().err
    assert main(["package:none"]) == 2
    assert "no checkpoint 'none' ships" in capsys.readouterr().err
