"""`rtc_ros continuity` on bags: the same figures as in memory, exit codes, broken input."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from bag_maker import TYPES, header, joint_state, messages_of, write_bag

from rtc_ros.bags.run_reader import read_run
from rtc_ros.bags.topics import TopicNames
from rtc_ros.core.continuity import judge
from rtc_ros.core.continuity.run_log import RunLog
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.tools.cli import main as rtc_ros
from rtc_ros.tools.continuity import main

SHORT = ExampleSettings(ticks=300)
NAIVE = dataclasses.replace(SHORT, guided=False)
STARVED = dataclasses.replace(SHORT, delays=(5, 25), horizon=20)


@pytest.fixture(scope="module")
def rtc_bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "rtc", messages_of(example_run(SHORT)))


@pytest.mark.parametrize(
    "how", [{}, {"sqlite": True}, *({"compress": c} for c in ("FILE", "MESSAGE", "STORAGE"))]
)
def test_a_bag_gives_the_same_report_as_the_run(tmp_path, how):
    run = example_run(SHORT)
    bag = write_bag(tmp_path / "bag", messages_of(run), **how)
    assert judge(read_run(bag)) == judge(run)


def test_a_bare_mcap_and_another_namespace_are_found(tmp_path):
    run = example_run(SHORT)
    bag = write_bag(tmp_path / "bag", messages_of(run, "/robot/left"))
    assert judge(read_run(bag / "bag.mcap")) == judge(run)


def test_two_robots_in_a_bag_have_to_be_told_apart(tmp_path, capsys):
    one, two = (list(messages_of(example_run(s), n)) for s, n in ((SHORT, "/a"), (NAIVE, "/b")))
    bag = write_bag(tmp_path / "bag", [*one, *two])
    assert main([str(bag)]) == 2
    assert "/a/rtc_controller/executed, /b/rtc_controller/executed" in capsys.readouterr().err
    names = TopicNames(
        executed="/b/rtc_controller/executed",
        swap="/b/rtc_controller/swap",
        chunk="/b/rtc_inference/chunk",
        joint_states="/b/joint_states",
    )
    assert judge(read_run(bag, names)) == judge(example_run(NAIVE))


@pytest.mark.parametrize(
    ("settings", "code", "why"),
    [(SHORT, 0, ""), (NAIVE, 1, "seam's excess"), (STARVED, 1, "starved ticks: 1")],
)
def test_exit_codes_and_json(tmp_path, settings, code, why):
    bag = write_bag(tmp_path / "bag", messages_of(example_run(settings)))
    assert rtc_ros(["continuity", str(bag), "--json", str(tmp_path / "r.json")]) == code
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["verdict"]["passed"] is (code == 0)
    assert why in " ".join(report["verdict"]["why"])
    assert report["misplaced_steps"] == 0
    assert report["steps"] == sum(s["steps"] for s in report["sections"]) > 100
    assert len(report["seams"]) == report["seam_jump"]["count"] > 10
    assert len(report["seams"][0]["jump"]) == len(report["joints"]) == 14


def test_thresholds_can_be_set(tmp_path):
    bag = str(write_bag(tmp_path / "bag", messages_of(example_run(STARVED))))
    assert main([bag, "--max-starved", "10000", "--max-seam-excess", "100"]) == 0
    assert main([bag, "--max-starved", "-1", "--max-seam-excess", "-1"]) == 0
    assert main([bag, "--max-starved", "10000", "--max-seam-excess", "0.01"]) == 1
    anything = [bag, "--max-starved", "-1", "--max-seam-excess", "-1"]
    assert main([*anything, "--max-seam-p95-ratio", "100"]) == 0
    assert main([*anything, "--max-seam-p95-ratio", "0.01"]) == 1
    assert main([*anything, "--max-seam-median-ratio", "0.01"]) == 1


def test_guided_and_naive_side_by_side(tmp_path, rtc_bag, capsys):
    naive = write_bag(tmp_path / "naive", messages_of(example_run(NAIVE)))
    out = tmp_path / "out"
    assert main([str(rtc_bag), str(naive), "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "PASS" in said and "FAIL" in said
    excess = [
        json.loads((out / f"{n}_continuity.json").read_text())["seam_excess"]["median"]
        for n in ("rtc", "naive")
    ]
    assert excess[1] > 5 * excess[0]
    for name in ("rtc", "naive"):
        assert (out / f"{name}_continuity.png").read_bytes().startswith(b"\x89PNG")


def test_one_file_for_two_bags_is_refused(rtc_bag, tmp_path, capsys):
    assert main([str(rtc_bag), str(rtc_bag), "--json", str(tmp_path / "x.json")]) == 2
    assert "--out" in capsys.readouterr().err


def test_it_needs_neither_ros_nor_torch():
    code = "import sys, rtc_ros.tools.continuity, rtc_ros.tools.film; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"rclpy", "torch", "lerobot", "matplotlib"} & set(loaded)


# Less than everything


def test_without_provenance_nothing_is_judged_and_it_says_so(tmp_path, capsys):
    log = dataclasses.replace(example_run(SHORT).commands, provenance=None, wanted=None)
    bag = write_bag(tmp_path / "bag", messages_of(RunLog(log)))
    assert main([str(bag), "--json", str(tmp_path / "r.json")]) == 2
    said = capsys.readouterr().out
    assert "NOT JUDGED" in said and "no provenance" in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["sections"][0]["ordinary_jump"]["max"] > 0.01
    assert report["seams"] == []


def test_a_bag_with_only_executed_says_what_it_lacks(tmp_path, capsys):
    run = RunLog(example_run(SHORT).commands)
    bag = write_bag(tmp_path / "bag", messages_of(run))
    assert main([str(bag)]) == 0
    said = capsys.readouterr().out
    for word in ("no swap events", "no chunks", "no joint states"):
        assert word in said


def test_bare_commands_are_shown_but_not_judged(tmp_path, capsys):
    def array(values):
        layout = TYPES["std_msgs/msg/MultiArrayLayout"]([], 0)
        return TYPES["std_msgs/msg/Float64MultiArray"](layout, np.asarray(values, dtype=float))

    messages = [
        (f"/{side}_arm/commands", 10**18 + k * 20_000_000, array([0.01 * k, 0.5]))
        for k in range(100)
        for side in ("left", "right")
    ]
    bag = write_bag(tmp_path / "bag", messages)
    assert main([str(bag), "--json", str(tmp_path / "r.json")]) == 2
    report = json.loads((tmp_path / "r.json").read_text())
    assert [j["name"] for j in report["joints"]][:2] == [
        "/left_arm/commands[0]",
        "/left_arm/commands[1]",
    ]
    assert report["sections"][0]["ordinary_jump"]["median"] == pytest.approx(0.01)
    assert "NOT JUDGED" in capsys.readouterr().out


def test_messages_of_another_form_are_counted_and_left_out(tmp_path):
    run = example_run(SHORT)
    messages = []
    for topic, time_ns, message in messages_of(run):
        if topic.endswith("swap"):
            message.values[0].value = "many"
        if topic.endswith("chunk"):
            message.header.frame_id = "base_link"
        messages.append((topic, time_ns, message))
    report = judge(read_run(write_bag(tmp_path / "bag", messages)))
    assert (
        f"{len(run.swaps) + len(run.chunks)} swap, chunk or settings messages" in report.notes[0]
    )
    assert report.chunks_recorded == 0
    assert report.misplaced_steps == 0


def test_chunks_with_joints_in_another_order_are_matched_by_name(tmp_path):
    run = example_run(SHORT)
    messages = []
    for topic, time_ns, message in messages_of(run):
        if topic.endswith("chunk"):
            message.joint_names.reverse()
            for point in message.points:
                point.positions = point.positions[::-1].copy()
        messages.append((topic, time_ns, message))
    assert judge(read_run(write_bag(tmp_path / "bag", messages))) == judge(run)


# Broken input


def refused(argv, capsys):
    assert main([str(a) for a in argv]) == 2
    said = capsys.readouterr().err
    assert said.startswith("continuity: ") and said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


def test_no_such_bag(tmp_path, capsys):
    assert "there is no" in refused([tmp_path / "nothing"], capsys)


def test_a_folder_that_is_no_bag(tmp_path, capsys):
    assert "neither metadata.yaml nor" in refused([tmp_path], capsys)


@pytest.mark.parametrize("name", ["x.mcap", "x.db3", "x.txt"])
@pytest.mark.parametrize(
    "content", [b"", b"not a bag at all" * 100, b"\x89MCAP0\r\n", b"\x89MCAP0\r\n\x01"]
)
def test_a_file_that_is_no_bag(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    said = refused([tmp_path / name], capsys)
    assert str(tmp_path / name) in said and "ord()" not in said


def test_damaged_metadata(tmp_path, rtc_bag, capsys):
    bag = shutil.copytree(rtc_bag, tmp_path / "rtc")
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert main([str(bag)]) == 0, "the mcap itself is whole"
    (bag / "rtc.mcap").unlink()
    refused([bag], capsys)


def test_a_bag_of_something_else(tmp_path, capsys):
    string = TYPES["std_msgs/msg/String"]("hello")
    bag = write_bag(tmp_path / "bag", [("/chatter", 1, string)])
    said = refused([bag], capsys)
    assert "/chatter" in said and "rtc_controller/executed" in said


def test_a_topic_of_another_type(tmp_path, capsys):
    string = TYPES["std_msgs/msg/String"]("hello")
    bag = write_bag(tmp_path / "bag", [("/rtc_controller/executed", 1, string)])
    said = refused([bag, "--executed", "/rtc_controller/executed"], capsys)
    assert "std_msgs/msg/String" in said and "JointState" in said


def test_joint_names_that_change(tmp_path, capsys):
    topic = "/rtc_controller/executed"
    messages = [
        (topic, k, joint_state(k, ["a", "b" if k < 5 else "c"], [0.0, 1.0])) for k in range(1, 9)
    ]
    assert "change" in refused([write_bag(tmp_path / "bag", messages)], capsys)


def test_lists_of_unequal_length(tmp_path, capsys):
    messages = [("/rtc_controller/executed", 1, joint_state(1, ["a", "b"], [0.0]))]
    assert "2 names and 1 positions" in refused([write_bag(tmp_path / "bag", messages)], capsys)


def test_a_report_that_cannot_be_written(tmp_path, rtc_bag, capsys):
    assert "can't write" in refused([rtc_bag, "--json", tmp_path / "no" / "r.json"], capsys)


# Cut off


def written_in_chunks(path, run, per_chunk=50):
    """Write ``run`` with an mcap chunk every ``per_chunk`` messages, as the recorder does."""
    from bag_maker import STORE
    from rosbags.rosbag2 import StoragePlugin, Writer

    connections = {}
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for n, (topic, time_ns, message) in enumerate(messages_of(run)):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, kind))
            if n % per_chunk == per_chunk - 1:
                writer.storage.close_chunk()
    return path


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.999])
def test_an_unfinished_mcap_is_read_up_to_the_cut(tmp_path, capsys, part):
    run = example_run(SHORT)
    bag = written_in_chunks(tmp_path / "bag", run)
    whole = (bag / "bag.mcap").read_bytes()
    (bag / "bag.mcap").write_bytes(whole[: int(part * len(whole))])
    (bag / "metadata.yaml").unlink()
    cut = judge(read_run(bag))
    full = judge(run)
    assert 0.15 * full.steps < cut.steps <= full.steps
    assert cut.misplaced_steps == 0
    assert [s.step for s in cut.seams] == [s.step for s in full.seams][: len(cut.seams)]
    assert main([str(bag)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "was not finished" in said
    assert ("read up to the cut" in said) == (part < 0.99), "the last cut only costs the index"


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_never_give_a_traceback(tmp_path, capsys, seed):
    rng = np.random.default_rng(seed)
    bag = written_in_chunks(tmp_path / "bag", example_run(dataclasses.replace(SHORT, ticks=120)))
    data = bytearray((bag / "bag.mcap").read_bytes())
    for _ in range(rng.integers(1, 60)):
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
    (bag / "bag.mcap").write_bytes(bytes(data))
    assert main([str(bag)]) in (0, 1, 2)


def test_stamps_fall_back_on_the_receive_time(tmp_path):
    run = example_run(SHORT)
    messages = []
    for topic, time_ns, message in messages_of(run):
        if topic.endswith("executed"):
            message.header = header(0, message.header.frame_id)
        messages.append((topic, time_ns, message))
    assert judge(read_run(write_bag(tmp_path / "bag", messages))) == judge(run)


# Long bags, piece by piece


def module(name):
    return sys.modules[f"rtc_ros.core.continuity.{name}"]


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_long_bag_is_judged_in_pieces_as_in_one(tmp_path, monkeypatch, sqlite):
    from rtc_ros.bags import run_reader, sqlite_file

    monkeypatch.setattr(module("judge"), "SPAN", 150)
    monkeypatch.setattr(module("judge"), "LEAD", 80)
    monkeypatch.setattr(run_reader, "AT_ONCE", 230)
    monkeypatch.setattr(run_reader, "KEPT", 5)
    monkeypatch.setattr(sqlite_file, "ROWS", 40)
    run = example_run(dataclasses.replace(STARVED, ticks=1500))
    if sqlite:
        bag = write_bag(tmp_path / "bag", messages_of(run), sqlite=True)
    else:
        bag = written_in_chunks(tmp_path / "bag", run)
    judging = module("judge").Judge()
    kept = run_reader.judge_stream(bag, judging)
    assert len(kept.commands) < 500 and len(kept.chunks) < 60, "the rest was forgotten"
    found, whole = judging.report(kept), judge(run)
    assert len(whole.sections) == 10
    assert found.chunks_recorded == whole.chunks_recorded
    tracking = [j.tracking_rms for j in found.joints]
    assert tracking == pytest.approx([j.tracking_rms for j in whole.joints], rel=1e-9)
    apart = [
        dataclasses.replace(
            r, joints=tuple(dataclasses.replace(j, tracking_rms=0) for j in r.joints)
        )
        for r in (found, whole)
    ]
    assert apart[0] == apart[1]


def test_of_very_many_seams_the_worst_are_listed_and_all_are_counted(monkeypatch):
    run = example_run(dataclasses.replace(NAIVE, ticks=900))
    whole = judge(run)
    monkeypatch.setattr(module("sums"), "MAX_SEAMS", 20)
    report = judge(run)
    assert report.seam_count == whole.seam_count > 40 and len(report.seams) == 20
    assert report.seam_excess == whole.seam_excess
    worst = sorted((s.excess_ratio or 0 for s in whole.seams), reverse=True)[:20]
    assert sorted((s.excess_ratio for s in report.seams), reverse=True) == worst
    assert [s.step for s in report.seams] == sorted(s.step for s in report.seams)
    assert "the worst 20 are listed" in report.notes[-1]


# Two recordings in one


def later(run, seconds, step_epoch, stem="7"):
    """Return the messages of ``run`` as another run of the nodes, so much later."""
    fields = dict.fromkeys(("epoch", "chunk_epoch", "previous_epoch"), stem)
    for topic, time_ns, message in messages_of(run):
        shift = round(seconds * 1e9)
        if hasattr(message, "header"):
            stamp = message.header.stamp
            at = stamp.sec * 10**9 + stamp.nanosec + shift
            frame = message.header.frame_id
            if topic.endswith("chunk"):
                words = dict(w.split("=") for w in frame.split())
                words |= {"step_epoch": str(step_epoch), "epoch": stem}
                frame = " ".join(f"{k}={v}" for k, v in words.items())
            message.header = header(at, frame)
        if topic.endswith("executed"):
            message.position[message.name.index("rtc/step_epoch")] = step_epoch
            if message.position[message.name.index("rtc/chunk_epoch")] >= 0:
                message.position[message.name.index("rtc/chunk_epoch")] = int(stem)
        if topic.endswith("swap"):
            for pair in message.values:
                if pair.key == "step_epoch":
                    pair.value = str(step_epoch)
                elif pair.key in fields and pair.value != "-1":
                    pair.value = stem
        yield topic, time_ns + shift, message


def test_two_recordings_in_one_bag_are_two_sections_with_the_same_seams(tmp_path):
    one, two = example_run(SHORT), example_run(dataclasses.replace(NAIVE, seed=3))
    messages = [*messages_of(one), *later(two, 60, 2, "8")]
    report = judge(read_run(write_bag(tmp_path / "bag", messages)))
    assert [s.step_epoch for s in report.sections] == [1, 2]
    where = {"record": 0, "time_s": 0.0, "step_epoch": 0, "chunk": (), "previous": ()}
    alone = [s for run in (one, two) for s in judge(run).seams]
    assert [dataclasses.replace(s, **where) for s in report.seams] == [
        dataclasses.replace(s, **where) for s in alone
    ]
    assert report.misplaced_steps == 0


def test_two_files_in_a_folder_without_metadata_are_both_read(tmp_path):
    one = example_run(SHORT)
    bag = write_bag(tmp_path / "bag", messages_of(one))
    other = write_bag(tmp_path / "other", later(one, 60, 2, "8"))
    shutil.copy(other / "other.mcap", bag / "bag_1.mcap")
    (bag / "metadata.yaml").unlink()
    report = judge(read_run(bag))
    assert [s.step_epoch for s in report.sections] == [1, 2]
    assert report.steps == 2 * judge(one).steps


# Marked, not silently wrong


def test_a_clock_that_jumps_back_is_said(tmp_path, capsys):
    run = example_run(SHORT)
    stamps = run.commands.stamp_ns.copy()
    stamps[150:] -= 5 * 10**9
    jumped = dataclasses.replace(
        run, commands=dataclasses.replace(run.commands, stamp_ns=stamps), measured=None
    )
    bag = write_bag(tmp_path / "bag", messages_of(jumped))
    main([str(bag), "--html", str(tmp_path / "r.html")])
    assert "the clock jumps back once" in " ".join(capsys.readouterr().out.split())
    assert "the clock jumps back once" in (tmp_path / "r.html").read_text()
    same, found = judge(run), judge(read_run(bag))
    assert found.seam_excess == same.seam_excess, "seams are counted in ticks, not by the clock"
    assert found.sections[0].control_period_s == pytest.approx(0.02)


def test_ticks_that_the_recording_lacks_are_said(tmp_path, capsys):
    messages = [m for k, m in enumerate(messages_of(example_run(SHORT))) if not 200 <= k < 260]
    assert main([str(write_bag(tmp_path / "bag", messages))]) == 0
    assert "ticks are missing in the recording" in " ".join(capsys.readouterr().out.split())


def test_no_topic_of_the_name_that_was_given(rtc_bag, capsys):
    said = refused([rtc_bag, "--executed", "/elsewhere"], capsys)
    assert "/elsewhere" in said and "/rtc_controller/executed" in said


def test_a_type_that_is_defined_otherwise_than_in_ros(tmp_path, capsys):
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg("float32[] position", "sensor_msgs/msg/JointState"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            "/rtc_controller/executed", "sensor_msgs/msg/JointState", typestore=store
        )
        message = store.types["sensor_msgs/msg/JointState"](np.zeros(3, dtype=np.float32))
        writer.write(connection, 1, store.serialize_cdr(message, message.__msgtype__))
    assert "another definition" in refused([tmp_path / "bag"], capsys)


def test_a_message_with_broken_bytes_is_said(tmp_path, capsys):
    from bag_maker import STORE
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            "/rtc_controller/executed", "sensor_msgs/msg/JointState", typestore=STORE
        )
        writer.write(connection, 1, b"\x00\x01\x00\x00" + b"\xff" * 40)
    assert "can't be read" in refused([tmp_path / "bag"], capsys)


def test_bare_commands_with_chunks_are_judged_and_say_that_it_is_inferred(tmp_path, capsys):
    run = example_run(NAIVE)
    point = TYPES["std_msgs/msg/Float64MultiArray"]
    layout = TYPES["std_msgs/msg/MultiArrayLayout"]([], 0)
    messages = []
    for topic, time_ns, message in messages_of(run):
        if topic.endswith("chunk"):
            message.header.frame_id = "base_link"
            messages.append(("/policy/plan", time_ns - 1, message))
        elif topic.endswith("executed"):
            values = np.asarray(message.position[:14])
            messages.append(("/arms/commands", time_ns, point(layout, values)))
    bag = str(write_bag(tmp_path / "bag", messages))
    assert main([bag]) == 2, "commands alone are not judged"
    capsys.readouterr()
    assert main([bag, "--chunk", "/policy/plan", "--json", str(tmp_path / "r.json")]) == 1
    assert "was inferred by comparing" in " ".join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / "r.json").read_text())
    assert [s["step"] for s in report["seams"]] == [s.step for s in judge(run).seams]
    assert main([bag, "--chunk", "/nothing"]) == 2


def test_a_bag_that_was_counted_on_is_one_long_run(tmp_path):
    from long_bag import TICKS, repeated

    bag = write_bag(tmp_path / "bag", repeated(2))
    report = judge(read_run(bag))
    once = judge(example_run(ExampleSettings(ticks=TICKS)))
    assert len(report.sections) == 1 and report.misplaced_steps == 0
    assert report.steps == 2 * once.steps and report.seam_count == 2 * once.seam_count + 1
