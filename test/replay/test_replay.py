"""Replay through the policy: chunks come out again to the bit, trials are the same each time."""

import contextlib
import dataclasses
import json
import shutil
import time
from functools import partial

import numpy as np
import pytest
from bag_maker import TYPES, messages_of, write_bag

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bringup import nodes_to_run
from rtc_ros.core.continuity import Thresholds, judge
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import STRATEGIES
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.replay.shadow import Shadow
from rtc_ros.replay.source import ImageTrack, Recording
from rtc_ros.replay.sweep import Trial, combinations, draw_sweep, recommended
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.running.processes import Processes
from rtc_ros.running.robot_client import RobotClient, RobotError
from rtc_ros.tools.cli import main as rtc_ros
from rtc_ros.tools.replay import main

RECORD_S = 12.0
# Only before the first delay is seen does Q surely leave room for what follows synchronous.
ORDER = ("synchronous", *(n for n in STRATEGIES if n not in ("synchronous", "rtc")), "rtc")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A bag of the simulated robot with the policy's camera, limits at work.

    Each strategy for a few chunks, then rtc.
    """
    folder = tmp_path_factory.mktemp("recorded")
    # As if it had been trained for given rows: what it makes of them isn't looked at.
    policy = shutil.copytree(checkpoint_path("package:aloha_cube"), folder / "policy")
    record = json.loads((policy / "trained_with.json").read_text())
    record["rtc_training_max_delay"] = 25
    (policy / "trained_with.json").write_text(json.dumps(record))
    arguments = {
        "record": str(folder / "bag"),
        "record_cameras": "true",
        "record_with": "rtc_recorder",
        "inject_latency_ms": "60",
    }
    with Processes(folder / "logs") as processes:
        robot, inference, *others = nodes_to_run(arguments, simulated=True)
        # A policy is no weaker than itself, but that is how bid would be given a weaker one.
        changes = {
            "policy_path": str(policy),
            "weak_policy_path": "package:aloha_cube",
            "bid_candidates": 4,
            "bid_contrast": 2,
            "strategy": ORDER[0],
            "initial_delay": 8,
        }
        inference = dataclasses.replace(inference, parameters={**inference.parameters, **changes})
        processes.start([robot, inference, *others])
        with RobotClient(lambda: None) as client:
            made = partial(client.said, "rtc_inference: inference")

            def taken(strategy):
                # After a stall d is too large for some, until Q has forgotten it.
                with contextlib.suppress(RobotError):
                    client.set_parameters("rtc_inference", {"strategy": strategy})
                    return True

            client.until(lambda: "chunks" in made(), "the policy", 120.0)
            for strategy in ORDER:
                client.until(partial(taken, strategy), f"{strategy} to fit", 60.0)
                client.until(lambda s=strategy: made()["strategy"] == s, strategy, 60.0)
                enough = int(made()["chunks"]) + 4
                client.until(lambda n=enough: int(made()["chunks"]) >= n, strategy, 60.0)
        deadline = time.monotonic() + 180
        steps = 0
        while steps < RECORD_S / 0.02 and time.monotonic() < deadline:
            time.sleep(2.0)
            assert not processes.ended()
            if (folder / "bag").is_dir() and list((folder / "bag").glob("*.mcap")):
                try:
                    steps = judge(read_run(folder / "bag")).steps
                except Exception:  # noqa: BLE001 - not begun yet
                    steps = 0
        assert set(processes.stop().values()) == {0}
    assert steps >= RECORD_S / 0.02, "the robot didn't move long enough"
    return folder / "bag"


pytestmark = [pytest.mark.slow]


@pytest.mark.e2e
@pytest.mark.rendering
def test_recorded_chunks_are_made_again_to_the_bit(recorded, tmp_path, capsys):
    assert rtc_ros(["replay", str(recorded), "--reproduce", "--json", str(tmp_path / "r")]) == 0
    found = json.loads((tmp_path / "r").read_text())["reproduction"]
    chunks = read_run(recorded).chunks
    assert found["others"] == 0
    assert found["same"] + sum(found["impossible"].values()) == len(chunks)
    assert found["same"] >= 0.8 * len(chunks) > 8
    assert set(found["by_strategy"]) == set(STRATEGIES)
    for strategy, (same, _, _) in found["by_strategy"].items():
        assert same >= 2, strategy
    assert "the same to the bit" in capsys.readouterr().out
    with Recording(recorded) as recording:
        guided = [c for c, _, _ in recording.chunks.values() if c.guided]
        assert len(guided) > 5, "and guided ones are among them"


@pytest.mark.e2e
@pytest.mark.rendering
def test_a_changed_seed_or_picture_is_noticed(recorded):
    from rtc_ros.replay.check import ChunkMaker
    from rtc_ros.replay.recorded_policy import load_policy

    with Recording(recorded) as recording:
        policy = load_policy(recording, None)
        known = dict(recording.chunks)

        def last_of(strategy):
            return [n for n, (_, h, _) in known.items() if h["strategy"] == strategy][-1]

        def make(name, changed=None, **changes):
            """Make a chunk again where the header of one, its own by default, says otherwise."""
            chunk, header, time_ns = known[changed or name]
            recording.chunks = {**known, (changed or name): (chunk, header | changes, time_ns)}
            return ChunkMaker(recording, policy).make(name)

        other_image = list(known.values())[0][1]["images"]
        for strategy, changes in (
            ("rtc", {"beta": "0.5", "images": other_image, "seed": "1"}),
            ("bid", {"seed": "1"}),
            ("temporal_ensembling", {"decay": "0.5"}),
            ("weighted_average", {"average_new": "0.5"}),
            ("prefix_overwrite", {"seed": "1"}),
        ):
            name = last_of(strategy)
            recorded_rows = known[name][0].actions
            assert np.array_equal(make(name)[0], recorded_rows)
            for key, value in changes.items():
                other, _ = make(name, **{key: value})
                assert other is not None and not np.array_equal(other, recorded_rows), key
        gone, why = make(last_of("rtc"), images="5")
        assert gone is None and "wasn't recorded" in why
        # An average depends on the chunks before it, too.
        epoch, seq = last_of("temporal_ensembling")
        before = (epoch, seq - 1)
        other, _ = make((epoch, seq), before, seed="1")
        assert not np.array_equal(other, known[epoch, seq][0].actions)
        recording.chunks = {n: c for n, c in known.items() if n != before}
        gone, why = ChunkMaker(recording, policy).make((epoch, seq))
        assert gone is None and why == "a chunk that is averaged into it wasn't recorded"


@pytest.mark.e2e
@pytest.mark.rendering
def test_trials_are_the_same_each_time_and_the_best_is_recommended(recorded, tmp_path, capsys):
    # Recorded latencies are those of a busy machine and of every strategy.
    words = [str(recorded), "--seconds", "4", "--latency-ms", "160"]
    words += ["--s-min", "10,30", "--beta", "0.5,10"]

    def run(name, *more):
        path = tmp_path / name
        assert main([*words, "--json", str(path), *more]) in (0, 1)
        return json.loads(path.read_text())

    one = run("one", "--png", str(tmp_path / "p.png"), "--html", str(tmp_path / "p.html"))
    assert run("two") == one
    assert run("three", "--seed", "9") != {**one, "seed": 9}
    assert len(one["trials"]) == 4 and one["ticks"] == 200
    assert [t["settings"]["s_min"] for t in one["trials"]] == [10, 10, 30, 30]
    ages = [t["age_s"] for t in one["trials"]]
    assert max(ages[:2]) < min(ages[2:]), "fewer steps between inferences: newer observations"
    held = [t["held_back"] for t in one["trials"]]
    assert held[0] < held[1] and held[2] < held[3], "a larger β holds back more"
    assert one["trials"][one["recommended"]]["starved_ticks"] == 0
    said = capsys.readouterr().out
    assert "recommended: rtc, s_min" in said and "whether the task gets done" in said
    assert "held back [rad]" in said and "→" in said and "…" not in said
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "(shadow)" in (tmp_path / "p.html").read_text()


@pytest.mark.e2e
@pytest.mark.rendering
def test_shadow_runs_of_every_strategy(recorded, tmp_path, capsys):
    words = [str(recorded), "--seconds", "3", "--latency-ms", "160"]
    words += ["--strategy", ",".join(STRATEGIES)]
    assert main([*words, "--json", str(tmp_path / "r")]) in (0, 1)
    trials = json.loads((tmp_path / "r").read_text())["trials"]
    found = {t["settings"]["strategy"]: t for t in trials}
    assert set(found) == set(STRATEGIES)
    assert all(t["refused"] is None and t["seams"] > 2 for t in trials)
    held = {name: t["held_back"] for name, t in found.items()}
    assert held["naive_async"] == 0.0 and held["synchronous"] is None
    for name in set(STRATEGIES) - {"naive_async", "synchronous"}:
        assert held[name] > 0.0, name
    assert found["synchronous"]["starved_ticks"] > 0
    worst = {name: t["seam_excess_ratio"]["p95"] for name, t in found.items()}
    assert worst["rtc"] < worst["naive_async"]
    assert "temporal_ensembling_dense" in capsys.readouterr().out


@pytest.mark.e2e
@pytest.mark.rendering
def test_a_given_latency_takes_the_place_of_the_recorded_ones(recorded, tmp_path):
    path = tmp_path / "r.json"
    main([str(recorded), "--seconds", "3", "--latency-ms", "170", "--json", str(path)])
    found = json.loads(path.read_text())
    assert found["delays"] == [9]
    main([str(recorded), "--seconds", "3", "--latency-ms", "1900", "--json", str(path)])
    assert json.loads(path.read_text())["trials"][0]["starved_ticks"] > 0


# What can't be replayed


def refused(argv, capsys):
    assert main([str(a) for a in argv]) == 2
    said = capsys.readouterr().err
    assert said.startswith("replay: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


def settings_message(**values):
    return TYPES["std_msgs/msg/String"](json.dumps(values))


def test_bags_without_what_a_replay_needs_are_refused(tmp_path, capsys):
    run = list(messages_of(example_run(ExampleSettings(ticks=100))))
    assert "there is no" in refused([tmp_path / "nothing"], capsys)
    assert "rtc_inference/settings" in refused([write_bag(tmp_path / "a", run)], capsys)
    old = [("/rtc_inference/settings", 1, settings_message(beta=5.0)), *run]
    assert "cameras, joints, policy_path" in refused([write_bag(tmp_path / "b", old)], capsys)
    blind = settings_message(
        cameras={"observation.images.top": "/top"},
        joints=["left_waist"],
        policy_path="package:aloha_cube",
        joint_state_topics=["/joint_states"],
    )
    bag = write_bag(tmp_path / "c", [("/rtc_inference/settings", 1, blind), *run])
    assert "record with record_cameras" in refused([bag], capsys)
    other = [("/chatter", 1, TYPES["std_msgs/msg/String"]("hello"))]
    assert "rtc_controller/executed" in refused([write_bag(tmp_path / "d", other)], capsys)


def test_images_are_found_by_time_and_by_stamp(tmp_path):
    header, time_type = TYPES["std_msgs/msg/Header"], TYPES["builtin_interfaces/msg/Time"]
    image = TYPES["sensor_msgs/msg/Image"]
    with (tmp_path / "file").open("w+b") as file:
        track = ImageTrack(file)
        for k in range(3):
            pixels = np.full((2, 3, 3), 10 * k, dtype=np.uint8)
            pixels[..., 0] += 1  # red
            track.add(
                image(header(time_type(k, 7), ""), 2, 3, "rgb8", 0, 9, pixels.ravel()), 100 * k
            )
        assert track.at(-1) is None
        assert track.at(99)[0, 0].tolist() == [1, 0, 0]
        assert track.at(10**9)[1, 2].tolist() == [21, 20, 20]
        assert track.stamped(10**9 + 7)[0, 0].tolist() == [11, 10, 10]
        assert track.stamped(10**9 + 8) is None


def test_images_without_a_picture_are_left_out_of_a_track_and_counted(tmp_path):
    header, time_type = TYPES["std_msgs/msg/Header"], TYPES["builtin_interfaces/msg/Time"]
    image = TYPES["sensor_msgs/msg/Image"]
    with (tmp_path / "file").open("w+b") as file:
        track = ImageTrack(file, "/top")
        for k, (height, width) in enumerate([(2, 4), (0, 0), (2, 4)]):
            pixels = np.full(height * width * 2, 128, dtype=np.uint8)
            track.add(
                image(header(time_type(k, 7), ""), height, width, "yuv422_yuy2", 0, 2 * width,
                      pixels), 100 * k
            )  # fmt: skip
        assert track.times == [0, 200] and track.at(150).shape == (2, 4, 3)
        assert track.stamped(10**9 + 7) is None
    assert "1 of 3 images on /top" in track.note and "0 × 0 yuv422_yuy2" in track.note


# Recommending


def trial(s_min, beta, age, held, **example):
    run = example_run(dataclasses.replace(ExampleSettings(ticks=300), **example))
    settings = RtcSettings(s_min=s_min, beta=beta)
    return Trial(settings, Shadow(run, age, held), judge(run, THRESHOLDS))


THRESHOLDS = Thresholds(max_seam_excess=2.0)


def test_the_soonest_within_the_thresholds_that_is_held_back_least(tmp_path):
    torn = trial(5, 1.0, 0.10, 0.0, guided=False)
    slow = trial(30, 5.0, 0.40, 0.1)
    stiff = trial(10, 10.0, 0.201, 0.3)
    good = trial(10, 5.0, 0.203, 0.2)
    refused_one = Trial(RtcSettings(s_min=99), None, None, "s_min is 99")
    trials = [torn, slow, refused_one, stiff, good]
    best, why = recommended(trials, THRESHOLDS)
    assert best is good and "3 of 4" in why
    draw_sweep(trials, best, THRESHOLDS, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_where_none_is_within_it_says_so():
    starved = trial(5, 5.0, 0.1, 0.1, delays=(5, 25), horizon=20)
    torn = trial(5, 1.0, 0.1, 0.1, guided=False)
    best, why = recommended([starved, torn], THRESHOLDS)
    assert best is torn and "no combination is within" in why
    assert recommended([], THRESHOLDS)[0] is None


def test_combinations_stand_in_for_the_recorded_values():
    base = RtcSettings(s_min=7, beta=3.0, schedule="linear")
    assert combinations(base, [], [], []) == [base]
    assert [c.strategy for c in combinations(base, [], [], [], ["bid", "rtc"])] == ["bid", "rtc"]
    made = combinations(base, [5, 10], [1.0, 5.0], ["exp"])
    assert [(c.s_min, c.beta, c.schedule) for c in made] == [
        (5, 1.0, "exp"),
        (5, 5.0, "exp"),
        (10, 1.0, "exp"),
        (10, 5.0, "exp"),
    ]
