"""The Kinetix study as far as it goes without Kinetix: its messages, experts, points and loop.

With RTC_KINETIX_PYTHON naming a Python that has Kinetix, its engine is tried, too.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from line_world import Line, LineWorld, demonstrated, expert_file, trained

from rtc_ros.bench.kinetix import evaluate, learn, train
from rtc_ros.bench.kinetix.catalogue import LEVELS, SHIPPED, file_of, name_of, policies
from rtc_ros.bench.kinetix.engine import wire
from rtc_ros.bench.kinetix.episodes import run_episodes
from rtc_ros.bench.kinetix.evaluate import measurable, measure, report
from rtc_ros.bench.kinetix.experts import HORIZON
from rtc_ros.bench.kinetix.level_world import Level
from rtc_ros.bench.kinetix.paper import against_order, by_level
from rtc_ros.bench.kinetix.points import METHODS, points
from rtc_ros.bench.kinetix.process import EngineError, EngineProcess
from rtc_ros.core.prefix import prefix_weights
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.protocol import Guidance

torch.set_num_threads(1)
KINETIX = os.environ.get("RTC_KINETIX_PYTHON") or None
with_kinetix = pytest.mark.skipif(
    KINETIX is None, reason="RTC_KINETIX_PYTHON names no Python with Kinetix (docs/kinetix.md)"
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("experts"))


def at(tasks, methods, delays):
    """Return the points over d that can be."""
    return measurable(points(tasks, ("delay",), methods, delays), HORIZON)


# ------------------------------------------------------------------------------- messages


def test_a_message_comes_as_it_was_sent():
    pipe = io.BytesIO()
    sent = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False])
    wire.send(pipe, {"do": "step", "word": "\n"}, *sent)
    wire.send(pipe, {"last": True})
    pipe.seek(0)
    header, arrays = wire.receive(pipe)
    assert header == {"do": "step", "word": "\n"}
    for one, other in zip(sent, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert wire.receive(pipe) == ({"last": True}, [])


@pytest.mark.parametrize("left", [0, 5, -1])
def test_a_message_that_breaks_off_is_the_end_of_the_other_side(left):
    pipe = io.BytesIO()
    wire.send(pipe, {}, np.zeros(4))
    broken = io.BytesIO(pipe.getvalue()[:left])
    with pytest.raises(EOFError, match="other process has ended"):
        wire.receive(broken)


def test_a_python_without_kinetix_is_told_with_the_remedy(tmp_path, capsys):
    with pytest.raises(EngineError, match="can't import jax.*kinetix-env==3.0.2.*--python"):
        EngineProcess(Path(sys.executable), "serve", "h17_unicycle")
    learn_nothing = ["train", "h17_unicycle", "--python", sys.executable, "--out", str(tmp_path)]
    assert evaluate.main(learn_nothing) == 2
    assert "bench kinetix train: " in capsys.readouterr().err
    with pytest.raises(EngineError, match="no-python can't be started: No such file"):
        EngineProcess(tmp_path / "no-python", "serve", "h17_unicycle")


# ------------------------------------------------------------------- demonstrations, points


def test_demonstrations_are_of_all_experts_and_end_where_an_episode_does(tmp_path):
    seen, chunks, solved = demonstrated(tmp_path)
    assert solved == 1.0
    assert chunks.shape == (len(seen), HORIZON, 1) and np.abs(chunks).max() <= 1.0
    sides = chunks.mean(axis=(1, 2))
    assert abs((sides > 0).mean() - 0.5) < 0.05
    # Who begins on one side goes on there; what has ended isn't shown.
    gone = np.abs(seen[:, 0]) > 0.1
    assert (np.sign(seen[gone, 0]) == np.sign(sides[gone])).all()
    assert np.abs(seen[:, 0]).max() <= 1.0
    assert Line.steps * 40 > len(seen) > 10 * 40


def test_others_are_trained_in_the_place_of_experts_that_are_not_good(monkeypatch, tmp_path):
    solved = {1: 0.97, 2: 0.1, 3: 0.95, 4: 0.5, 5: 0.81, 6: 1.0}
    taken = []

    def mixture(options, experts):
        taken.append([e.solved for e in experts])

    monkeypatch.setattr(
        train, "_expert", lambda options, seed: SimpleNamespace(solved=solved[seed])
    )
    monkeypatch.setattr(train, "_flow_policies", mixture)
    asked = ["h17_unicycle", "--out", str(tmp_path), "--experts"]
    assert train.main([*asked, "3"]) == 0 and taken[-1] == [0.97, 0.95, 0.81]
    solved[5] = solved[6] = 0.0
    assert train.main([*asked, "3"]) == 0 and taken[-1] == [0.97, 0.95], "twice as many at most"
    solved[1] = solved[2] = 0.2
    assert train.main([*asked, "1"]) == 0 and taken[-1] == [0.2, 0.2], "if there is no better one"


def test_an_expert_is_gone_on_with_where_it_may_take_more_steps(monkeypatch, tmp_path):
    begun = []

    class Engine:
        def __init__(self, python, *words):
            begun.append(words)
            expert_file(words[words.index("--out") + 1], 0.8)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def reports(self):
            return iter(())

    monkeypatch.setattr(train, "EngineProcess", Engine)
    file = tmp_path / "line_expert_1.npz"
    expert_file(file, 0.8)
    asked = ["line", "--out", str(tmp_path), "--experts", "1", "--trainings", "0", "--steps"]
    assert train.main([*asked, "5000"]) == 0 and not begun, "it is good"
    monkeypatch.setattr(train, "GOOD", 0.99)
    assert train.main([*asked, "1000"]) == 0, "it had as many steps: another is trained"
    files = [Path(w[w.index("--out") + 1]).name for w in begun]
    assert files == ["line_expert_2.npz"]
    begun.clear()
    assert train.main([*asked, "5000"]) == 0 and len(begun) == 2, "both may take more"


def test_every_method_at_every_delay_but_ensembling_at_the_last():
    found = at(["h17_unicycle 1"], METHODS, (0, 1, 2, 3, 4))
    missing = {(m, d) for m in METHODS for d in range(5)} - {(p.method, p.delay) for p in found}
    assert missing == {("temporal_ensembling", 4)}
    assert all(p.stride == max(p.delay, 1) for p in found)
    assert {p.settings.strategy for p in found} == set(STRATEGIES) - {
        "rtc_trained", "temporal_ensembling_dense", "weighted_average"
    }  # fmt: skip


# ---------------------------------------------------------------------------- measurement


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_measured_by_the_loop_of_the_nodes(policy, method):
    level = Line()
    (point,) = at(["line 1"], [method], (2,))
    one = measure(level, policy, point, 16, 3)
    assert one.episodes == 16 and 0 <= one.done <= 16 and one.done + one.failed == 16
    assert one.which == measure(level, policy, point, 16, 3).which, "the same seed, the same noise"


def test_an_evaluation_stops_when_all_episodes_have_ended(policy):
    worlds = []

    class Watched(Line):
        def __call__(self, n, seed):
            worlds.append(LineWorld(n, seed))
            return worlds[-1]

    (point,) = at(["line 1"], ["naive_async"], (0,))
    strong = policy[0]
    strong.action_scale = (strong.action_scale[0] + 5.0, strong.action_scale[1])  # always to +
    try:
        one = measure(Watched(), policy, point, 8, 3)
    finally:
        strong.action_scale = (strong.action_scale[0] - 5.0, strong.action_scale[1])
    assert one.done == 8 and worlds[0].step_count == one.steps < Line.steps


def test_a_chunk_is_the_same_whoever_else_wants_one(policy):
    seen = np.random.default_rng(0).normal(size=(6, 2))
    prev = np.random.default_rng(1).normal(size=(6, HORIZON - 2, 1))
    weights = prefix_weights(HORIZON, 2, 2)
    some = np.array([True, False, True, True, False, False])
    for settings in (RtcSettings(), RtcSettings(strategy="bid"), RtcSettings(strategy="rtc_hard")):
        given = Guidance.of(settings, prev, weights)
        each = [
            policy[0].infer(seen, given, torch.Generator().manual_seed(5), None, wanted)
            for wanted in (None, some)
        ]
        np.testing.assert_allclose(each[1][some], each[0][some], atol=1e-5)
        assert not each[1][~some].any() and each[0][~some].all()


def test_the_report_sets_what_was_found_beside_the_paper(policy):
    chosen = at(["line 1"], ["rtc", "naive_async"], (0, 2, 4))
    rows = [measure(Line(), policy, p, 8, 3) for p in chosen]
    text = report(rows, {"seed": 3})
    share = {(r.method, r.delay): f"{100 * r.share:.1f}" for r in rows}
    rtc, naive = (
        [f"{share[m, d]}, {known}" for d, known in zip((0, 2, 4), theirs, strict=True)]
        for m, theirs in (("rtc", (54, 50, 43)), ("naive_async", (48, 42, 33)))
    )
    assert f"| rtc | {' | '.join(rtc)} |" in text
    assert f"| naive_async | {' | '.join(naive)} |" in text
    assert "1 of its levels" in text and "| bid_contrast |" not in text


def test_the_report_says_where_the_paper_s_order_is_reversed(policy):
    """By pairs: of 40 episodes one more, by chance, is no reversal."""
    chosen = at(["line 1"], ["rtc", "rtc_hard", "naive_async"], (0, 2))
    rows = [measure(Line(), policy, p, 40, 3) for p in chosen]

    def that_did(row, done):
        which = np.packbits(np.arange(40) < done).tobytes().hex()
        return replace(row, done=done, which=which)

    done = {("rtc", 0): 20, ("rtc_hard", 0): 21, ("naive_async", 0): 21,
            ("rtc", 2): 20, ("rtc_hard", 2): 35, ("naive_async", 2): 10}  # fmt: skip
    text = against_order(by_level([that_did(r, done[r.method, r.delay]) for r in rows]))
    assert "| `line` | no | `rtc_hard` 37.5 ahead of `rtc` |" in text
    assert text in report([that_did(r, done[r.method, r.delay]) for r in rows], {"seed": 3})


def test_a_level_s_trainings_are_taken_together_where_they_are_whole(policy):
    tasks = ["line 1", "line 2", "other 1", "other 2"]
    chosen = at(tasks, ["rtc", "naive_async"], (0, 2))
    rows = [measure(Line(), policy, p, 12, 3) for p in chosen]
    lacking = [r for r in rows if (r.task, r.method, r.delay) != ("other 2", "rtc", 2)]
    levels = by_level(lacking)
    assert {(r.task, r.episodes) for r in levels} == {("line", 24), ("other", 12)}
    # Of two that lack different points, one alone is compared.
    parted = [r for r in lacking if (r.task, r.method, r.delay) != ("other 1", "naive_async", 2)]
    assert {(r.task, r.episodes) for r in by_level(parted)} == {("line", 24), ("other", 12)}
    one = next(r for r in levels if (r.task, r.method, r.delay) == ("line", "rtc", 2))
    parts = [r for r in rows if r.task[:-2] == "line" and (r.method, r.delay) == ("rtc", 2)]
    np.testing.assert_array_equal(one.each, np.concatenate([r.each for r in parts]))
    assert one.done == sum(r.done for r in parts) and one.low <= one.share <= one.high
    text = report(lacking, {"seed": 3})
    assert "| `other 2` |" in text and "these 2 tasks" in text


def test_what_fails_or_only_reports_leaves_nothing_behind(tmp_path, capsys):
    out, nowhere = tmp_path / "out", tmp_path / "nowhere"
    words = ["--policies", str(SHIPPED), "--levels", "cartpole_thrust", "--out", str(out)]
    assert evaluate.main([*words, "--python", str(tmp_path / "python")]) == 2
    assert evaluate.main([*words, "--measured"]) == 2
    assert f"{out} holds no results" in capsys.readouterr().err
    assert not out.exists()
    nowhere.write_text("")
    assert evaluate.main([*words[:-1], str(nowhere)]) == 2
    assert f"{nowhere} is not a folder" in capsys.readouterr().err
    out.mkdir()
    (out / "results.jsonl").write_text("[1, 2]\n")
    assert evaluate.main(words) == 2
    assert "isn't from this command" in capsys.readouterr().err
    first = '{"conditions": {"seed": 5, "episodes": 64, "action noise": 0.1}}\n'
    (out / "results.jsonl").write_text(first)
    assert evaluate.main([*words, "--measured"]) == 2, "of its own seed, but of nothing"
    assert "holds no result of what was asked for" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--episodes", "0"])
    assert "0 is too few: at least 1" in capsys.readouterr().err


def test_nothing_to_measure_is_said(tmp_path, capsys):
    assert evaluate.main(["--policies", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no policy LEVEL_1.pt" in capsys.readouterr().err
    options = ["--policies", str(tmp_path), "--levels", "catapult", "--out", str(tmp_path)]
    assert evaluate.main(options) == 2
    assert "holds no policy catapult_1.pt" in capsys.readouterr().err
    assert evaluate.main([*options, "--sweeps", "stride", "--delays", "1"]) == 2
    assert "--delays is for the sweeps delay and chosen" in capsys.readouterr().err


# ------------------------------------------------------------------------ from end to end


@pytest.fixture
def folder(tmp_path, policy, monkeypatch):
    """A folder of two trainings of the line, and the line in the engine's place."""

    class Served(Line):
        def __init__(self, *where):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(evaluate, "Level", Served)
    for number in (1, 2):
        learn.save(tmp_path / f"line_{number}.pt", policy)
    return tmp_path


def words(folder, *more):
    """Return the command's words; 8 episodes a point, 4 where settings are tried."""
    named = ["--policies", str(folder), "--out", str(folder / "out"), "--python", "none"]
    return [*named, "--quick", "--episodes", "8", *more]


def test_a_run_writes_tables_and_figures_and_is_gone_on_with(folder, capsys):
    options = words(folder, "--sweeps", "delay", "stride", "--methods", "rtc", "bid", "rtc")
    assert evaluate.main(options) == 0
    out, text = folder / "out", capsys.readouterr().out
    lines = (out / "results.jsonl").read_text().splitlines()
    rows = list(csv.DictReader((out / "kinetix.csv").open()))
    assert len(rows) == 2 * 2 * (2 + 2) and {r["episodes"] for r in rows} == {"8"}
    assert {(r["delay"], r["stride"]) for r in rows} == {
        ("0", "1"),
        ("2", "2"),
        ("1", "1"),
        ("1", "4"),
    }
    for row in rows:
        assert float(row["low"]) <= int(row["done"]) / 8 <= float(row["high"])
    assert text == (out / "kinetix.md").read_text()
    told = ("`line`", "`line 2`", "| rtc |", "| bid |", "| d = 0 |", "| s = 1 |")
    for one in (*told, "**More done than rtc, in percentage points, by d, s = max(d, 1): "):
        assert one in text
    assert sorted(f.name for f in out.glob("*.png")) == ["kinetix_delay.png", "kinetix_stride.png"]
    assert evaluate.main([*options, "naive_async"]) == 0
    more = (out / "results.jsonl").read_text().splitlines()
    assert more[: len(lines)] == lines and len(more) == len(lines) + 2 * 4
    capsys.readouterr()
    assert evaluate.main([*options, "synchronous", "naive_async", "--measured"]) == 0
    text = capsys.readouterr().out
    assert "| naive_async |" in text and "synchronous" not in text
    assert (out / "results.jsonl").read_text().splitlines() == more
    assert evaluate.main([*options, "--seed", "8"]) == 2
    assert "was made with seed 2007 (now 8)" in capsys.readouterr().err


def test_settings_are_tried_on_episodes_that_are_not_compared(folder, capsys, monkeypatch):
    seeds = {}

    def watched(level, policy, settings, delay, episodes, seed):
        seeds.setdefault(episodes, set()).add(seed)
        return run_episodes(level, policy, settings, delay, episodes, seed)

    monkeypatch.setattr(evaluate, "run_episodes", watched)
    options = words(folder, "--methods", "rtc", "temporal_ensembling", "synchronous")
    assert evaluate.main([*options, "--sweeps", "settings", "chosen"]) == 0
    text = capsys.readouterr().out
    tried = [f"rtc, {x}" for x in ("schedule ones", "β 20", "n 10", "Jacobian identity")]
    for name in (*tried, "temporal_ensembling, m -1.0", "temporal_ensembling, m 0.3"):
        assert f"| {name} |" in text
    assert "rtc_hard" not in text and "what was chosen**" in text
    assert [f.name for f in (folder / "out").glob("*.png")] == ["kinetix_chosen.png"]
    rows = list(csv.DictReader((folder / "out" / "kinetix.csv").open()))
    tried, compared = ([r for r in rows if r["sweep"] == s] for s in ("settings", "chosen"))
    assert {r["task"] for r in tried} == {"line 1"} and {r["episodes"] for r in tried} == {"4"}
    assert {r["task"] for r in compared} == {"line 1", "line 2"}
    assert {r["method"] for r in compared} == {"rtc", "temporal_ensembling", "synchronous"}
    assert seeds == {4: {3007}, 8: {2007}}
    done = {r["variant"]: int(r["done"]) for r in tried if r["method"] == "rtc"}
    (best,) = {r["variant"] for r in compared if r["method"] == "rtc"}
    assert done[best] == max(done.values())
    # What was chosen doesn't ask for the table of what was tried.
    assert evaluate.main([*options, "--sweeps", "chosen", "--measured"]) == 0
    assert "m 0.3" not in capsys.readouterr().out.replace("| temporal_ensembling | m 0.3 |", "")


# ------------------------------------------------------------------------- what is shipped


def test_a_level_is_a_file_or_a_name(tmp_path):
    (tmp_path / "catapult.json").write_text("{}")
    assert file_of("catapult", tmp_path) == str(tmp_path / "catapult.json")
    assert file_of("grasp_hard") == "grasp_hard", "Kinetix's own"
    assert file_of(str(tmp_path / "catapult.json")) == str(tmp_path / "catapult.json")
    assert name_of("/some/where/catapult.json") == name_of("catapult") == "catapult"


def shipped():
    return sorted({f.stem.rpartition("_")[0] for f in policies(SHIPPED)})


@pytest.mark.parametrize("level", shipped())
def test_shipped_policies_are_small_and_their_level_comes_with_them(level):
    assert level in LEVELS and (SHIPPED / f"{level}.json").exists()
    for file in policies(SHIPPED, level):
        assert file.stat().st_size < 1_000_000
        strong, weak = learn.load(file)
        assert strong.spec.horizon == weak.spec.horizon == HORIZON
        assert strong.spec.action_dim == weak.spec.action_dim


@with_kinetix
@pytest.mark.slow
def test_an_episode_is_the_same_in_kinetix_own_engine_over_all_pairs():
    """Pairs that are left out never mattered: what moves is where it is in the stock engine."""
    seen = []
    for arguments in ((), ("--stock",)):
        with Level(Path(KINETIX), file_of("h17_unicycle"), arguments) as level:
            world = level(300, 1)  # of more than one batch
            for step in range(20):
                world.step(np.full((300, level.action_dim), np.sin(step)))
            seen.append(world.observe())
    np.testing.assert_allclose(*seen, atol=2e-3)


@with_kinetix
@pytest.mark.slow
def test_an_episode_is_the_same_whoever_ends_beside_it():
    """What goes on is put together anew when others have ended."""
    steps, played = 120, []
    with Level(Path(KINETIX), file_of("hard_lunar_lander")) as level:
        whole = np.random.default_rng(0).uniform(-1, 1, (600, level.action_dim))
        whole = whole.astype(np.float32)
        for parts in (1, 3):
            found = []
            for actions in np.split(whole, parts):
                level.ask({"do": "begin", "n": len(actions)})
                last, ended = np.full(len(actions), -1), np.zeros(len(actions), bool)
                for step in range(steps):
                    seen, ends, _ = level.ask({"do": "step"}, actions)[1]
                    last[ends & ~ended] = step
                    ended |= ends
                found.append(np.column_stack([last, np.where(ended[:, None], 0.0, seen)]))
            played.append(np.concatenate(found))
    assert (played[0][:, 0] >= 0).sum() > 344, "they fitted into fewer batches on the way"
    np.testing.assert_array_equal(*played)


@with_kinetix
@pytest.mark.slow
@pytest.mark.parametrize("level", ["h17_unicycle", "hard_lunar_lander"])
def test_the_quick_form_plays_the_shipped_policies(level, tmp_path, capsys):
    asked = ["--quick", "--levels", level, "--methods", "rtc", "synchronous"]
    assert evaluate.main([*asked, "--python", KINETIX, "--out", str(tmp_path)]) == 0
    assert f"| `{level} 2` |" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "kinetix.csv").open()))
    done = {(r["task"][-1], r["method"], r["delay"]): int(r["done"]) for r in rows}
    assert {r["episodes"] for r in rows} == {"64"} and len(done) == 2 * 2 * 2
    for training in "12":
        without = (done[training, method, "0"] for method in ("rtc", "synchronous"))
        assert min(without) > 0.85 * 64
        assert done[training, "rtc", "2"] > done[training, "synchronous", "2"]
