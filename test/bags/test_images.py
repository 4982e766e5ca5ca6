"""Pixels out of image messages: every encoding and transport, right or refused with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc_ros.bags.images import ImageError, decode, form, plain

HEIGHT, WIDTH = 48, 62
"""62: not a multiple of 4, 8 or 16, to which drivers pad their rows."""


def picture():
    """Return a smooth picture whose three colours differ everywhere, no two alike."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 2 * x, 200 - 3 * y, 90 + y + x], -1).astype(np.uint8)


RGB = picture()
GREY = RGB[..., 1]


def raw(encoding, pixels, *, padding=0, step=None, big=0, height=HEIGHT, width=WIDTH, cut=0):
    rows = np.ascontiguousarray(pixels)
    rows = rows.view(np.uint8).reshape(len(rows), -1)
    length = rows.shape[1]
    rows = np.pad(rows, [(0, 0), (0, padding)], constant_values=77)
    data = rows.tobytes()
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=big,
        step=length + padding if step is None else step,
        data=data[: len(data) - cut],
    )


def packed(said, extension, pixels):
    """Return a CompressedImage of what OpenCV is told is BGR."""
    data = cv2.imencode(extension, np.ascontiguousarray(pixels))[1].tobytes()
    return SimpleNamespace(format=said, data=data)


def yuv422(order):
    """Return RGB as YUV of BT.601 in the video range, [h, w, 2]; ``order`` as the bytes lie."""
    r, g, b = (RGB[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    pair = {"y": y, "u": u, "v": v}
    out = np.zeros((HEIGHT, WIDTH, 2))
    first, second, third, fourth = order
    for place, name, columns in ((0, first, 0), (1, second, 0), (0, third, 1), (1, fourth, 1)):
        source = pair[name]
        values = source[:, columns::2] if name == "y" else source[:, ::2]
        out[:, columns::2, place] = values
    return out.round().astype(np.uint8)


def nv(order):
    """Return RGB as brightness and two half-size planes of colour, interleaved by ``order``."""
    full = yuv422("yuyv"), yuv422("yuyv")[::2]
    y, u, v = full[0][..., 0], full[1][:, ::2, 1], full[1][:, 1::2, 1]
    colours = np.stack([{"u": u, "v": v}[c] for c in order], -1).reshape(HEIGHT // 2, WIDTH)
    return np.concatenate([y, colours])


def mosaic(pattern, dtype=np.uint8):
    """Return what a sensor with this pattern of filters sees of RGB."""
    seen = np.zeros((HEIGHT, WIDTH), dtype)
    for place, colour in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        seen[rows, columns] = RGB[rows, columns, "rgb".index(colour)]
    return seen if dtype == np.uint8 else seen * dtype(257)


def with_alpha(pixels):
    return np.dstack([pixels, np.full(pixels.shape[:2], 200, np.uint8)])


def sixteen(pixels, order="<"):
    return (pixels.astype(np.uint32) * 257).astype(f"{order}u2")


THREE = np.repeat(GREY[..., None], 3, -1)
RIGHT = {
    "rgb8": (raw("rgb8", RGB), RGB, 0),
    "bgr8": (raw("bgr8", RGB[..., ::-1]), RGB, 0),
    "rgba8": (raw("rgba8", with_alpha(RGB)), RGB, 0),
    "bgra8": (raw("bgra8", with_alpha(RGB[..., ::-1])), RGB, 0),
    "mono8": (raw("mono8", GREY), THREE, 0),
    "8UC1": (raw("8UC1", GREY), THREE, 0),
    "rgb16": (raw("rgb16", sixteen(RGB)), RGB, 0),
    "bgr16": (raw("bgr16", sixteen(RGB[..., ::-1])), RGB, 0),
    "rgba16": (raw("rgba16", sixteen(with_alpha(RGB))), RGB, 0),
    "bgra16": (raw("bgra16", sixteen(with_alpha(RGB[..., ::-1]))), RGB, 0),
    "mono16": (raw("mono16", sixteen(GREY)), THREE, 0),
    "mono16 big endian": (raw("mono16", sixteen(GREY, ">"), big=1), THREE, 0),
    "rgb16 big endian": (raw("rgb16", sixteen(RGB, ">"), big=1), RGB, 0),
    "bgr16 big endian": (raw("bgr16", sixteen(RGB[..., ::-1], ">"), big=1), RGB, 0),
    "rgb8 said to be big endian": (raw("rgb8", RGB, big=1), RGB, 0),
    "mono8 said to be big endian": (raw("mono8", GREY, big=1), THREE, 0),
    "rgb8 padded": (raw("rgb8", RGB, padding=6), RGB, 0),
    "bgra8 padded": (raw("bgra8", with_alpha(RGB[..., ::-1]), padding=8), RGB, 0),
    "mono8 padded": (raw("mono8", GREY, padding=2), THREE, 0),
    "rgb16 padded": (raw("rgb16", sixteen(RGB), padding=3), RGB, 0),
    "rgb8 padded but for the last row": (raw("rgb8", RGB, padding=6, cut=6), RGB, 0),
    "rgb8 without step": (raw("rgb8", RGB, step=0), RGB, 0),
    "rgb8 with the step of mono8": (raw("rgb8", RGB, step=WIDTH), RGB, 0),
    "yuv422": (raw("yuv422", yuv422("uyvy")), RGB, 4),
    "uyvy": (raw("uyvy", yuv422("uyvy")), RGB, 4),
    "yuyv": (raw("yuyv", yuv422("yuyv")), RGB, 4),
    "yuv422_yuy2": (raw("yuv422_yuy2", yuv422("yuyv")), RGB, 4),
    "yuv422_yuy2 padded": (raw("yuv422_yuy2", yuv422("yuyv"), padding=4), RGB, 4),
    "nv12": (raw("nv12", nv("uv")), RGB, 6),
    "nv21": (raw("nv21", nv("vu")), RGB, 6),
    "nv12 padded": (raw("nv12", nv("uv"), padding=2), RGB, 6),
    **{f"bayer_{p}8": (raw(f"bayer_{p}8", mosaic(p)), RGB, 4)
       for p in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{p}16": (raw(f"bayer_{p}16", mosaic(p, np.uint16)), RGB, 4)
       for p in ("rggb", "bggr", "gbrg", "grbg")},
    "jpeg": (packed("jpeg", ".jpg", RGB[..., ::-1]), RGB, 4),
    "mjpeg": (packed("mjpeg", ".jpg", RGB[..., ::-1]), RGB, 4),
    "no format": (packed("", ".jpg", RGB[..., ::-1]), RGB, 4),
    "image_transport jpeg": (packed("rgb8; jpeg compressed bgr8", ".jpg", RGB[..., ::-1]), RGB, 4),
    "the same, exchanged": (packed("rgb8; jpeg compressed rgb8", ".jpg", RGB), RGB, 4),
    "without what it came of": (packed("jpeg compressed rgb8", ".jpg", RGB), RGB, 4),
    "png": (packed("png", ".png", RGB[..., ::-1]), RGB, 0),
    "image_transport png": (packed("bgr8; png compressed bgr8", ".png", RGB[..., ::-1]), RGB, 0),
    "png, exchanged": (packed("rgb8; png compressed rgb8", ".png", RGB), RGB, 0),
    "png with alpha": (
        packed("rgba8; png compressed bgra8", ".png", with_alpha(RGB[..., ::-1])), RGB, 0),
    "png of rgb16": (
        packed("rgb16; png compressed bgr16", ".png", sixteen(RGB[..., ::-1])), RGB, 0),
    "grey jpeg": (packed("mono8; jpeg compressed ", ".jpg", GREY), THREE, 4),
    "png of mono16": (packed("mono16; png compressed ", ".png", sixteen(GREY)), THREE, 0),
    "png of a mosaic": (packed("bayer_grbg8; png compressed ", ".png", mosaic("grbg")), RGB, 4),
    "png of a mosaic of 16 bits": (
        packed("bayer_rggb16; png compressed ", ".png", mosaic("rggb", np.uint16)), RGB, 4),
    "jpeg of what was a mosaic": (
        packed("bayer_rggb8; jpeg compressed bgr8", ".jpg", RGB[..., ::-1]), RGB, 4),
    "webp": (packed("webp", ".webp", RGB[..., ::-1]), RGB, 8),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_the_pixels_are_those_of_the_picture(case):
    message, true, apart = RIGHT[case]
    image = decode(message)
    assert image.dtype == np.uint8 and image.shape == true.shape and image.flags.c_contiguous
    # A mosaic's outermost pixels are guessed by OpenCV from those beside them.
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(image.astype(int) - true)[inner].max() <= apart


@pytest.mark.parametrize("case", [c for c in RIGHT if hasattr(RIGHT[c][0], "encoding")])
def test_bytes_of_every_kind_of_buffer_are_read_alike(case):
    """Messages of ROS hold an array.array, those of a bag an array of numpy."""
    import array

    message, expected = RIGHT[case][0], decode(RIGHT[case][0])
    for kind in (lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8), bytearray):
        again = SimpleNamespace(**{**vars(message), "data": kind(message.data)})
        np.testing.assert_array_equal(decode(again), expected)


@pytest.mark.ros
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8",
                                      "bayer_bggr8", "bayer_gbrg8"])  # fmt: skip
def test_cv_bridge_gives_the_same_pixels_where_it_can(encoding):
    bridge = pytest.importorskip("cv_bridge").CvBridge()
    message = RIGHT[encoding][0]
    np.testing.assert_array_equal(decode(message), bridge.imgmsg_to_cv2(message, "rgb8"))


PLAIN = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8"}


def test_cv_bridge_gets_only_what_any_of_its_versions_converts_alike():
    assert {case for case in RIGHT if plain(RIGHT[case][0])} == PLAIN


@pytest.fixture(scope="module")
def ros():
    rclpy = pytest.importorskip("rclpy")
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.mark.ros
@pytest.mark.parametrize("case", RIGHT)
def test_a_node_shows_the_policy_what_a_recording_shows(ros, case):
    """As a message of ROS, through the camera's own callback."""
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import CompressedImage, Image

    from rtc_ros.inference.camera_input import CameraInput

    fields = dict(vars(RIGHT[case][0]))
    values = {"topic": "cam", "transport": "compressed" if "format" in fields else "raw"}
    overrides = [Parameter(f"camera.top.{name}", value=value) for name, value in values.items()]
    node = Node("sees", parameter_overrides=overrides)
    try:
        camera = CameraInput(node, "top")
        message = (CompressedImage if "format" in fields else Image)(**fields)
        camera._receive(message, {"publisher_gid": {"data": [1]}})
        shown, _, problem = camera.read(5.0)
        assert problem == "" and shown.dtype == np.uint8
        np.testing.assert_array_equal(shown, decode(RIGHT[case][0]))
    finally:
        node.destroy_node()


def with_orientation(jpeg, turn):
    """Return a JPEG whose EXIF says that it is to be shown turned (1 to 8)."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([turn]) + bytes(7)
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


@pytest.mark.ros
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_jpeg_that_says_how_it_is_turned_is_shown_upright(turn):
    """As cv_bridge, OpenCV and every viewer show it, and so whoever makes a data set by them."""
    # 6 is shown turned by 90° clockwise: what lies in the file is turned the other way.
    lies = {
        1: RGB,
        2: RGB[:, ::-1],
        3: np.rot90(RGB, 2),
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[turn]
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(lies[..., ::-1]))[1].tobytes()
    message = SimpleNamespace(format="jpeg", data=with_orientation(jpeg, turn))
    shown = decode(message)
    assert shown.shape == RGB.shape and np.abs(shown.astype(int) - RGB).max() <= 4
    bridge = pytest.importorskip("cv_bridge").CvBridge()
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message)[..., ::-1], shown)


JPEG = cv2.imencode(".jpg", RGB)[1].tobytes()
PNG = cv2.imencode(".png", RGB)[1].tobytes()
DEPTH = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 20 % 5000).astype(np.uint16)
REFUSED = {
    "depth": (raw("16UC1", DEPTH), ("62 × 48 16UC1", "measurements", "rgb8")),
    "metres": (raw("32FC1", DEPTH.astype(np.float32)), ("32FC1", "measurements")),
    "signed": (raw("8SC1", GREY), ("8SC1", "measurements")),
    "no order": (raw("8UC3", RGB), ("8UC3", "which channel is red", "rgb8 or bgr8")),
    "no encoding": (raw("", RGB), ("isn't known", "rgb8 or bgr8")),
    "capitals": (raw("RGB8", RGB), ("RGB8", "did the driver mean rgb8?")),
    "a typing error": (raw("bayer_rgbg8", GREY), ("bayer_rgbg8", "did the driver mean bayer_")),
    "nonsense": (raw("nonsense", RGB), ("nonsense", "isn't known")),
    "jpeg in an Image": (raw("jpeg", RGB), ("jpeg", "isn't known", "CompressedImage")),
    "no pixels": (raw("rgb8", RGB, height=0, width=0, step=0), ("0 × 0", "no pixels")),
    "no rows": (raw("rgb8", RGB, height=0), ("62 × 0", "no pixels")),
    "no bytes": (raw("rgb8", RGB, cut=RGB.size), ("0 bytes", "186", "8928")),
    "half": (raw("rgb8", RGB[:24]), ("62 × 48", "4464 bytes", "step of 186", "need 8928")),
    "half, padded": (raw("rgb8", RGB[:24], padding=6), ("4608 bytes", "step of 192", "9210")),
    "no step, odd bytes": (raw("rgb8", RGB, step=0, cut=1), ("8927 bytes", "step of 0", "8928")),
    "odd yuv": (raw("yuv422", RGB[:, 1:, :2], width=61), ("61 × 48", "OpenCV")),
    "odd nv12": (raw("nv12", nv("uv"), width=61), ("61 × 48", "even")),
    "compressedDepth": (
        SimpleNamespace(format="16UC1; compressedDepth png", data=bytes(12) + PNG),
        ("16UC1; compressedDepth png", "depth", "colour image"),
    ),
    "depth as jpeg": (
        packed("16UC1; jpeg compressed ", ".jpg", (DEPTH >> 4).astype(np.uint8)), ("depth",)),
    "depth as png": (packed("16UC1; png compressed ", ".png", DEPTH), ("depth",)),
    "depth that doesn't say so": (packed("png", ".png", DEPTH), ("16 bits", "mono16")),
    "metres as tiff": (packed("tiff", ".tiff", DEPTH.astype(np.float32)), ("float32",)),
    "empty": (SimpleNamespace(format="jpeg", data=b""), ("'jpeg'", "no bytes")),
    "truncated": (
        SimpleNamespace(format="jpeg", data=JPEG[: len(JPEG) * 2 // 3]),
        (f"{len(JPEG) * 2 // 3} bytes", "no whole JPEG"),
    ),
    "a byte short": (SimpleNamespace(format="png", data=PNG[:-1]), ("no whole JPEG or PNG",)),
    "video": (
        SimpleNamespace(format="h264", data=b"\0\0\0\1\x67\x42" + bytes(64)),
        ("'h264'", "video", "JPEG"),
    ),
    "newer video": (SimpleNamespace(format="HEVC", data=bytes(64)), ("'HEVC'", "video")),
    "no picture": (SimpleNamespace(format="jpeg", data=b"hello"), ("5 bytes", "no whole JPEG")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_in_a_sentence(case, capfd):
    message, words = REFUSED[case]
    with pytest.raises(ImageError) as caught:
        decode(message)
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "\n" not in said and len(said) < 300
    # The remedy: what to look at, or what to send.
    assert "; " in said and ("let " in said or "look at" in said or "name the" in said), said


@given(
    encoding=st.sampled_from(["rgb8", "mono8", "rgb16", "yuyv", "nv12", "bayer_rggb8", "16UC1",
                              "32FC1", "x", ""]),
    height=st.one_of(st.integers(0, 9), st.just(2**32 - 1)),
    width=st.one_of(st.integers(0, 9), st.just(2**32 - 1)),
    step=st.one_of(st.integers(0, 70), st.just(2**32 - 1)),
    big=st.integers(0, 255),
    data=st.binary(max_size=600),
)  # fmt: skip
def test_whatever_an_image_says_it_gives_a_picture_or_a_sentence(**fields):
    try:
        image = decode(SimpleNamespace(**{**fields, "is_bigendian": fields.pop("big")}))
    except ImageError:
        return
    assert image.shape == (fields["height"], fields["width"], 3) and image.dtype == np.uint8


@given(st.text(max_size=30), st.binary(max_size=200), st.sampled_from([b"", JPEG[:400], PNG[:99]]))
def test_whatever_a_compressed_image_says_too(said, data, begin):
    message = SimpleNamespace(format=said, data=begin + data)
    try:
        assert decode(message).shape[2] == 3
    except ImageError as error:
        assert str(error)
    assert form(message) == said


def test_no_ros_is_needed(repo):
    """A recording is read on machines without ROS, and cv_bridge imports sensor_msgs."""
    code = "import sys, rtc_ros.bags.images; print({'cv_bridge', 'rclpy'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert said.stdout.decode().strip() == "set()"
