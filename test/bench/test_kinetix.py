"""The Kinetix study as far as it goes without Kinetix: its messages, experts, points and loop.

With RTC_KINETIX_PYTHON naming a Python that has Kinetix, its engine is tried, too.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rtc_ros.bench.kinetix import command, evaluate
from rtc_ros.bench.kinetix.catalogue import LEVELS, SHIPPED, file_of, name_of, policies
from rtc_ros.bench.kinetix.engine import wire
from rtc_ros.bench.kinetix.evaluate import COMPARED, measurable, measure, report
from rtc_ros.bench.kinetix.experts import HORIZON, Expert, demonstrate
from rtc_ros.bench.kinetix.level_world import Level
from rtc_ros.bench.kinetix.paper import by_level
from rtc_ros.bench.kinetix.process import EngineError, EngineProcess
from rtc_ros.bench.strategies import main as strategies
from rtc_ros.bench.tasks import learn
from rtc_ros.core.prefix import prefix_weights
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.protocol import Guidance

torch.set_num_threads(1)
KINETIX = os.environ.get("RTC_KINETIX_PYTHON")
with_kinetix = pytest.mark.skipif(
    KINETIX is None, reason="RTC_KINETIX_PYTHON names no Python with Kinetix (docs/kinetix.md)"
)


class Line:
    """A level of one number: to be brought from 0 past 1, on one of two sides, as in Kinetix."""

    steps, limit, action_dim, observation_dim = 24, 1.0, 1, 2

    def __call__(self, n, seed):
        return LineWorld(n, seed)


class LineWorld:
    def __init__(self, n, seed):
        self.n, self.step_count = n, 0
        self.done, self.failed = np.zeros(n, bool), np.zeros(n, bool)
        self.done_step = np.full(n, -1)
        self._noise = 0.1 * np.random.default_rng(seed).normal(size=(Line.steps, n))
        self.at, self.actions = np.zeros(n), []

    @property
    def ended(self):
        return self.done | self.failed

    def observe(self):
        return np.stack([self.at, np.abs(self.at)], axis=1)

    def step(self, action):
        self.actions.append(action.copy())
        pushed = np.clip(action[:, 0] + self._noise[self.step_count], -1, 1)
        self.at = np.where(self.ended, self.at, self.at + 0.1 * pushed)
        self.step_count += 1
        newly = (np.abs(self.at) > 1) & ~self.ended
        self.done |= newly
        self.done_step[newly] = self.step_count
        self.failed |= (self.step_count == Line.steps) & ~self.done


def expert_file(path, side):
    """Write an expert that pushes to one side, as the engine writes them."""
    np.savez(
        path,
        weight_0=np.zeros((2, 3)),
        bias_0=np.full(3, 9.0),
        weight_1=np.full((3, 1), side / 3),
        bias_1=np.zeros(1),
        log_std=np.log([0.05]),
        observation_mean=np.zeros(2),
        observation_std=np.ones(2),
        solved=0.97,
        steps=1000,
        whole=1.0,
    )
    return Expert(path)


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    both = [expert_file(folder / f"{s}.npz", s) for s in (-0.8, 0.8)]
    return demonstrate(Line(), both, 40, 1)


@pytest.fixture(scope="module")
def policy(demonstrated):
    seen, chunks, _ = demonstrated
    return learn.fit(seen, chunks, 1, updates=60)


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
    assert command.main(learn_nothing) == 2
    assert "bench kinetix train: " in capsys.readouterr().err
    with pytest.raises(EngineError, match="no-python can't be started: No such file"):
        EngineProcess(tmp_path / "no-python", "serve", "h17_unicycle")


# ------------------------------------------------------------------- demonstrations, points


def test_demonstrations_are_of_all_experts_and_end_where_an_episode_does(demonstrated):
    seen, chunks, solved = demonstrated
    assert solved == 1.0
    assert chunks.shape == (len(seen), HORIZON, 1) and np.abs(chunks).max() <= 1.0
    sides = chunks.mean(axis=(1, 2))
    assert abs((sides > 0).mean() - 0.5) < 0.05
    # Who begins on one side goes on there; what has ended isn't shown.
    gone = np.abs(seen[:, 0]) > 0.1
    assert (np.sign(seen[gone, 0]) == np.sign(sides[gone])).all()
    assert np.abs(seen[:, 0]).max() <= 1.0
    assert Line.steps * 40 > len(seen) > 10 * 40


def test_every_method_at_every_delay_but_ensembling_at_the_last():
    found = measurable(["h17_unicycle 1"], COMPARED, (0, 1, 2, 3, 4), HORIZON)
    missing = {(m, d) for m in COMPARED for d in range(5)} - {(p.method, p.delay) for p in found}
    assert missing == {("temporal_ensembling", 4)}
    assert all(p.stride == max(p.delay, 1) for p in found)
    assert {p.settings.strategy for p in found} == set(STRATEGIES) - {
        "rtc_trained", "temporal_ensembling_dense", "weighted_average"
    }  # fmt: skip


# ---------------------------------------------------------------------------- measurement


@pytest.mark.parametrize("method", COMPARED)
def test_each_method_is_measured_by_the_loop_of_the_nodes(policy, method):
    level = Line()
    (point,) = measurable(["line 1"], [method], (2,), HORIZON)
    one = measure(level, policy, point, 16, 3)
    assert one.episodes == 16 and 0 <= one.done <= 16 and one.done + one.failed == 16
    assert one.which == measure(level, policy, point, 16, 3).which, "the same seed, the same noise"


def test_an_evaluation_stops_when_all_episodes_have_ended(policy):
    worlds = []

    class Watched(Line):
        def __call__(self, n, seed):
            worlds.append(LineWorld(n, seed))
            return worlds[-1]

    (point,) = measurable(["line 1"], ["naive_async"], (0,), HORIZON)
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
    chosen = measurable(["line 1"], ["rtc", "naive_async"], (0, 2, 4), HORIZON)
    rows = [measure(Line(), policy, p, 8, 3) for p in chosen]
    text = report(rows, {"seed": 3})
    share = {(r.method, r.delay): f"{100 * r.share:.1f}" for r in rows}
    rtc, naive = (
        [f"{share[m, d]}, {known}" for d, known in zip((0, 2, 4), theirs, strict=True)]
        for m, theirs in (("rtc", (54, 50, 43)), ("naive_async", (48, 42, 33)))
    )
    assert f"| rtc | {' | '.join(rtc)} |" in text
    assert f"| naive_async | {' | '.join(naive)} |" in text
    assert "1 of its levels" in text and "bid_contrast" not in text


def test_a_level_s_trainings_are_taken_together_where_they_are_whole(policy):
    tasks = ["line 1", "line 2", "other 1", "other 2"]
    chosen = measurable(tasks, ["rtc", "naive_async"], (0, 2), HORIZON)
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
    assert strategies([*words[-2:], "--measured"]) == 2
    assert f"{out} holds no results" in capsys.readouterr().err and not out.exists()
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


# ------------------------------------------------------------------------- what is shipped


def test_a_level_is_a_file_or_a_name(tmp_path):
    (tmp_path / "catapult.json").write_text("{}")
    assert file_of("catapult", tmp_path) == str(tmp_path / "catapult.json")
    assert file_of("grasp_hard") == "grasp_hard", "Kinetix's own"
    assert file_of(str(tmp_path / "catapult.json")) == str(tmp_path / "catapult.json")
    assert name_of("/some/where/catapult.json") == name_of("catapult") == "catapult"


def shipped():
    return sorted({f.stem.rpartition("_")[0] for f in policies(SHIPPED, "*")})


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
def test_shipped_policies_solve_their_level_without_delay():
    assert shipped()
    for name in shipped():
        with Level(Path(KINETIX), file_of(name)) as level:
            for file in policies(SHIPPED, name):
                (point,) = measurable([name], ["naive_async"], (0,), HORIZON)
                one = measure(level, learn.load(file), point, 64, 1)
                assert one.share > 0.7, f"{file.name}: {one.share:.0%}"
