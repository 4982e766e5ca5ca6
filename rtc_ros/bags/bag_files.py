"""Which files a recording has, in which order they are read, and what it lacks."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rtc_ros.bags.mcap_scan import McapScan
from rtc_ros.bags.sqlite_file import SqliteFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED = ".zstd"
SUFFIXES = (".mcap", ".db3")
METADATA = "metadata.yaml"
MAX_NUMBER = 99_999
"""A larger number in a file's name is a date or the like, not its place in a recording."""

OVERLAP_NS = 10**9
"""Files of one recording may overlap by what the recorder had still in hand."""

_DATE = re.compile(r"\d{4}_\d{2}_\d{2}-\d{2}_\d{2}_\d{2}")
# rosbag2 names them NAME_0, NAME_1, …; its newer versions 0_NAME_DATE, ….
_NUMBERED = tuple(
    re.compile(p) for p in (r"(?P<rest>.+)_(?P<n>\d+)", r"(?P<n>\d+)_(?P<rest>.+)", r"(?P<n>\d+)")
)

BagFile = McapScan | SqliteFile


@dataclass
class Contents:
    """What a recording should have: its files, and by metadata.yaml messages of each topic."""

    files: list[Path]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_recording(path: Path) -> bool:
    """Return whether a file has the name of a storage file."""
    return path.name.removesuffix(PACKED).endswith(SUFFIXES)


def contents(folder: Path) -> Contents:
    """Look what is in the folder of a recording, listed in its metadata.yaml or not."""
    found = {p.name: p for p in folder.iterdir() if is_recording(p) and p.is_file()}
    # A recorder that was killed while it compressed a file leaves both.
    for name in [n for n in found if n.endswith(PACKED) and n.removesuffix(PACKED) in found]:
        del found[name]
    if not (folder / METADATA).is_file():
        said = f"{folder} has no {METADATA}: the recording was not finished"
        files = list(found.values())
        return Contents(files, notes=[said, *_gaps(files, folder.name)] if files else [])
    listed, counts, problem = _metadata(folder / METADATA)
    files = list(found.values())
    if problem:
        said = f"{folder / METADATA} {problem}: the files are read without it"
        return Contents(files, notes=[said, *_gaps(files, folder.name)])
    there = {n.removesuffix(PACKED) for n in found}
    absent = [n for n in listed if n.removesuffix(PACKED) not in there]
    more = sorted(there - {n.removesuffix(PACKED) for n in listed})
    notes = [f"{n} is missing, though {METADATA} lists it: so is what it held" for n in absent]
    if more:
        notes.append(f"{', '.join(more)} not listed in {METADATA}: read as well")
        notes += _gaps(files, folder.name)
    return Contents(files, counts, notes)


def _metadata(path: Path) -> tuple[list[str], dict[str, int], str]:
    """Return the files it lists, the messages of each topic, and what is wrong with it."""
    try:
        said: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if said is None:
            return [], {}, "is empty"
        about = said["rosbag2_bagfile_information"]
        listed = [re.split(r"[/\\]", str(f))[-1] for f in about["relative_file_paths"]]
        counts: dict[str, int] = {}
        for topic in about.get("topics_with_message_count") or ():
            name = str(topic["topic_metadata"]["name"])
            counts[name] = counts.get(name, 0) + int(topic["message_count"])
    except Exception as error:  # noqa: BLE001 - whatever broken text leads to
        why = " ".join(str(error).split())
        return [], {}, f"can't be read ({type(error).__name__}: {why})"
    return listed, counts, ""


def _stem(path: Path) -> str:
    name = path.name.removesuffix(PACKED)
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return _DATE.sub("@", name)


def numbers_of(files: Sequence[Path]) -> list[int] | None:
    """Return each file's place in its recording, None where their names don't tell."""
    best: list[int] | None = None
    for pattern in _NUMBERED:
        found = [pattern.fullmatch(_stem(f)) for f in files]
        numbers = [int(m["n"]) for m in found if m]
        rests = {m.groupdict().get("rest") for m in found if m}
        if len(numbers) < len(files) or len(rests) > 1 or len(set(numbers)) < len(files):
            continue
        if files and max(numbers) <= min(MAX_NUMBER, max(best or [MAX_NUMBER])):
            best = numbers
    return best


def _gaps(files: Sequence[Path], folder: str) -> list[str]:
    """Return the sentence about files that a gap in the numbering shows to be missing."""
    # Recorders that don't split name the only file like the folder.
    numbers = None if [_stem(f) for f in files] == [_DATE.sub("@", folder)] else numbers_of(files)
    if not numbers:
        return []
    missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
    if not missing:
        return []
    spans: list[list[int]] = []
    for n in missing:
        if spans and n == spans[-1][1] + 1:
            spans[-1][1] = n
        else:
            spans.append([n, n])
    said = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in spans)
    are = f"file number {said} is" if len(missing) == 1 else f"files number {said} are"
    return [
        f"{are} missing of 0 to {max(numbers)}: what was recorded there isn't in the figures"
    ]


def unpacked(path: Path, scratch: Path) -> tuple[Path, str]:
    """Return the file with its compression undone, and the sentence about what is lost of it."""
    target = scratch / f"{len(list(scratch.iterdir()))}_{path.name.removesuffix(PACKED)}"
    if not path.name.endswith(PACKED):
        return path, ""
    unpacker, begun = zstd.ZstdDecompressor(), False
    with path.open("rb") as source, target.open("wb") as sink:
        try:
            while data := source.read(1 << 16):
                while data:
                    if unpacker.eof:
                        unpacker = zstd.ZstdDecompressor()
                    sink.write(unpacker.decompress(data))
                    data, begun = unpacker.unused_data, True
        except zstd.ZstdError as error:
            return target, f"{path.name} was unpacked up to a damaged part ({error})"
    if begun and not unpacker.eof:
        return target, f"{path.name} was unpacked up to the cut: its end is missing"
    return target, ""


def opened(path: Path, scratch: Path) -> BagFile:
    """Open one storage file.

    Raises:
        ValueError: nothing in it can be read.
        OSError: nor can it.
    """
    file, problem = unpacked(path, scratch)
    name = path.name.removesuffix(PACKED)
    try:
        bag_file = (
            McapScan(file, name) if name.endswith(".mcap") else SqliteFile(file, name, scratch)
        )
    except ValueError as error:
        raise ValueError(f"{problem}; {error}" if problem else str(error)) from error
    if problem:
        bag_file.problems.insert(0, problem)
    return bag_file


def in_order(files: Sequence[BagFile], paths: Sequence[Path]) -> tuple[list[list[BagFile]], str]:
    """Return the files in the order of their recording, and a sentence where that isn't clear.

    By the numbers in their names; where those don't tell, by the times of their messages. Files
    that must be read side by side are together.
    """
    numbers = numbers_of(paths)
    if numbers is not None:
        order = [f for _, f in sorted(zip(numbers, files, strict=True), key=lambda p: p[0])]
        begins = [f.first_ns for f in order if f.first_ns is not None]
        if begins != sorted(begins):
            return [[f] for f in order], (
                "the files' numbers and the times of their messages tell different orders "
                f"({', '.join(f.name for f in order)}): read by their numbers"
            )
        return [[f] for f in order], ""
    order = sorted(files, key=lambda f: (f.first_ns is None, f.first_ns or 0, f.name))
    groups: list[list[BagFile]] = []
    end = None
    for file in order:
        if groups and end is not None and file.first_ns is not None:
            if file.first_ns < end - OVERLAP_NS:
                groups[-1].append(file)
            else:
                groups.append([file])
        else:
            groups.append([file])
        if file.last_ns is not None:
            end = max(file.last_ns, end or file.last_ns)
    return groups, ""


def without_doubles(files: Sequence[BagFile]) -> tuple[list[BagFile], list[str]]:
    """Return the files without those that hold what another one holds, and what was left out."""
    kept: list[BagFile] = []
    notes = []
    for file in files:
        span = (file.first_ns, file.last_ns)
        same = [
            k
            for k in kept
            if span[0] != span[1] and (k.first_ns, k.last_ns) == span and k.types == file.types
        ]
        if same:
            notes.append(f"{file.name} holds the same as {same[0].name}: left out")
        else:
            kept.append(file)
    return kept, notes


def closed(files: Sequence[BagFile]) -> None:
    """Let go of the files."""
    for file in files:
        if isinstance(file, SqliteFile):
            with suppress(Exception):
                file.close()
