"""Methods that must be one and the same under some setting are, to the bit, in every episode."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from line_world import Line, trained

from rtc_ros.bench.kinetix import learn
from rtc_ros.bench.kinetix.episodes import Outcome, run_episodes
from rtc_ros.bench.kinetix.flow_policy import FlowNetwork, FlowPolicy
from rtc_ros.bench.kinetix.measured import find, measured
from rtc_ros.bench.kinetix.points import METHODS, SETTINGS, Point, chosen_points, points
from rtc_ros.bench.kinetix.tables import (
    apart,
    brief,
    chosen,
    markdown,
    pooled,
    what_was_chosen,
)
from rtc_ros.bench.results import Results
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES

torch.set_num_threads(1)
TASK, EPISODES, SEED = Line(), 12, 3


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("experts"))[0]


@pytest.fixture(scope="module")
def run(policy):
    def one(strategy, delay, **settings):
        settings = RtcSettings(s_min=max(delay, 1), strategy=strategy, **settings)
        return run_episodes(TASK, policy, settings, delay, EPISODES, SEED)

    return one


def same(one, other):
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("strategy", ["rtc_hard", "prefix_overwrite", "synchronous"])
def test_without_delay_nothing_is_frozen_and_nothing_waits(run, strategy):
    assert same(run(strategy, 0), run("naive_async", 0))


def test_rtc_with_the_mask_zeros_is_rtc_hard(run):
    assert same(run("rtc", 3, schedule="zeros"), run("rtc_hard", 3))
    assert not same(run("rtc", 3), run("rtc_hard", 3))


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("rtc", {"beta": 0.0}),
        ("weighted_average", {"average_new": 1.0}),
        ("bid", {"bid_candidates": 1, "bid_contrast": 0}),
    ],
)
def test_what_a_method_adds_can_be_set_to_nothing(run, strategy, settings):
    assert same(run(strategy, 2, **settings), run("naive_async", 2))


def test_back_to_back_is_every_step_where_a_chunk_takes_one(run):
    assert same(run("temporal_ensembling_dense", 1), run("temporal_ensembling", 1))


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"rtc_trained"}))
def test_the_same_seed_gives_the_same_episodes(run, strategy):
    assert same(run(strategy, 2), run(strategy, 2))


def test_a_point_that_cannot_be_is_said(run):
    with pytest.raises(ValueError, match="rtc_trained is for a SmolVLA or pi0.5 that was trained"):
        run("rtc_trained", 2)
    with pytest.raises(ValueError, match="no step that is executed has two"):
        run("temporal_ensembling", 4)


def test_rtc_has_smaller_seams_than_switching(run):
    assert run("rtc", 2).seam.mean() < 0.8 * run("naive_async", 2).seam.mean()


# ------------------------------------------------------------------------- points, results


def test_every_method_and_setting_can_be_run_at_each_of_its_points():
    found = points(("lander",), ("delay", "stride", "settings"), METHODS)
    for method, variants in SETTINGS.items():
        for variant in variants:
            found += chosen_points(("lander",), {("lander", method): variant}, METHODS)
    assert {p.method for p in found} == set(METHODS)
    cannot = {p.line for p in found if p.settings.problems(8, p.delay)}
    assert {x.split(",")[0] for x in cannot} == {"temporal_ensembling"}
    assert {p.delay for p in found if p.settings.problems(8, p.delay)} == {4}
    # A point of two sweeps is measured once, unless it is there to choose by.
    keys = {p.key for p in found}
    assert len(keys) < len(found)
    assert not {p.key for p in found if p.choosing} & {p.key for p in found if not p.choosing}
    assert {m for m, s in METHODS.items() if m not in SETTINGS} == {"synchronous"}, (
        "every method that has a parameter besides s is tried with it"
    )


def test_each_task_s_setting_with_the_most_done_is_chosen_and_the_defaults_where_none_does_more(
    run,
):
    outcome = run("naive_async", 1)
    rows = []
    for point in points(("catch", "lander"), ("settings",), ("rtc", "bid")):
        tried = point.variant if point.method == "rtc" else ""
        more = {"β 2": 1, "β 20": 2, "β 1": 3 * (point.task == "lander")}.get(tried, 0)
        outcome.done[:] = np.arange(EPISODES) < 3 + more
        rows.append(measured(point, outcome, TASK.steps, 0.1))
    best = {("catch", "rtc"): "β 20", ("lander", "rtc"): "β 1",
            ("catch", "bid"): "defaults", ("lander", "bid"): "defaults"}  # fmt: skip
    assert chosen(rows) == best
    compared = chosen_points(("catch", "lander"), best, ("rtc", "bid"))
    assert {(p.task, p.line, p.settings.beta) for p in compared} == {
        ("catch", "rtc", 20.0), ("lander", "rtc", 1.0),
        ("catch", "bid", 5.0), ("lander", "bid", 5.0),
    }  # fmt: skip
    text = what_was_chosen([measured(p, outcome, TASK.steps, 0.1) for p in compared])
    assert "| | `catch` | `lander` |" in text and "| rtc | β 20 | β 1 |" in text
    text = markdown(rows, "settings")
    assert "| rtc | 25.0 " in text and "| bid | 25.0 " in text
    assert "| rtc, β 2 | +8.3 (" in text and "| rtc, β 20 | +16.7 (" in text
    assert "| rtc, n 10 | the same | the same |" in text


def test_differences_are_of_the_same_episodes_and_surer_than_two_proportions(run):
    one, other = run("rtc", 1), run("naive_async", 1)
    one.done[:] = np.arange(EPISODES) % 2
    other.done[:] = one.done
    other.done[0] = True
    rows = [
        measured(p, outcome, TASK.steps, 0.1)
        for p, outcome in zip(
            points(("lander",), ("delay",), ("rtc", "bid"), (1,)), (one, other), strict=True
        )
    ]
    np.testing.assert_array_equal(rows[1].each, other.done)
    middle, low, high = apart(rows[1:], rows[:1], 1)
    assert middle == pytest.approx(1 / EPISODES) and low < middle < high
    assert high - low < 0.7 * (rows[1].high - rows[1].low)
    text = markdown(rows, "delay")
    assert "| rtc | the same |" in text and "| bid | +8.3 (" in text
    assert "tasks" not in text
    assert apart(rows[1:], rows[:1], 2) is None, "not of that many tasks"


def test_in_short_what_the_pairs_do_not_tell_from_the_most_is_bold():
    none, ones = np.zeros(400, bool), np.ones(400)
    outcome = Outcome(none.copy(), none, np.full(400, 9), ones, ones)
    # Of 400: 200; 190 of the same ones; 190, mostly others; 230.
    done = {"rtc": (0, 200), "rtc_hard": (10, 200), "naive_async": (180, 370), "bid": (0, 230)}
    rows = []
    for point in points(("lander", "catch"), ("delay",), [*done, "synchronous"], (1, 2)):
        if point.task == "catch" and point.method == "bid":
            continue
        outcome.done[:] = False
        outcome.done[slice(*done.get(point.method, (0, 400)))] = True
        rows.append(measured(point, outcome, TASK.steps, 0.1))
    text = brief(rows, "delay")
    assert "rtc, rtc_hard, naive_async, bid; bold" in text and "synchronous" not in text
    # The same ones but for ten are told apart by their pairs, though not by their intervals.
    assert "| `catch` | **50**, 48, **48**, – | **50**, 48, **48**, – |" in text
    assert "| `lander` | 50, 48, 48, **57** |" in text


def test_results_are_kept_found_again_and_never_mixed(tmp_path, run):
    first = Point("delay", "lander", "rtc", 1, 1, RtcSettings(s_min=1))
    same_point = Point("stride", "lander", "rtc", 1, 1, RtcSettings(s_min=1))
    outcome = run("naive_async", 1)
    results = Results(tmp_path, {"seed": 1})
    results.keep(asdict(measured(first, outcome, TASK.steps, 0.1)))
    with results.path.open("a") as file:
        file.write('{"key": "half a li')
    with pytest.raises(ValueError, match="another command writes to"):
        Results(tmp_path, {"seed": 1})
    results.close()
    again = Results(tmp_path, {"seed": 1})
    assert find(again, same_point, "of another policy") is None
    found = find(again, same_point, "")
    assert found is not None and (found.sweep, found.episodes) == ("stride", EPISODES)
    assert found.done == int(outcome.done.sum()) and found.low <= found.share <= found.high
    other = Point("delay", "lander", "rtc", 2, 2, RtcSettings(s_min=2))
    assert find(again, other, "") is None
    again.keep(asdict(measured(other, outcome, TASK.steps, 0.1)))
    again.close()
    with Results(tmp_path, {"seed": 1}) as once_more:
        assert find(once_more, other, "") is not None
    with pytest.raises(ValueError, match="was made with seed 1 .now 2.: name another folder"):
        Results(tmp_path, {"seed": 2})
    Results(tmp_path, {"seed": 1}).close()  # who was refused holds nothing


def test_two_commands_never_write_into_one_folder(tmp_path):
    """Both look before there is a folder: the second to write is the one that is refused."""
    one, other = (Results(tmp_path / "new", {"seed": seed}) for seed in (1, 2))
    one.keep({"key": "a", "of": 1})
    with pytest.raises(ValueError, match="another command writes to"):
        other.keep({"key": "a", "of": 2})
    one.close()
    with pytest.raises(ValueError, match="another command has made .*results.jsonl meanwhile"):
        other.keep({"key": "a", "of": 2})
    assert Results(tmp_path / "new", {}, measured=True).rows == {"a": {"key": "a", "of": 1}}


def test_who_looks_on_changes_nothing(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text('{"conditions": {"seed": 1}}\n{"key": "a"}\n{"key": "ha')
    before = file.read_bytes()
    assert Results(tmp_path, {}, measured=True).rows == {"a": {"key": "a"}}
    assert file.read_bytes() == before
    going_on = Results(tmp_path, {"seed": 1})
    going_on.keep({"key": "b"})
    assert file.read_bytes() == before + b'\n{"key": "b"}\n'


@pytest.mark.parametrize("begun", ["", '{"condi', '{"conditions": {"seed": 1'])
def test_a_first_line_that_was_cut_short_is_begun_anew(tmp_path, begun):
    """The disk was full, or the power went, as the first figure was kept: none is lost."""
    (tmp_path / "results.jsonl").write_text(begun)
    with pytest.raises(ValueError, match="holds no results"):
        Results(tmp_path, {}, measured=True)
    with Results(tmp_path, {"seed": 2}) as results:
        results.keep({"key": "a"})
    assert Results(tmp_path, {"seed": 2}, measured=True).rows == {"a": {"key": "a"}}


def test_one_whole_line_is_no_line_that_was_cut_short(tmp_path):
    text = '{"conditions": {"seed": 1}, "rows": [{"key": "a"}]}'
    (tmp_path / "results.jsonl").write_text(text)
    Results(tmp_path, {"seed": 1}).close()
    assert (tmp_path / "results.jsonl").read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "[1]",
        "5",
        '{"conditions": null}',
        '{"conditions": [1]}',
        "\xff",
        '{"conditions": {"seed": 1}\r{"key": "a"}',
        '{"conditions": {"seed": 1}}\n5',
        '{"conditions": {"seed": 1}}\nnull',
        '{"conditions": {"seed": 1}}\n{}',
        '{"conditions": {"seed": 1}}\n{"key": 3}',
    ],
)
def test_a_file_of_something_else_is_told(tmp_path, text):
    (tmp_path / "results.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="results.jsonl isn't from this command"):
        Results(tmp_path, {"seed": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"which": ""},
        {"which": "zz"},
        {"which": "0000"},
        {"episodes": 0},
        {"episodes": "12"},
        {"done": 99},
        {"task": None, "extra": 1},
    ],
)
def test_figures_that_can_not_be_are_told(tmp_path, run, changes):
    point = Point("delay", "lander", "rtc", 1, 1, RtcSettings(s_min=1))
    row = {**asdict(measured(point, run("naive_async", 1), TASK.steps, 0.1)), **changes}
    lines = [json.dumps({"conditions": {}}), json.dumps(row)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="can't be used: "):
        find(Results(tmp_path, {}), point, "")


def test_all_tasks_together_are_shown_only_where_each_was_measured(run):
    outcome = run("naive_async", 1)
    outcome.done[:] = np.arange(EPISODES) % 2
    chosen = [
        Point("delay", task, "rtc", 1, 1, RtcSettings(s_min=1)) for task in ("catch", "lander")
    ] + [Point("delay", "lander", "bid", 1, 1, RtcSettings(s_min=1, strategy="bid"))]
    rows = [measured(p, outcome, TASK.steps, 0.1) for p in chosen]
    share, low, high = pooled(rows[:2], 2)
    assert share == outcome.done.mean() and low < share < high
    assert high - low < rows[0].high - rows[0].low
    assert pooled(rows[2:], 2) is None
    for title in ("**Done by d", "**More done than rtc"):
        everything, *single = markdown(rows, "delay").split(title)[1:]
        assert "| bid | – |" in everything and len(single) == 2
        assert "| bid | – |" in single[0] and "| bid | – |" not in single[1].split("**More")[0]


def test_training_is_the_seed_s_and_leaves_a_weaker_policy(tmp_path):
    made, again = trained(tmp_path, 12), trained(tmp_path, 12)
    learn.save(tmp_path / "policy.pt", made)
    seen = Line()(3, 0).observe()
    for policies in zip(made, again, learn.load(tmp_path / "policy.pt"), strict=True):
        chunks = [p.infer(seen, None, torch.Generator().manual_seed(1)) for p in policies]
        np.testing.assert_array_equal(chunks[0], chunks[1])
        np.testing.assert_allclose(chunks[0], chunks[2], rtol=1e-6)
    longer = trained(tmp_path, learn.WEAK_UPDATES + 1)
    strong, weak = (p.network.state_dict()["out.weight"] for p in longer)
    assert not torch.equal(strong, weak)


def test_a_weak_policy_of_another_shape_is_refused(tmp_path):
    scale = (np.zeros(8), np.ones(8))
    strong, weak = (
        FlowPolicy(FlowNetwork(8, 4, rows), scale, (np.zeros(4), np.ones(4))) for rows in (10, 8)
    )
    learn.save(tmp_path / "policy.pt", (strong, weak))
    with pytest.raises(ValueError, match="chunks of 8 rows and 4 joints, the policy of 10 rows"):
        learn.load(tmp_path / "policy.pt")
