"""What a policy saw in a recording: images, joint states, task and settings, by time or stamp."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtc_ros.bags.columns import chunk_of
from rtc_ros.bags.images import IMAGE_TYPES, Decoder
from rtc_ros.bags.joint_columns import JointColumns
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.bags.run_reader import RunColumns
from rtc_ros.bags.topics import TopicNames, Topics
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.continuity.run_log import JointLog, RunLog
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import task_mark
from rtc_ros.policy.protocol import Observation


class Recording:
    """A recording of a run with its cameras, opened with ``with``.

    Images lie decoded in a temporary file, so memory doesn't grow with the recording.
    ``chunks`` has each chunk's header fields and when it came, by its name. ``notes`` are the
    sentences about what the recording lacks.

    Args:
        path: the bag.
        names: its topics, where they can't be found by name.

    Raises:
        BagError: something that a replay can't do without isn't in there.
    """

    def __init__(self, path: str | Path, names: TopicNames | None = None) -> None:
        self.path = Path(path)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._images: dict[str, ImageTrack] = {}
        self.notes: list[str] = []
        self.chunks: dict[tuple[int, int], tuple[ActionChunk, dict[str, str], int]] = {}
        with Bag(path) as bag:
            topics = Topics.in_bag(bag, names or TopicNames())
            if topics is None or topics.settings is None:
                raise BagError(
                    f"{path} can't be replayed: it has no "
                    f"{'rtc_controller/executed' if topics is None else 'rtc_inference/settings'}"
                )
            self.run = self._read_run(bag, topics)
            if not self.run.settings:
                raise BagError(f"{path} can't be replayed: no settings were recorded")
            self.notes = [*self.run.notes, *self.run.missing()]
            self.settings: Mapping[str, Any] = self.run.settings[-1][1]
            missing = {"cameras", "joints", "policy_path"} - set(self.settings)
            if missing:
                raise BagError(
                    f"{path} can't be replayed: its settings don't say "
                    f"{', '.join(sorted(missing))} (it was recorded by an older version)"
                )
            self._read_images(bag)

    def _read_run(self, bag: Bag, topics: Topics) -> RunLog:
        columns = RunColumns(topics)
        for topic, times, data in bag.batches(*topics.all()):
            columns.add(topic, times, data)
            if topic == topics.chunk:
                for time_ns, message in zip(times, data, strict=True):
                    try:
                        joints, chunk, header = chunk_of(message)
                    except (KeyError, ValueError):
                        continue
                    self.chunks[chunk.name] = (chunk, header, time_ns)
        return columns.run(bag.notes)

    def _read_images(self, bag: Bag) -> None:
        topics = set(self.settings["cameras"].values())
        absent = sorted(t for t in topics if bag.topics.get(t) not in IMAGE_TYPES)
        if absent:
            raise BagError(
                f"{self.path} has no images on {', '.join(absent)}: record with "
                "record_cameras:=true"
            )
        self._images = {t: ImageTrack(self._file, t) for t in topics}
        for topic, time_ns, message in bag.messages(*topics):
            self._images[topic].add(message, time_ns)
        images = [note for t in sorted(topics) if (note := self._images[t].note)]
        self.notes += [n for n in (*images, *bag.notes) if n not in self.notes]
        empty = sorted(t for t, track in self._images.items() if not track.times)
        if empty:
            why = "; ".join(["", *(self._images[t].note for t in empty if self._images[t].note)])
            raise BagError(f"{self.path} has not one image on {', '.join(empty)}{why}")
        states = JointColumns()
        topics_of_joints = self.settings["joint_state_topics"]
        # Recordings of before there were prefixes don't have them.
        prefixes = self.settings.get("joint_state_prefixes") or [""] * len(topics_of_joints)
        before = dict(zip(topics_of_joints, prefixes, strict=True))
        wanted = [t for t in topics_of_joints if t in bag.topics]
        for topic, times, data in bag.batches(*wanted):
            states.add(data, times, before[topic])
        self._measured = self._joints_of(states, self.settings["joints"])
        # Recordings of before there was such a choice show the policy the commanded joints.
        shown = self.settings.get("state_joints") or self.settings["joints"]
        self._shown = self._joints_of(states, shown)

    def _joints_of(self, states: JointColumns, joints: Sequence[str]) -> JointLog:
        log = states.log(joints)
        if log is None or np.isnan(log.position[-1]).any():
            raise BagError(
                f"{self.path} has no joint states of all of {', '.join(joints)} on "
                f"{', '.join(self.settings['joint_state_topics'])}"
            )
        return log

    def __enter__(self) -> Recording:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary file."""
        self._file.close()

    @property
    def scale(self) -> np.ndarray:
        """Of the actions: policy value = scale × robot value + offset, [A]."""
        return np.asarray(self.settings["joint_scale"], dtype=np.float64)

    @property
    def offset(self) -> np.ndarray:
        """See ``scale``."""
        return np.asarray(self.settings["joint_offset"], dtype=np.float64)

    def limits(self, time_ns: int | None = None) -> JointLimits | None:
        """Return the controller's limits at ``time_ns`` (None: the last ones).

        None where no chunk was ever made.
        """
        known = self.settings if time_ns is None else self.settings_at(time_ns)
        # They are said with the first chunk, by another topic than the chunk.
        known = known if "max_step" in known else self.settings
        if "max_step" not in known:
            return None

        def ends(name: str, none: float) -> np.ndarray:
            # Recordings of before there was such a limit don't have it.
            recorded = known.get(name, [none] * len(known["max_step"]))
            values = [none if x is None else x for x in recorded]
            return np.array(values, dtype=np.float64)

        return JointLimits(
            lower=ends("lower", -np.inf),
            upper=ends("upper", np.inf),
            max_step=ends("max_step", np.inf),
            max_bend=ends("max_bend", np.inf),
            turn=ends("turn", 0.0),
            coherent=known.get("limit_mode") == "path",
        )

    def settings_at(self, time_ns: int) -> Mapping[str, Any]:
        """Return the settings that held at ``time_ns``."""
        before = [values for at, values in self.run.settings if at <= time_ns]
        return before[-1] if before else self.run.settings[0][1]

    def pose_at(self, time_ns: int) -> np.ndarray | None:
        """Return the newest measured pose [A] at ``time_ns``, None before the first."""
        return _newest(self._measured, time_ns)

    def observed_at(self, time_ns: int) -> Observation | None:
        """Return what a policy sees at ``time_ns``, None while something is missing."""
        state = _newest(self._shown, time_ns)
        images = {f: self._images[t].at(time_ns) for f, t in self.settings["cameras"].items()}
        there = {feature: image for feature, image in images.items() if image is not None}
        if state is None or np.isnan(state).any() or len(there) < len(images):
            return None
        task = str(self.settings_at(time_ns).get("task", ""))
        return Observation(self._to_policy(state), there, task)

    def _to_policy(self, state: np.ndarray) -> np.ndarray:
        """Convert a state [S] from the robot's units to the policy's."""
        scale = self.settings.get("state_scale", self.settings["joint_scale"])
        offset = self.settings.get("state_offset", self.settings["joint_offset"])
        return state * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)

    def observed(
        self, image_stamps: list[int], joint_stamps: list[int], time_ns: int, mark: str = ""
    ) -> tuple[Observation | None, str]:
        """Return the observation with these headers' stamps, or None and what isn't there.

        ``mark`` is of its task (``task_mark``); recordings of before there were marks have none.
        """
        images = {}
        cameras = self.settings["cameras"]
        for (feature, topic), stamp in zip(cameras.items(), image_stamps, strict=True):
            if stamp == 0:
                return None, f"the images on {topic} have no stamps"
            image = self._images[topic].stamped(stamp)
            if image is None:
                undecoded = self._images[topic].is_left_out(stamp)
                return None, (
                    f"its image on {topic} can't be decoded"
                    if undecoded
                    else f"its image on {topic} wasn't recorded"
                )
            images[feature] = image
        joints = self._shown.position.shape[1]
        stamps = joint_stamps * joints if len(joint_stamps) == 1 else joint_stamps
        state = np.zeros(joints)
        for j, stamp in enumerate(stamps):
            if stamp == 0:
                return None, "its joint states have no stamps"
            found = np.flatnonzero(self._shown.stamp_ns == stamp)
            if not len(found):
                return None, "its joint state wasn't recorded"
            state[j] = self._shown.position[found[-1], j]
        # That of the chunk's time may be another: it may change while the inference runs.
        tasks = {str(said.get("task", "")) for _, said in self.run.settings}
        task = next((t for t in tasks if task_mark(t) == mark), None)
        if not mark:
            task = str(self.settings_at(time_ns).get("task", ""))
        if task is None:
            return None, "its task wasn't recorded"
        return Observation(self._to_policy(state), images, task), ""


def _newest(log: JointLog, time_ns: int) -> np.ndarray | None:
    """Return the newest positions at ``time_ns``, None before the first."""
    place = int(np.searchsorted(log.stamp_ns, time_ns, side="right")) - 1
    return None if place < 0 else log.position[place]


class ImageTrack:
    """The images of one topic, decoded, in a file."""

    def __init__(self, file: Any, topic: str = "") -> None:
        self.times: list[int] = []
        self._file, self._decoder = file, Decoder(topic)
        self._places: list[tuple[int, tuple[int, int, int]]] = []
        # None: there is no picture in it.
        self._by_stamp: dict[int, int | None] = {}

    def add(self, message: Any, time_ns: int) -> None:
        """Take a message received at ``time_ns``; one without a picture is left out."""
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec
        image = self._decoder(message)
        # The policy takes the first of a stamp: the next ones are no news.
        self._by_stamp.setdefault(stamp_ns, None if image is None else len(self.times))
        if image is None:
            return
        self._file.seek(0, 2)
        self._places.append((self._file.tell(), (image.shape[0], image.shape[1], 3)))
        self.times.append(time_ns)
        self._file.write(image.tobytes())

    @property
    def note(self) -> str:
        """How many messages were left out, and why; "" where none was."""
        return self._decoder.note

    def is_left_out(self, stamp_ns: int) -> bool:
        """Return whether the message with this stamp had no picture in it."""
        return stamp_ns in self._by_stamp and self._by_stamp[stamp_ns] is None

    def at(self, time_ns: int) -> np.ndarray | None:
        """Return the newest image at ``time_ns``."""
        place = bisect_right(self.times, time_ns) - 1
        return None if place < 0 else self._read(place)

    def stamped(self, stamp_ns: int) -> np.ndarray | None:
        """Return the image with this stamp."""
        place = self._by_stamp.get(stamp_ns)
        return None if place is None else self._read(place)

    def _read(self, place: int) -> np.ndarray:
        offset, shape = self._places[place]
        self._file.seek(offset)
        return np.frombuffer(self._file.read(int(np.prod(shape))), dtype=np.uint8).reshape(shape)
