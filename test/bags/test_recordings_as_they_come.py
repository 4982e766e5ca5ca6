"""Recordings as recorders leave them: split, killed, compressed, in part lost, read by all tools.

What is there is read in its order, and what is missing is said.
"""

import dataclasses
import functools
import random
import shutil
import sqlite3
import struct
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from bag_maker import STORE, TYPES, header, joint_state, messages_of, write_bag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtc_ros.bags.bag_files import numbers_of
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.bags.run_reader import read_run
from rtc_ros.core.continuity import judge
from rtc_ros.report.examine import examine
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.tools.continuity import main as continuity

RUN = example_run(ExampleSettings(ticks=300))
MESSAGES = list(messages_of(RUN))
WHOLE = judge(RUN)
PARTS = 12
FEW = 160


def said(bag, capsys, code=0, *more):
    """Judge ``bag``; return what was said, in one line."""
    capsys.readouterr()
    assert continuity([str(bag), *more]) == code
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return " ".join((out.out + out.err).split())


def part(number, parts=PARTS, messages=MESSAGES):
    size = len(messages) / parts
    return messages[round(number * size) : round((number + 1) * size)]


@functools.lru_cache
def parts(suffix, compress):
    """Return the run in parts: each file's suffixes and bytes."""
    found = []
    for number in range(PARTS):
        with tempfile.TemporaryDirectory() as folder:
            sqlite = suffix == "db3"
            made = write_bag(Path(folder, "x"), part(number), sqlite=sqlite, compress=compress)
            (file,) = made.glob("x.*")
            found.append(("".join(file.suffixes), file.read_bytes()))
    return found


def split(folder, names="bag_{}", suffix="mcap", compress=""):
    """Make the folder of a split recording, named as rosbag2 does, without metadata.yaml."""
    folder.mkdir()
    for number, (suffixes, data) in enumerate(parts(suffix, compress)):
        (folder / f"{names.format(number)}{suffixes}").write_bytes(data)
    return folder


def metadata(folder, **changes):
    """Write the metadata.yaml of ``split``'s folder; a topic's count is of the whole run."""
    counts = {}
    for topic, _, message in MESSAGES:
        counts[topic, message.__msgtype__] = counts.get((topic, message.__msgtype__), 0) + 1
    about = {
        "version": 9,
        "storage_identifier": "mcap",
        "relative_file_paths": [f"bag_{i}.mcap" for i in range(PARTS)],
        "topics_with_message_count": [
            {"topic_metadata": {"name": t, "type": k}, "message_count": n}
            for (t, k), n in counts.items()
        ],
    } | changes
    (folder / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": about}), encoding="utf-8"
    )
    return folder


# Split files


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
@pytest.mark.parametrize(
    "names",
    ["bag_{}", "{}_bag_2026_01_05-10_00_00", "2026_01_05_{}", "7_bag_{}", "{}"],
)
def test_split_files_are_read_in_the_order_of_their_numbers(tmp_path, capsys, names, suffix):
    bag = split(tmp_path / "bag", names, suffix)
    assert judge(read_run(bag)) == dataclasses.replace(WHOLE, notes=judge(read_run(bag)).notes)
    text = said(bag, capsys)
    assert "PASS" in text and "missing" not in text and "was not finished" in text


def test_files_whose_names_tell_no_order_are_read_by_their_times(tmp_path, capsys):
    bag = split(tmp_path / "bag")
    for number in range(PARTS):
        (bag / f"bag_{number}.mcap").rename(bag / f"{'qwertzuiopas'[number]}.mcap")
    assert judge(read_run(bag)).seams == WHOLE.seams
    assert "PASS" in said(bag, capsys)


def test_numbers_that_the_times_contradict_are_said(tmp_path, capsys):
    bag = split(tmp_path / "bag")
    (bag / "bag_3.mcap").rename(bag / "x")
    (bag / "bag_4.mcap").rename(bag / "bag_3.mcap")
    (bag / "x").rename(bag / "bag_4.mcap")
    text = said(bag, capsys, 1)
    assert "numbers and the times of their messages tell different orders" in text


@pytest.mark.parametrize("content", ["", "rosbag2_bagfile_information: [", "- 1", "\x00"])
def test_metadata_that_cannot_be_used_is_said_and_not_needed(tmp_path, capsys, content):
    bag = split(tmp_path / "bag")
    (bag / "metadata.yaml").write_text(content)
    assert judge(read_run(bag)).seams == WHOLE.seams
    text = said(bag, capsys)
    assert "metadata.yaml" in text and "the files are read without it" in text


@pytest.mark.parametrize("changes", [{"storage_identifier": ""}, {"version": 12}])
def test_metadata_of_another_kind_is_no_hindrance(tmp_path, capsys, changes):
    bag = metadata(split(tmp_path / "bag"), **changes)
    assert judge(read_run(bag)) == WHOLE, "nor is anything noted"


def test_metadata_that_lists_the_files_as_text_sorts_them(tmp_path):
    listed = sorted(f"bag_{i}.mcap" for i in range(PARTS))
    bag = metadata(split(tmp_path / "bag"), relative_file_paths=listed)
    assert judge(read_run(bag)) == WHOLE


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ([5], "file number 5 is missing of 0 to 11"),
        ([0, 1, 2, 7], "files number 0 to 2, 7 are missing of 0 to 11"),
    ],
)
def test_a_gap_in_the_numbers_is_named(tmp_path, capsys, gone, words):
    bag = split(tmp_path / "bag")
    for number in gone:
        (bag / f"bag_{number}.mcap").unlink()
    text = said(bag, capsys)
    assert words in text and "misplaced steps: 0" in text


def test_a_listed_file_that_is_missing_is_named_with_what_was_in_it(tmp_path, capsys):
    bag = metadata(split(tmp_path / "bag"))
    (bag / "bag_11.mcap").unlink()
    text = said(bag, capsys)
    assert "bag_11.mcap is missing, though metadata.yaml lists it" in text
    lost = sum(t.endswith("executed") for t, _, _ in part(11))
    assert f"of the 300 messages that were recorded on /rtc_controller/executed {lost}" in text


def test_files_that_metadata_does_not_list_yet_are_read(tmp_path, capsys):
    bag = metadata(split(tmp_path / "bag"), relative_file_paths=["bag_0.mcap", "bag_1.mcap"])
    assert judge(read_run(bag)).seams == WHOLE.seams
    assert "bag_11.mcap, bag_2.mcap" in said(bag, capsys)


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"no storage file at all"])
def test_a_last_file_with_nothing_in_it_is_said(tmp_path, capsys, suffix, content):
    bag = split(tmp_path / "bag", suffix=suffix)
    (bag / f"bag_11.{suffix}").write_bytes(content)
    report = judge(read_run(bag))
    assert report.steps == WHOLE.steps - sum(t.endswith("executed") for t, _, _ in part(11))
    assert f"bag_11.{suffix}" in said(bag, capsys)


def test_one_file_of_several_is_read_alone_and_said(tmp_path, capsys):
    bag = split(tmp_path / "bag")
    assert judge(read_run(bag / "bag_3.mcap")).steps < WHOLE.steps / 8
    text = said(bag / "bag_3.mcap", capsys, 2, "--max-seam-excess", "-1")
    assert "only bag_3.mcap was read, of the 12 files of its recording" in text


def test_numbers_in_names_that_are_no_counters_tell_nothing():
    def numbers(*names):
        return numbers_of([Path(n) for n in names])

    assert numbers("run_0.mcap", "run_10.mcap", "run_2.mcap") == [0, 10, 2]
    assert numbers("0_run_2026_01_05-10_00_59.db3", "1_run_2026_01_05-10_01_02.db3") == [0, 1]
    assert numbers("run_2026_01_05-10_00_59.mcap", "run_2026_01_05-10_01_02.mcap") is None
    assert numbers("run_20260105.mcap") is None
    assert numbers("left_0.mcap", "right_0.mcap") is None
    assert numbers("run.mcap", "run_1.mcap") is None


@pytest.fixture
def in_pieces(monkeypatch):
    """Recordings are judged in pieces, as those of hours: all of a time must be read together."""
    from rosbags.rosbag2 import storage_mcap

    from rtc_ros.bags import mcap_scan, reader, run_reader, sqlite_file

    # The package's ``judge`` is the function.
    judging = sys.modules["rtc_ros.core.continuity.judge"]
    monkeypatch.setattr(judging, "SPAN", 80)
    monkeypatch.setattr(judging, "LEAD", 40)
    monkeypatch.setattr(run_reader, "AT_ONCE", 120)
    monkeypatch.setattr(run_reader, "KEPT", 5)
    monkeypatch.setattr(sqlite_file, "ROWS", 40)
    for module in (mcap_scan, reader, sqlite_file):
        monkeypatch.setattr(module, "BLOCK_BYTES", 40_000)
    write = storage_mcap.McapWriter.write

    def write_in_small_chunks(self, *message):
        write(self, *message)
        if self.chunk.bio.tell() > 40_000:
            self.close_chunk()

    monkeypatch.setattr(storage_mcap.McapWriter, "write", write_in_small_chunks)


def seams_of(path):
    seams = examine(path).report.seams
    assert len(seams) > 10
    return [(s.step, s.delay_observed, s.prefix_mismatch, s.stride) for s in seams]


def test_recordings_of_two_recorders_in_one_folder_are_merged(tmp_path, in_pieces):
    folder = tmp_path / "both"
    folder.mkdir()
    for name, keep in (("aa_arm", "executed"), ("zz_chunks", "chunk"), ("mm_swap", "swap")):
        made = write_bag(tmp_path / name, [m for m in MESSAGES if m[0].endswith(keep)])
        shutil.copy(made / f"{name}.mcap", folder / f"{name}_0.mcap")
    assert seams_of(folder) == seams_of(write_bag(tmp_path / "one", MESSAGES))


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_file_that_was_written_topic_by_topic_is_read_by_time(tmp_path, in_pieces, sqlite):
    mixed = sorted(MESSAGES, key=lambda m: m[0])
    bag = write_bag(tmp_path / "bag", mixed, sqlite=sqlite)
    assert seams_of(bag) == seams_of(write_bag(tmp_path / "one", MESSAGES))


def test_a_copy_beside_the_file_is_not_read_twice(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", MESSAGES)
    shutil.copy(bag / "bag.mcap", bag / "copy of bag.mcap")
    (bag / "metadata.yaml").unlink()
    assert judge(read_run(bag)).steps == WHOLE.steps
    assert "copy of bag.mcap holds the same as bag.mcap: left out" in said(bag, capsys)


# Killed


def killed_sqlite(folder, in_wal):
    """A recorder in rosbag2's resilient preset that is killed: ``in_wal`` messages in the log."""
    whole = sqlite3.connect(next(write_bag(folder / "whole", MESSAGES, sqlite=True).glob("*.db3")))
    live = folder / "live.db3"
    db = sqlite3.connect(live)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    for (line,) in whole.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
        db.execute(line)
    for row in whole.execute("SELECT * FROM topics"):
        db.execute(f"INSERT INTO topics VALUES ({','.join('?' * len(row))})", row)
    rows = list(whole.execute("SELECT * FROM messages ORDER BY id"))
    for begin, end in ((0, len(rows) - in_wal), (len(rows) - in_wal, len(rows))):
        db.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows[begin:end])
        db.commit()
        if 0 < end < len(rows):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    bag = folder / "bag"
    bag.mkdir()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{live}{suffix}", bag / f"bag_0.db3{suffix}")
    db.close()
    return bag


def all_bytes(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("in_wal", [100, len(MESSAGES)])
def test_what_a_killed_sqlite_recorder_left_in_its_log_is_read(tmp_path, capsys, in_wal):
    bag = killed_sqlite(tmp_path, in_wal)
    before = all_bytes(bag)
    for path in (bag, bag / "bag_0.db3"):
        assert judge(read_run(path)).seams == WHOLE.seams
        text = said(path, capsys)
        assert f"{in_wal} of its {len(MESSAGES)} messages were in bag_0.db3-wal" in text
    assert all_bytes(bag) == before, "the recording is not changed"


def test_a_cut_log_gives_what_was_committed(tmp_path, capsys):
    bag = killed_sqlite(tmp_path, 100)
    log = bag / "bag_0.db3-wal"
    log.write_bytes(log.read_bytes()[:-5000])
    assert judge(read_run(bag)).steps < WHOLE.steps
    assert "was not closed" in said(bag, capsys)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_sqlite_file_is_read_up_to_the_cut(tmp_path, capsys, share):
    bag = write_bag(tmp_path / "bag", MESSAGES, sqlite=True)
    data = (bag / "bag.db3").read_bytes()
    (bag / "bag.db3").write_bytes(data[: int(share * len(data))])
    report = judge(read_run(bag))
    assert (share - 0.2) * WHOLE.steps < report.steps < WHOLE.steps
    assert report.misplaced_steps == 0
    text = said(bag, capsys)
    assert "bag.db3 is damaged after message" in text
    assert "of the 300 messages that were recorded on /rtc_controller/executed" in text


def test_a_damaged_chunk_costs_itself_only(tmp_path, capsys):
    from rosbags.rosbag2 import StoragePlugin, Writer

    connections = {}
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for n, (topic, time_ns, message) in enumerate(MESSAGES):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, kind))
            if n % 50 == 49:
                writer.storage.close_chunk()
    file = tmp_path / "bag" / "bag.mcap"
    data, at, chunks = bytearray(file.read_bytes()), 8, []
    while at + 9 < len(data):
        code, size = struct.unpack_from("<BQ", data, at)
        chunks += [(at, size)] if code == 6 else []
        at += 9 + size
    # A record's length in the middle of the chunk: what follows in it can't be told apart.
    begin, size = chunks[3]
    where = data.index(b"/joint_states"[:0] + b"left_waist", begin + size // 2)
    found = data.rindex(b"\x05", begin, where - 40)
    data[found + 5] = 0xFF
    file.write_bytes(bytes(data))
    report = judge(read_run(tmp_path / "bag"))
    assert WHOLE.steps - 60 < report.steps < WHOLE.steps
    text = said(tmp_path / "bag", capsys)
    assert "damaged part of bag.mcap left out" in text and "are missing" in text


# Compressed


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
@pytest.mark.parametrize("how", ["FILE", "MESSAGE"])
def test_compression_needs_no_metadata(tmp_path, suffix, how):
    bag = split(tmp_path / "bag", suffix=suffix, compress=how)
    assert judge(read_run(bag)).seams == WHOLE.seams
    one = write_bag(tmp_path / "one", MESSAGES, sqlite=suffix == "db3", compress=how)
    (one / "metadata.yaml").unlink()
    (file,) = one.iterdir()
    for path in (one, file):
        assert judge(read_run(path)).seams == WHOLE.seams


def test_a_cut_compressed_file_is_said(tmp_path, capsys):
    bag = split(tmp_path / "bag", compress="FILE")
    file = bag / "bag_11.mcap.zstd"
    file.write_bytes(file.read_bytes()[:-200])
    assert "bag_11.mcap.zstd was unpacked up to the cut" in said(bag, capsys)
    file.write_bytes(b"")
    assert "bag_11.mcap.zstd" in said(bag, capsys)


def test_a_recorder_that_died_while_compressing_left_both(tmp_path):
    bag = split(tmp_path / "bag", compress="FILE")
    other = split(tmp_path / "other")
    shutil.copy(other / "bag_11.mcap", bag)
    (bag / "bag_11.mcap.zstd").write_bytes((bag / "bag_11.mcap.zstd").read_bytes()[:-99])
    assert judge(read_run(bag)).seams == WHOLE.seams


# Odd topics


def test_an_unrelated_topic_with_two_types_is_no_hindrance(tmp_path, capsys):
    from rosbags.rosbag2 import StoragePlugin, Writer

    odd = [TYPES["std_msgs/msg/String"]("x"), TYPES["std_msgs/msg/Bool"](True)]
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        known = {}
        for topic, at, message in [*MESSAGES, *(("/status", MESSAGES[-1][1], m) for m in odd)]:
            kind = message.__msgtype__
            if (topic, kind) not in known:
                known[topic, kind] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(known[topic, kind], at, STORE.serialize_cdr(message, kind))
    assert judge(read_run(tmp_path / "bag")) == WHOLE
    text = said(tmp_path / "bag", capsys, 2, "--executed", "/status")
    assert "/status has two types, std_msgs/msg/Bool and std_msgs/msg/String" in text


@pytest.mark.parametrize(
    ("restamped", "words"),
    [
        (lambda at: at + 3600 * 10**9, "3600.0 s ahead of"),
        (lambda at: at - MESSAGES[0][1] + 10**12, "behind"),
        (lambda at: at - 3 * 10**9, "3.0 s behind"),
    ],
)
def test_joint_states_of_another_clock_are_said(tmp_path, capsys, restamped, words):
    messages = []
    for topic, at, message in MESSAGES:
        if topic.endswith("joint_states"):
            message = joint_state(restamped(at), message.name, message.position)
        messages.append((topic, at, message))
    bag = write_bag(tmp_path / "bag", messages)
    report = judge(read_run(bag))
    assert all(j.tracking_rms is None for j in report.joints)
    text = said(bag, capsys)
    assert "/joint_states are stamped by another clock" in text and words in text
    assert "how the arm followed its commands can't be told" in text


def test_joint_states_without_stamps_are_taken_as_received(tmp_path):
    messages = [
        (t, at, joint_state(0, m.name, m.position) if t.endswith("joint_states") else m)
        for t, at, m in MESSAGES
    ]
    assert judge(read_run(write_bag(tmp_path / "bag", messages))) == WHOLE


def test_joint_states_that_ended_before_the_motion_are_said(tmp_path, capsys):
    early = [
        (t, at - 60 * 10**9, joint_state(at - 60 * 10**9, m.name, m.position))
        for t, at, m in MESSAGES
        if t.endswith("joint_states")
    ]
    others = [m for m in MESSAGES if not m[0].endswith("joint_states")]
    assert "no joint state at the time of a command" in said(
        write_bag(tmp_path / "bag", [*early, *others]), capsys
    )


def trajectories(names_of):
    point, length = (
        TYPES["trajectory_msgs/msg/JointTrajectoryPoint"],
        TYPES["builtin_interfaces/msg/Duration"](0, 0),
    )
    for k in range(100):
        values = {"a": 0.01 * k, "b": -0.02 * k, "c": 0.5}
        at, names = 10**18 + k * 20_000_000, names_of(k)
        none = _floats()
        rows = [point(_floats([values[n] for n in names]), none, none, none, length)]
        kind = TYPES["trajectory_msgs/msg/JointTrajectory"]
        yield "/arm/joint_trajectory", at, kind(header(at), list(names), rows)


def _floats(values=()):
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def test_trajectory_commands_are_matched_by_joint_name(tmp_path, capsys):
    def shown(name, names_of):
        bag = write_bag(tmp_path / name, trajectories(names_of))
        said(bag, capsys, 2, "--commands", "/arm/joint_trajectory")
        from rtc_ros.bags.topics import TopicNames

        return read_run(bag, TopicNames(commands=("/arm/joint_trajectory",))).commands

    plain, turned = shown("one", lambda k: "abc"), shown("two", lambda k: ("abc", "cab")[k % 2])
    assert turned.joints == plain.joints == ("a", "b", "c")
    assert (turned.command == plain.command).all()
    bag = write_bag(tmp_path / "other", trajectories(lambda k: "abc" if k < 50 else "ab"))
    text = said(bag, capsys, 2, "--commands", "/arm/joint_trajectory")
    assert "3 values (a, b, c) to 2 (a, b)" in text


# Whatever happens to the files


def good(folder, kind):
    """A small recording in four files, whole; its messages by topic, as they were written."""
    folder.mkdir(parents=True)
    messages = MESSAGES[:FEW]
    for number in range(4):
        plain = write_bag(
            folder / "part",
            part(number, 4, messages),
            sqlite=kind.startswith("db3"),
            compress="STORAGE" if kind == "mcap" else "FILE" if kind.endswith("zstd") else "",
        )
        (file,) = plain.glob("part.*")
        file.rename(folder / f"bag_{number}{''.join(file.suffixes)}")
        shutil.rmtree(plain)
    written = {}
    for topic, at, message in messages:
        data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        written.setdefault(topic, []).append((at, data))
    return written


class Quiet(dict):
    """Megabytes that no failure should print."""

    def __repr__(self):
        return "recordings"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    made = Quiet()
    for kind in ("mcap", "mcap_plain", "db3", "mcap_zstd", "db3_zstd"):
        folder = tmp_path_factory.mktemp("good") / kind
        made[kind] = (good(folder, kind), all_bytes(folder))
    return made


def read_all(folder):
    """Return what can be read of a recording, topic by topic, and the notes."""
    with Bag(folder) as bag:
        found = {}
        for topic, times, data in bag.batches(*bag.topics):
            found.setdefault(topic, []).extend(zip(times, data, strict=True))
        return found, bag.notes


def assert_parts_in_order(found, written):
    for topic, messages in found.items():
        rest = iter(written[topic])
        strange = sum(message not in rest for message in messages)
        assert not strange, f"{strange} of {len(messages)} messages on {topic}"


KINDS = st.sampled_from(["mcap", "mcap_plain", "db3", "mcap_zstd", "db3_zstd"])
EACH = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EACH
@given(kind=KINDS, cuts=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=4))
def test_cut_and_lost_files_give_a_part_in_order_and_a_note(recordings, tmp_path, kind, cuts):
    written, files = recordings[kind]
    folder = tmp_path / "bag"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kept = dict(files)
    for number, share in cuts:
        name = sorted(files)[number]
        if share < 0.2:
            kept.pop(name, None)
        elif name in kept:
            kept[name] = kept[name][: int(share * len(kept[name]))]
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    before = all_bytes(folder)
    try:
        found, notes = read_all(folder)
    except BagError as error:
        assert "\n" not in str(error)
        return
    changed = all_bytes(folder) != before
    assert not changed
    assert_parts_in_order(found, written)
    # Nothing tells of files that are gone at the end.
    last = max(i for i, name in enumerate(sorted(files)) if name in kept)
    there = sum(len(part(i, 4, MESSAGES[:FEW])) for i in range(last + 1))
    if sum(map(len, found.values())) < there:
        assert len(notes) > 1, "missing and not said"


@EACH
@given(kind=KINDS, seed=st.integers(0, 10**6), flips=st.integers(1, 40))
def test_flipped_bytes_give_messages_or_a_sentence(recordings, tmp_path, kind, seed, flips):
    written, files = recordings[kind]
    folder = tmp_path / "bag"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    chance = random.Random(seed)
    for name, data in files.items():
        damaged = bytearray(data)
        for _ in range(flips if chance.random() < 0.6 else 0):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (folder / name).write_bytes(bytes(damaged))
    try:
        found, _ = read_all(folder)
        known = {t: set(messages) for t, messages in written.items()}
        same = {t: [m for m in found.get(t, ()) if m in known[t]] for t in written}
        assert_parts_in_order(same, written)
    except BagError as error:
        assert str(error)
    assert continuity([str(folder), "--quiet"]) in (0, 1, 2)
