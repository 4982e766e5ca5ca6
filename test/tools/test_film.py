"""Films and strips from the images in a bag."""

import json
import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from bag_maker import TYPES, header, write_bag

from rtc_ros.tools.film import Captions, images, main

PERIOD_NS = 66_000_000


def picture(k, height=48, width=64):
    """Return an RGB image whose left ``k`` columns are red, the others blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :k, 0] = 255
    image[:, k:, 2] = 255
    return image


def raw(image, stamp, encoding="rgb8", padding=0):
    step = image.shape[1] * (image.shape[2] if image.ndim == 3 else 1) + padding
    rows = np.zeros((image.shape[0], step), np.uint8)
    rows[:, : step - padding] = image.reshape(image.shape[0], -1)
    return TYPES["sensor_msgs/msg/Image"](
        header(stamp), *image.shape[:2], encoding, 0, step, rows.ravel()
    )


def compressed(image, stamp):
    _, data = cv2.imencode(".png", image[..., ::-1])
    return TYPES["sensor_msgs/msg/CompressedImage"](header(stamp), "png", data.ravel())


def camera_bag(path, make, count=30, topic="/camera/top/image_raw"):
    stamps = [10**18 + k * PERIOD_NS for k in range(count)]
    return write_bag(path, [(topic, t, make(picture(2 * k), t)) for k, t in enumerate(stamps)])


def frames_of(film):
    """Decode a film with ffmpeg; return uint8[N, 48, 64, 3] in RGB."""
    out = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout
    return np.frombuffer(out, np.uint8).reshape(-1, 48, 64, 3)


@pytest.mark.parametrize(
    "make", [raw, compressed, lambda i, t: raw(i, t, padding=16)], ids=["raw", "png", "padded"]
)
def test_images_come_back_as_they_were(tmp_path, make):
    found = [image for _, image in images(camera_bag(tmp_path / "bag", make))]
    assert len(found) == 30
    for k, image in enumerate(found):
        np.testing.assert_array_equal(image[..., ::-1], picture(2 * k))


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8", "mono8"])
def test_other_encodings(tmp_path, encoding):
    grey = encoding == "mono8"
    source = np.full((4, 4) if grey else (4, 4, 4 if "a" in encoding else 3), 9, np.uint8)
    bag = write_bag(tmp_path / "bag", [("/image", 1, raw(source, 1, encoding))])
    ((_, image),) = images(bag)
    assert image.shape == (4, 4, 3) and (image == 9).all()


def test_a_film_has_each_frame_once(tmp_path):
    bag = camera_bag(tmp_path / "bag", raw)
    assert main([str(bag), "--mp4", str(tmp_path / "film.mp4")]) == 0
    frames = frames_of(tmp_path / "film.mp4")
    assert len(frames) == 30
    red_columns = (frames[:, 24, :, 0] > 128).sum(axis=1)
    assert np.abs(red_columns - 2 * np.arange(30)).max() <= 2


def test_a_camera_that_stalls_is_seen_to_stall(tmp_path):
    stamps = [10**18 + k * PERIOD_NS for k in (*range(10), *range(20, 30))]
    bag = write_bag(
        tmp_path / "bag", [("/image", t, raw(picture(k), t)) for k, t in enumerate(stamps)]
    )
    assert main([str(bag), "--mp4", str(tmp_path / "film.mp4")]) == 0
    assert len(frames_of(tmp_path / "film.mp4")) == 30


def test_a_strip_shows_first_and_last_frame(tmp_path):
    bag = camera_bag(tmp_path / "bag", compressed)
    assert main([str(bag), "--strip", str(tmp_path / "s.png"), "--frames", "8"]) == 0
    strip = cv2.imread(str(tmp_path / "s.png"))[..., ::-1]
    height, width = 240 + 2 * 3, 320 + 2 * 3  # a white frame of 3 px around each
    assert strip.shape == (2 * height, 6 * width, 3)
    first, last = strip[120, 3:323], strip[height + 120, width + 3 : width + 323]
    assert (first[:, 0] > 128).mean() < 0.05
    assert (last[:, 0] > 128).mean() == pytest.approx(58 / 64, abs=0.05)


def settings(task):
    return TYPES["std_msgs/msg/String"](json.dumps({"task": task, "horizon": 50}))


def test_each_frame_shows_the_sentence_that_was_in_effect(tmp_path):
    stamps = [10**18 + k * PERIOD_NS for k in range(20)]
    black = np.zeros((240, 320, 3), np.uint8)
    said = [
        ("/arm/rtc_inference/settings", stamps[k], settings(t)) for k, t in ((5, "a"), (12, "b"))
    ]
    bag = write_bag(tmp_path / "bag", [*said, *(("/image", t, raw(black, t)) for t in stamps)])
    captions = Captions(bag)
    assert [captions.at(t) for t in stamps] == [""] * 5 + ["a"] * 7 + ["b"] * 8
    assert captions.put(black, stamps[0]) is black
    written = captions.put(black, stamps[5])
    assert not written[:200].any() and (written[200:] > 128).any(), "along the lower edge"
    assert not black.any(), "the image itself is not written into"
    assert main([str(bag), "--strip", str(tmp_path / "s.png"), "--frames", "2"]) == 0
    strip = cv2.imread(str(tmp_path / "s.png"))
    lower = strip[203:243, 3:323], strip[203:243, 329:649]
    assert not lower[0].any() and lower[1].any()


def test_a_long_sentence_is_written_narrower_and_one_of_two_robots_not_at_all(tmp_path):
    stamp, grey = 10**18, np.full((240, 320, 3), 90, np.uint8)
    long = settings("put the small red cube that the left hand holds back on the right " * 2)
    one = write_bag(
        tmp_path / "one",
        [("/rtc_inference/settings", stamp, long), ("/i", stamp, raw(grey, stamp))],
    )
    written = Captions(one).put(grey, stamp)
    assert (written != 90).any() and (written[:, -4:] == 90).all(), "it ends within the picture"
    both = [(f"/{n}/rtc_inference/settings", stamp, settings(n)) for n in ("left", "right")]
    two = write_bag(tmp_path / "two", [*both, ("/i", stamp, raw(grey, stamp))])
    assert Captions(two).at(stamp) == ""


def test_nothing_to_show(tmp_path, capsys):
    string = TYPES["std_msgs/msg/String"]("hello")
    bag = write_bag(tmp_path / "bag", [("/chatter", 1, string)])
    assert main([str(bag), "--strip", str(tmp_path / "s.png")]) == 2
    assert "no camera was recorded" in capsys.readouterr().err
    one = camera_bag(tmp_path / "one", raw, count=1)
    assert main([str(one), "--mp4", str(tmp_path / "f.mp4")]) == 2
    assert "1 images" in capsys.readouterr().err
    assert main([str(one), "--strip", str(tmp_path / "s.png"), "--topic", "/other"]) == 2
    assert "/camera/top/image_raw" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--strip", str(tmp_path / "s.png")]) == 2


def test_a_recording_without_one_picture_says_why(tmp_path, capsys):
    message = raw(picture(3), 1, "32FC3")
    bag = write_bag(tmp_path / "bag", [("/image", 1, message)] * 3)
    assert main([str(bag), "--strip", str(tmp_path / "s.png")]) == 2
    said = capsys.readouterr().err
    assert "3 of 3 images on /image" in said and "64 × 48 32FC3" in said and "rgb8" in said


def test_messages_without_a_picture_are_left_out_and_counted(tmp_path, capsys):
    stamps = [10**18 + k * PERIOD_NS for k in range(9)]
    messages = [raw(picture(k), t) for k, t in enumerate(stamps)]
    image = TYPES["sensor_msgs/msg/Image"]
    messages[2] = image(header(stamps[2]), 0, 0, "rgb8", 0, 0, np.zeros(0, np.uint8))
    messages[6] = image(header(stamps[6]), 48, 64, "rgb8", 0, 192, np.zeros(10, np.uint8))
    recorded = [("/i", t, m) for t, m in zip(stamps, messages, strict=True)]
    bag = write_bag(tmp_path / "bag", recorded)
    shown = [time_ns for time_ns, _ in images(bag)]
    assert shown == [t for k, t in enumerate(stamps) if k not in (2, 6)]
    assert main([str(bag), "--strip", str(tmp_path / "s.png")]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "2 of 9 images on /i" in said and "0 × 0" in said


@pytest.mark.parametrize("encoding", ["yuv422_yuy2", "bayer_rggb8", "bgr16"])
def test_what_the_node_shows_the_policy_is_filmed(tmp_path, encoding):
    """Grey of 128 looks alike in all of them."""
    size = {"bayer_rggb8": 1, "yuv422_yuy2": 2}.get(encoding, 6)
    grey = raw(np.full((48, 64, size), 128, np.uint8), 1, encoding)
    ((_, image),) = images(write_bag(tmp_path / "bag", [("/image", 1, grey)]))
    assert image.shape == (48, 64, 3) and np.ptp(image) <= 1 and 125 <= image.min() <= 131


def test_a_film_that_cannot_be_written(tmp_path, capsys):
    bag = camera_bag(tmp_path / "bag", raw)
    assert main([str(bag), "--mp4", str(tmp_path / "no" / "film.mp4")]) == 2
    assert "could not be encoded" in capsys.readouterr().err
