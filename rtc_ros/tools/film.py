"""From the camera images in a bag to a film (mp4) or a strip of frames (PNG).

Where the bag has the inference node's settings, each frame shows the task sentence in effect.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from rtc_ros.bags.columns import settings_of
from rtc_ros.bags.images import IMAGE_TYPES, Decoder
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.command_line import COUNT, SECONDS
from rtc_ros.paths import a_path

MAX_HEIGHT = 480
_SETTINGS = "/rtc_inference/settings"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 where there is nothing to show."""
    parser = argparse.ArgumentParser(prog="rtc_ros film", description=__doc__)
    parser.add_argument("bag", type=a_path, metavar="BAG")
    parser.add_argument("--topic", help="image topic (default: the only one, or the first)")
    parser.add_argument("--mp4", type=a_path, metavar="FILE", help="write a film")
    parser.add_argument("--strip", type=a_path, metavar="FILE",
                        help="write a strip of frames (PNG)")  # fmt: skip
    parser.add_argument("--frames", type=COUNT, default=12, help="in the strip (%(default)s)")
    parser.add_argument("--seconds", type=SECONDS, help="no more than this from the beginning")
    arguments = parser.parse_args(argv)
    if arguments.mp4 is None and arguments.strip is None:
        parser.error("nothing to write: give --mp4 or --strip")
    try:
        if arguments.mp4 is not None:
            write_film(arguments.bag, arguments.mp4, arguments.topic, arguments.seconds)
        if arguments.strip is not None:
            write_strip(arguments.bag, arguments.strip, arguments.topic, arguments.frames)
    except (BagError, OSError) as error:
        print(f"film: {error}", file=sys.stderr)
        return 2
    return 0


def images(
    bag_path: Path, topic: str | None = None, *, say: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield time [ns] and uint8[height, width, 3] in BGR order for each image of a topic.

    Messages without a picture are left out; with ``say`` stderr tells how many.

    Raises:
        BagError: no such topic, or not one message on it has a picture.
    """
    with Bag(bag_path) as bag:
        found = sorted(t for t, kind in bag.topics.items() if kind in IMAGE_TYPES)
        chosen = topic or (found[0] if found else None)
        if chosen is None or chosen not in found:
            raise BagError(
                f"{bag_path} has no image topic{f' {topic}' if topic else ''}; "
                + (f"it has {', '.join(found)}" if found else "no camera was recorded")
            )
        decoder, shown = Decoder(chosen), 0
        for _, time_ns, message in bag.messages(chosen):
            image = decoder(message)
            if image is not None:
                shown += 1
                yield time_ns, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if decoder.note and not shown:
            raise BagError(f"{bag_path}: {decoder.note}")
        if decoder.note and say:
            print(f"film: {decoder.note}", file=sys.stderr)


class Captions:
    """The task sentences of a recording, for putting into its pictures.

    With two inference nodes in a bag no picture gets a sentence: whose would it be?
    """

    def __init__(self, bag_path: Path) -> None:
        with Bag(bag_path) as bag:
            found = [t for t in bag.topics if f"/{t}".endswith(_SETTINGS)]
            batches = bag.batches(*found) if len(found) == 1 else ()
            self._said = sorted(
                (time_ns, _task(message))
                for _, times, messages in batches
                for time_ns, message in zip(times, messages, strict=True)
            )

    def at(self, time_ns: int) -> str:
        """Return the sentence in effect at a time, "" where there was none yet."""
        place = bisect_right(self._said, time_ns, key=lambda entry: entry[0])
        return self._said[place - 1][1] if place else ""

    def put(self, image: np.ndarray, time_ns: int) -> np.ndarray:
        """Return the image with the sentence along its lower edge."""
        sentence = self.at(time_ns)
        return _written(image.copy(), sentence, bottom=True) if sentence else image


def _task(settings: bytes) -> str:
    """Return the task sentence of a settings message, "" where it has none."""
    try:
        return str(settings_of(settings).get("task", ""))
    except ValueError:
        return ""


def write_film(
    bag_path: Path, path: Path, topic: str | None = None, seconds: float | None = None
) -> int:
    """Write an mp4 (H.264) in real time; return the number of frames.

    Every frame is shown as long as it was until the next image came, on a grid of the images'
    median distance, so a camera that stalls is seen to stall.

    Raises:
        BagError: fewer than two images, or the encoder failed.
    """
    times = np.array([t for t, _ in images(bag_path, topic, say=True)])
    if len(times) < 2:
        raise BagError(f"{bag_path} has {len(times)} images: a film needs two at least")
    period = max(float(np.median(np.diff(times))), 1e6)
    due = np.arange(0.0, times[-1] - times[0] + 1, period)
    if seconds is not None:
        due = due[due <= seconds * 1e9]
    shown = np.searchsorted(times - times[0], due + 0.5 * period, side="right") - 1
    repeats = np.bincount(shown, minlength=len(times))
    encoder: subprocess.Popen[bytes] | None = None
    size = (0, 0)
    captions = Captions(bag_path)
    for (time_ns, image), count in zip(images(bag_path, topic), repeats, strict=False):
        frame = captions.put(_even(image), time_ns)
        if encoder is None:
            size = (frame.shape[1], frame.shape[0])
            encoder = _encoder(path, size, 1e9 / period)
        if (frame.shape[1], frame.shape[0]) != size:
            frame = cv2.resize(frame, size)
        pipe: IO[bytes] | None = encoder.stdin
        assert pipe is not None
        try:
            for _ in range(count):
                pipe.write(frame.tobytes())
        except BrokenPipeError:
            break
    assert encoder is not None
    _, complaint = encoder.communicate()
    if encoder.returncode:
        raise BagError(f"the film could not be encoded: {complaint.decode().strip()[-300:]}")
    return len(due)


def write_strip(bag_path: Path, path: Path, topic: str | None = None, frames: int = 12) -> int:
    """Write evenly spaced frames with their times as one PNG, in rows of 6; return their number.

    Raises:
        BagError: no images.
    """
    times = [t for t, _ in images(bag_path, topic, say=True)]
    if not times:
        raise BagError(f"{bag_path} has an image topic without a single image")
    captions = Captions(bag_path)
    chosen = set(np.linspace(0, len(times) - 1, min(frames, len(times))).round().astype(int))
    tiles = []
    for index, (time_ns, image) in enumerate(images(bag_path, topic)):
        if index not in chosen:
            continue
        scale = 240 / image.shape[0]
        tile = cv2.resize(image, (round(image.shape[1] * scale), 240))
        tile = _written(captions.put(tile, time_ns), f"{(time_ns - times[0]) * 1e-9:.1f} s")
        tiles.append(tile)
    tiles = [_framed(cv2.resize(t, tiles[0].shape[1::-1])) for t in tiles]
    columns = min(6, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise BagError(f"can't write {path}")
    return len(chosen)


def _written(image: np.ndarray, text: str, *, bottom: bool = False) -> np.ndarray:
    """Write a line into the image, white on a dark edge; narrower where it wouldn't fit."""
    font, height, width = cv2.FONT_HERSHEY_SIMPLEX, image.shape[0], image.shape[1]
    long = cv2.getTextSize(text, font, 1.0, 1)[0][0]
    scale = min(height / 340, (width - 16) / max(1, long))
    place = (8, height - 10) if bottom else (8, round(8 + 24 * scale))
    for colour, line in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, font, scale, colour, line, cv2.LINE_AA)
    return image


def _framed(tile: np.ndarray) -> np.ndarray:
    """Put a white frame around a tile: neighbours must not look like one picture."""
    return cv2.copyMakeBorder(tile, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _even(image: np.ndarray) -> np.ndarray:
    """Shrink to a height of at most 480 and to even sides, which H.264 needs."""
    scale = min(1.0, MAX_HEIGHT / image.shape[0])
    height, width = (max(2, 2 * round(s * scale / 2)) for s in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _encoder(path: Path, size: tuple[int, int], rate: float) -> subprocess.Popen[bytes]:
    import imageio_ffmpeg

    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[0]}x{size[1]}"),
        *("-r", f"{rate:.4f}", "-i", "-", "-an", "-c:v", "libx264", "-preset", "veryfast"),
        *("-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


if __name__ == "__main__":
    sys.exit(main())
