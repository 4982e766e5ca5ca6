"""What replay takes of the images in a recording: one that can't be decoded costs only itself."""

import json

import cv2
import numpy as np
import pytest
from bag_maker import TYPES, header, messages_of, write_bag

from rtc_ros.bags.reader import BagError
from rtc_ros.replay.check import ChunkMaker
from rtc_ros.replay.source import Recording
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.tools.replay import main

RUN = example_run(ExampleSettings(ticks=120))
MESSAGES = list(messages_of(RUN))
BEGIN = MESSAGES[0][1]
FEATURE, TOPIC = "observation.images.top", "/top"
STEP = 20_000_000


def raw(number, encoding="rgb8", height=2, width=3, data=None):
    pixels = np.full(6 * 3, number, dtype=np.uint8) if data is None else data
    at = BEGIN + number * STEP
    return at, TYPES["sensor_msgs/msg/Image"](
        header(at), height, width, encoding, 0, 3 * width, pixels
    )


def jpeg(number, data):
    at = BEGIN + number * STEP
    return at, TYPES["sensor_msgs/msg/CompressedImage"](header(at), "jpeg", data)


def recorded(folder, images):
    said = {
        "cameras": {FEATURE: TOPIC},
        "joints": list(RUN.commands.joints),
        "policy_path": "package:nothing",
        "joint_state_topics": ["/joint_states"],
        "joint_scale": [1.0] * 14,
        "joint_offset": [0.0] * 14,
        "strategy": "rtc",
    }
    settings = TYPES["std_msgs/msg/String"](json.dumps(said))
    messages = [("/rtc_inference/settings", BEGIN, settings), *MESSAGES]
    messages += [(TOPIC, at, image) for at, image in images]
    return write_bag(folder, sorted(messages, key=lambda m: m[1]))


NONE = np.zeros(0, dtype=np.uint8)
BAD = {
    "0 × 0 rgb8": raw(1, height=0, width=0, data=NONE),
    "3 × 2 rgb8": raw(1, data=np.zeros(5, dtype=np.uint8)),
    "of_no_camera": raw(1, "of_no_camera"),
}


@pytest.mark.parametrize("words", BAD)
def test_an_image_that_cannot_be_decoded_costs_its_own_inference(tmp_path, words):
    bag = recorded(tmp_path / "bag", [raw(0), BAD[words], raw(2)])
    with Recording(bag) as recording:
        (note,) = [n for n in recording.notes if TOPIC in n]
        assert f"1 of 3 images on {TOPIC} are left out" in note and words in note
        stamps = [BEGIN, BEGIN + STEP, BEGIN + 2 * STEP, BEGIN + 3 * STEP]
        joints = [int(RUN.measured.stamp_ns[0])]
        found = [recording.observed([s], joints, s) for s in stamps]
        assert [problem for _, problem in found] == [
            "",
            f"its image on {TOPIC} can't be decoded",
            "",
            f"its image on {TOPIC} wasn't recorded",
        ]
        assert found[2][0].images[FEATURE][0, 0].tolist() == [2, 2, 2]
        shown = recording.observed_at(BEGIN + STEP + 1)
        assert shown.images[FEATURE][0, 0].tolist() == [0, 0, 0], "the one before"
        # The run goes on: only the chunk that was made of it isn't made again.
        name, (chunk, fields, at) = next(iter(recording.chunks.items()))
        fields = fields | {"images": str(stamps[1]), "joints": str(joints[0])}
        needed = ("seed", "start_step", "previous", "velocity_scale", "beta")
        fields |= dict.fromkeys(needed, "0")
        recording.chunks[name] = (chunk, fields, at)
        assert ChunkMaker(recording, None).make(name) == (
            None,
            f"its image on {TOPIC} can't be decoded",
        )


@pytest.mark.parametrize(("encoding", "size"), [("bayer_rggb8", 1), ("yuv422_yuy2", 2)])
def test_encodings_that_the_nodes_run_are_replayed(tmp_path, encoding, size):
    at, pixels = BEGIN, np.full(4 * 4 * size, 128, dtype=np.uint8)
    image = TYPES["sensor_msgs/msg/Image"](header(at), 4, 4, encoding, 0, 4 * size, pixels)
    with Recording(recorded(tmp_path / "bag", [(at, image)])) as recording:
        assert not [n for n in recording.notes if TOPIC in n]
        found, _ = recording.observed([at], [int(RUN.measured.stamp_ns[0])], at)
        assert np.abs(found.images[FEATURE].astype(int) - 128).max() < 20


def test_a_damaged_jpeg_among_good_ones_is_counted(tmp_path):
    good = cv2.imencode(".jpg", np.full((8, 8, 3), 90, dtype=np.uint8))[1].ravel()
    images = [jpeg(0, good), jpeg(1, NONE), jpeg(2, good[:20]), jpeg(3, good)]
    with Recording(recorded(tmp_path / "bag", images)) as recording:
        assert any("2 of 4 images on /top are left out" in n for n in recording.notes)
        assert recording.observed_at(BEGIN + 3 * STEP) is not None


def test_with_no_usable_image_it_is_refused_with_the_reason(tmp_path, capsys):
    bag = recorded(tmp_path / "bag", [BAD["0 × 0 rgb8"]])
    with pytest.raises(BagError, match="1 of 1 images on /top are left out"):
        Recording(bag)
    assert main([str(bag)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("replay: ") and "not one image on /top" in said
    assert said.count("\n") == 1


def test_what_the_recording_lacks_is_said_before_the_policy_is_loaded(tmp_path, capsys):
    bag = recorded(tmp_path / "bag", [raw(0), BAD["0 × 0 rgb8"], raw(2)])
    (bag / "metadata.yaml").unlink()
    assert main([str(bag), "--reproduce"]) == 2, "there is no such policy"
    said = " ".join(capsys.readouterr().out.split())
    assert "note: 1 of 3 images on /top are left out" in said
    assert "was not finished" in said
