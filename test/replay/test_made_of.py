"""What a recorded chunk was made of, where that changed within the recording: it is told apart."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from bag_maker import TYPES, chunk_message, header, messages_of, write_bag

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.settings import RtcSettings, task_mark
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.protocol import Observation
from rtc_ros.policy.row_filter import filtered_rows
from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint
from rtc_ros.replay.source import Recording
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.ros.provenance import ChunkSource
from rtc_ros.tools.cli import main as rtc_ros

RUN = dataclasses.replace(example_run(ExampleSettings(ticks=60)), chunks=(), swaps=())
LOG, POSES = RUN.commands, RUN.measured
FEATURE, TOPIC = "observation.images.top", "/top"
TASKS = ("pass the cube", "pass it back")
AFTER = 5
"""Ticks from what a chunk was made of to its message."""


def said(policy: Path, task: str):
    """The settings while a policy is loaded."""
    values = {
        "policy_path": str(policy),
        "task": task,
        "device": "cpu",
        "torch_threads": 1,
        "cameras": {FEATURE: TOPIC},
        "joints": list(LOG.joints),
        "control_period": 0.02,
        "joint_state_topics": ["/joint_states"],
        "joint_scale": [1.0] * 14,
        "joint_offset": [0.0] * 14,
    }
    return TYPES["std_msgs/msg/String"](json.dumps(values))


def picture(stamp_ns: int, value: int):
    pixels = np.full(64 * 64 * 3, value, dtype=np.uint8)
    return TYPES["sensor_msgs/msg/Image"](header(stamp_ns), 64, 64, "rgb8", 0, 192, pixels)


@dataclasses.dataclass(frozen=True)
class Made:
    """A chunk of the bag: the tick that it sees, by which policy, and what it is made of."""

    tick: int
    policy: Path
    task: str
    stamped: bool = True
    cutoff: float = 0.0


def chunk_of(made: Made, seq: int):
    """Infer as the node does; return the message."""
    stamp = int(LOG.stamp_ns[made.tick])
    adapter = FlowAdapter.load(made.policy, device="cpu", torch_threads=1, fast=False)
    image = np.full((64, 64, 3), made.tick, dtype=np.uint8)
    seen = Observation(POSES.position[made.tick], {FEATURE: image}, made.task)
    actions = filtered_rows(0.02, adapter.infer(seen, None, seed=seq).actions, made.cutoff)
    chunk = ActionChunk(actions, made.tick, step_epoch=1, epoch=7, seq=seq)
    source = ChunkSource(
        seq, made.tick, None, 1.0, RtcSettings(strategy="naive_async", filter_cutoff=made.cutoff),
        (stamp if made.stamped else 0,), (stamp,), made.task,
    )  # fmt: skip
    at = int(LOG.stamp_ns[made.tick + AFTER])
    message = chunk_message(chunk, LOG, at)
    message.header.frame_id += f" {source}"
    return "/rtc_inference/chunk", at, message


def written(folder: Path, chunks, settings):
    """A bag with these chunks; ``settings`` are (tick, policy, task)."""
    messages = [m for m in messages_of(RUN) if m[0] != "/rtc_inference/chunk"]
    for tick, at in enumerate(LOG.stamp_ns.tolist()):
        messages.append((TOPIC, at, picture(at, tick)))
        # A driver that sends a stamp again: the policy doesn't take that one.
        messages.append((TOPIC, at + 1, picture(at, 200)))
    for tick, *values in settings:
        messages.append(("/rtc_inference/settings", int(LOG.stamp_ns[tick]), said(*values)))
    messages += [chunk_of(made, seq + 1) for seq, made in enumerate(chunks)]
    return write_bag(folder, sorted(messages, key=lambda m: m[1]))


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Two policies with different horizons."""
    folder = tmp_path_factory.mktemp("policies")
    sizes = TinySpec(chunk_size=16, layers=2)
    for name, horizon in (("first", 16), ("second", 12)):
        write_tiny_checkpoint(folder / name, dataclasses.replace(sizes, chunk_size=horizon))
    return folder / "first", folder / "second"


def replayed(bag: Path, json_path: Path, *words: str):
    code = rtc_ros(["replay", str(bag), "--reproduce", "--json", str(json_path), *words])
    return code, json.loads(json_path.read_text())["reproduction"]


def test_a_task_that_changed_while_a_chunk_was_made_is_that_of_its_beginning(policies, tmp_path):
    """And the image is the first of its stamp."""
    policy, _ = policies
    one, two = TASKS
    chunks = [Made(10, policy, one), Made(20, policy, one), Made(30, policy, two)]
    bag = written(tmp_path / "bag", chunks, [(0, policy, one), (22, policy, two)])
    code, found = replayed(bag, tmp_path / "r")
    assert code == 0 and found["same"] == 3 and not found["impossible"]
    # Without marks, in older recordings, the newest task at the chunk's own time is taken.
    with Recording(bag) as recording:
        stamp = int(LOG.stamp_ns[20])
        late = int(LOG.stamp_ns[25])
        for mark, task in ((task_mark(one), one), (task_mark(two), two), ("", two)):
            seen, problem = recording.observed([stamp], [stamp], late, mark)
            assert problem == "" and seen.task == task
        assert recording.observed([stamp], [stamp], late, task_mark("another")) == (
            None,
            "its task wasn't recorded",
        )


def test_a_chunk_that_was_filtered_is_made_again_as_it_was(policies, tmp_path):
    policy, _ = policies
    chunks = [Made(10, policy, TASKS[0], cutoff=4.0), Made(20, policy, TASKS[0])]
    bag = written(tmp_path / "bag", chunks, [(0, policy, TASKS[0])])
    code, found = replayed(bag, tmp_path / "r")
    assert code == 0 and found["same"] == 2


def test_chunks_of_another_policy_are_named_with_its_path(policies, tmp_path, capsys):
    first, second = policies
    task = TASKS[0]
    chunks = [Made(10, first, task), Made(14, first, task), Made(30, second, task)]
    bag = written(tmp_path / "bag", chunks, [(0, first, task), (25, second, task)])
    code, found = replayed(bag, tmp_path / "r")
    assert (code, found["same"], found["others"]) == (0, 1, 0)
    ((reason, names),) = found["not_made"].items()
    assert names == ["7:1", "7:2"] and found["impossible"] == {reason: 2}
    assert f"policy_path '{first}', not '{second}'" in reason
    told = " ".join(capsys.readouterr().out.split())
    assert "2 couldn't be made again" in told and "(chunk 7:1, 7:2)" in told
    assert f"--policy {first} makes it again" in told
    code, found = replayed(bag, tmp_path / "r", "--policy", str(first))
    assert (code, found["same"], found["others"]) == (0, 2, 0)
    assert list(found["not_made"].values()) == [["7:3"]]


def test_a_policy_of_another_horizon_is_said_and_chunks_that_differ_are_named(
    policies, tmp_path, capsys
):
    first, second = policies
    task = TASKS[0]
    bag = written(tmp_path / "bag", [Made(10, first, task)], [(0, first, task)])
    code, found = replayed(bag, tmp_path / "r", "--policy", str(second))
    assert code == 2 and found["not_made"] == {
        "it has H = 16 rows, and the policy makes 12": ["7:1"]
    }
    bag = written(tmp_path / "other", [Made(10, first, task)], [(0, first, task)])
    other = tmp_path / "third"
    write_tiny_checkpoint(other, TinySpec(chunk_size=16, layers=2), seed=5)
    code, found = replayed(bag, tmp_path / "r", "--policy", str(other))
    assert code == 1 and list(found["different"]) == ["7:1"]
    assert found["different"]["7:1"] == found["largest"] > 0
    assert "1 differ, by up to" in capsys.readouterr().out


def test_images_that_nobody_stamps_are_no_way_back_to_the_one_that_was_seen(policies, tmp_path):
    policy, _ = policies
    chunks = [Made(10, policy, TASKS[0], stamped=False)]
    bag = written(tmp_path / "bag", chunks, [(0, policy, TASKS[0])])
    code, found = replayed(bag, tmp_path / "r")
    assert code == 2 and found["not_made"] == {f"the images on {TOPIC} have no stamps": ["7:1"]}
