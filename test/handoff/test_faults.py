"""Directories and files that are not as they should be: a sentence each, never a crash."""

from __future__ import annotations

import dataclasses
import os
import resource
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import xxhash
from handoff_samples import SPEC, chunk, same_chunk, same_state, state
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.handoff import layout
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import (
    AccessError,
    CorruptError,
    FullError,
    HandoffError,
    VersionError,
)
from rtc_ros.handoff.records import HEADER, LAYOUT_VERSION, RING
from rtc_ros.handoff.ring import ChunkRing

NOBODY = 65534


@pytest.fixture
def tiny_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for two segments and a half."""
    size = ring_file_bytes() * 5 // 2 // 4096 * 4096
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs; the file size limit's test runs anyway")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def ring_file_bytes() -> int:
    return layout.Header(RING, SPEC, 8, 1, 1).file_bytes


def test_a_full_file_system_is_a_sentence_and_leaves_nothing(tiny_tmpfs: Path) -> None:
    directory = str(tiny_tmpfs)
    with ChunkRing.create("one", SPEC, directory=directory) as ring:
        ring.write(chunk(1))
        reader = ChunkRing.attach("one", SPEC, directory=directory)
        (tiny_tmpfs / "filler").write_bytes(b"x" * ring_file_bytes())
        with pytest.raises(FullError, match=r"allocate \d+ bytes.*bytes free\): make room"):
            ChunkRing.create("two", SPEC, directory=directory)
        assert sorted(os.listdir(tiny_tmpfs)) == ["filler", "one", "one.lock", "two.lock"]
        # Full to the last byte, the segments that exist go on: their pages are all there.
        with suppress(OSError), open(tiny_tmpfs / "filler", "ab", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for number in range(2, 30):
            ring.write(chunk(number))
            assert same_chunk(reader.read_newest(), chunk(number))  # type: ignore[arg-type]
    (tiny_tmpfs / "filler").unlink()
    ChunkRing.create("two", SPEC, directory=directory).unlink()


def test_a_file_size_limit_is_a_sentence_and_leaves_nothing(shm: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FullError, match="File too large"):
            ChunkRing.create("ring", SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(shm) == ["ring.lock"]
    ChunkRing.create("ring", SPEC).close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as somebody to whom permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can reach, as /dev/shm is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_an_unwritable_directory_is_a_sentence(open_directory: Path) -> None:
    os.chmod(open_directory, 0o555)
    with unprivileged(), pytest.raises(AccessError, match="Permission denied.*make .* writable"):
        ChunkRing.create("ring", SPEC, directory=str(open_directory))
    os.chmod(open_directory, 0o755)


def test_a_missing_directory_is_a_sentence(shm: Path) -> None:
    with pytest.raises(AccessError, match="nowhere doesn't exist; make it or set RTC_ROS_SHM_DIR"):
        ChunkRing.create("ring", SPEC, directory=str(shm / "nowhere"))
    assert ChunkRing.attach_or_none("ring", SPEC, directory=str(shm / "nowhere")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for two users")
def test_another_users_segment_is_refused(open_directory: Path) -> None:
    directory = str(open_directory)
    os.chmod(directory, 0o1777)
    with ChunkRing.create("ring", SPEC, directory=directory) as ring:
        ring.write(chunk(1))
        with unprivileged():
            with pytest.raises(AccessError, match="run both nodes as the same user"):
                ChunkRing.attach("ring", SPEC, directory=directory)
            with pytest.raises(AccessError, match="take the writer's lock"):
                ChunkRing.create("ring", SPEC, directory=directory)
        os.chmod(open_directory / "ring", 0o666)
        with unprivileged(), pytest.raises(AccessError, match="belongs to user 0"):
            ChunkRing.attach("ring", SPEC, directory=directory)


@pytest.mark.parametrize("what", ["directory", "fifo", "link"])
def test_things_that_are_no_files_are_refused(shm: Path, what: str) -> None:
    path = shm / "ring"
    (shm / "elsewhere").write_bytes(bytes(100_000))
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(shm / "elsewhere")
    with pytest.raises(AccessError, match="ring"):
        ChunkRing.attach("ring", SPEC)


def test_leftovers_of_this_name_alone_are_removed(shm: Path) -> None:
    mine = [".ring.tmp-0123456789abcdef", ".ring.tmp-ffffffffffffffff"]
    others = [".ring.tmp-0123", ".ring2.tmp-0123456789abcdef", "ring.tmp-0123456789abcdef"]
    for name in mine + others:
        (shm / name).touch()
    ChunkRing.create("ring", SPEC).close()
    assert sorted(os.listdir(shm)) == sorted([*others, "ring", "ring.lock"])


def ring_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ring = ChunkRing.create("ring", SPEC, directory=folder)
        for number in range(1, 13):
            ring.write(chunk(number))
        return Path(ring.path).read_bytes()


def cursor_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        cursor = StepCursor.create("cursor", SPEC, directory=folder)
        for number in range(1, 13):
            cursor.write(state(number))
        return Path(cursor.path).read_bytes()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("version", [2, LAYOUT_VERSION + 1])
def test_another_layout_version_is_a_sentence(shm: Path, sealed: bool, version: int) -> None:
    page = bytearray(ring_bytes())
    struct.pack_into("<I", page, 8, version)
    if sealed:
        _seal(page)
    (shm / "ring").write_bytes(page)
    words = f"layout {version} and this process knows layout {LAYOUT_VERSION}"
    with pytest.raises(VersionError, match=words):
        ChunkRing.attach("ring", SPEC)
    with ChunkRing.create("ring", SPEC) as ring:  # a writer takes the name over
        assert ring.inherited is None
        ChunkRing.attach("ring", SPEC).close()


@pytest.mark.parametrize("kind", [ChunkRing, StepCursor])
def test_other_fields_of_one_layout_version_are_a_sentence(shm: Path, kind: type) -> None:
    """Who adds a field and forgets the version isn't misread."""
    record = kind._record  # type: ignore[attr-defined]
    other = dataclasses.replace(record, fields=(("extra", "<i8", ()), *record.fields))
    header = layout.Header(other, SPEC, 8, 5, 1)
    (shm / "segment").write_bytes(header.pack().ljust(header.file_bytes, b"\0"))
    words = f"a {record.name} of .*{other.digest:016x}.*{record.digest:016x}.*same version"
    with pytest.raises(VersionError, match=words):
        kind.attach("segment", SPEC)  # type: ignore[attr-defined]
    with kind.create("segment", SPEC):  # type: ignore[attr-defined]
        kind.attach("segment", SPEC).close()  # type: ignore[attr-defined]


def _sealed(**fields: int) -> bytes:
    page = np.frombuffer(ring_bytes_once(), HEADER, 1).copy()
    for name, value in fields.items():
        page[name] = value
    sealed = bytearray(page.tobytes() + ring_bytes_once()[layout.HEADER_BYTES :])
    _seal(sealed)
    return bytes(sealed)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 3},
        {"slots": 3},
        {"slots": 1025},
        {"slots": 2**32 - 1},
        {"slot_bytes": 64},
        {"action_dim": 13},
        {"joints_digest": 1},
        {"epoch": 0},
        {"epoch": 2**53},
        {"epoch": 2**64 - 1},
    ],
)
def test_a_sealed_header_that_contradicts_itself_is_a_sentence(
    shm: Path, fields: dict[str, int]
) -> None:
    (shm / "ring").write_bytes(_sealed(**fields))
    with pytest.raises(CorruptError, match="contradicts itself: stop the node that writes it"):
        ChunkRing.attach("ring", SPEC)
    with ChunkRing.create("ring", SPEC) as ring:
        assert ring.write(chunk(1)).name == (ring.epoch, 1)


def test_the_largest_epoch_is_believed_and_grows_once_more(shm: Path) -> None:
    (shm / "ring").write_bytes(_sealed(epoch=2**53 - 2))
    with ChunkRing.create("ring", SPEC) as ring:
        assert ring.epoch == 2**53 - 1
        ChunkRing.attach("ring", SPEC).close()


def _seal(page: bytearray) -> None:
    struct.pack_into("<Q", page, layout.place("digest"), layout.page_digest(page))


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 4095, b"\0" * 100_000, b"hello" * 9999])
def test_files_that_are_no_segments_are_a_sentence(shm: Path, content: bytes) -> None:
    (shm / "ring").write_bytes(content)
    with pytest.raises(CorruptError, match="(less than a segment's header|not a segment)"):
        ChunkRing.attach("ring", SPEC)


@settings(max_examples=150)
@given(data=st.data())
def test_a_sealed_header_with_any_numbers_is_never_believed(data: st.DataObject) -> None:
    """Even with a right digest no header may lead outside the file."""
    page = bytearray(ring_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(12, 76))
        struct.pack_into("<I", page, place, data.draw(st.integers(0, 2**32 - 1)))
    _seal(page)
    _attach_and_check(bytes(page), ChunkRing)


PLACES = st.one_of(
    st.integers(0, 255),  # the header's numbers and hints
    st.integers(layout.HEADER_BYTES, layout.HEADER_BYTES + 200),  # a slot's head
    st.integers(0, 10**9).map(lambda place: place % len(ring_bytes_once())),
)
_ONCE: dict[str, bytes] = {}


def ring_bytes_once() -> bytes:
    return _ONCE.setdefault("ring", ring_bytes())


def cursor_bytes_once() -> bytes:
    return _ONCE.setdefault("cursor", cursor_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ChunkRing, StepCursor])
@settings(max_examples=300)
@given(
    flips=st.lists(st.tuples(PLACES, st.integers(1, 255)), max_size=12),
    size=st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_no_damage_crashes_a_reader_or_makes_up_a_chunk(  # type: ignore[no-untyped-def]
    kind: type, flips: list[tuple[int, int]], size: int | None
) -> None:
    data = bytearray(ring_bytes_once() if kind is ChunkRing else cursor_bytes_once())
    for place, bits in flips:
        data[place % len(data)] ^= bits
    if size is not None:  # cut or lengthened
        data = data[:size] + bytes(max(0, size - len(data)))
    _attach_and_check(bytes(data), kind)


@settings(max_examples=150)
@given(flips=st.lists(st.tuples(PLACES, st.integers(1, 255)), min_size=1, max_size=40))
def test_no_damage_under_a_mapped_reader_makes_up_a_chunk(flips: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ring")
        path.write_bytes(ring_bytes_once())
        reader = ChunkRing.attach("ring", SPEC, directory=folder)
        with open(path, "r+b", buffering=0) as file:
            for place, bits in flips:
                byte = os.pread(file.fileno(), 1, place)
                os.pwrite(file.fileno(), bytes([byte[0] ^ bits]), place)
                _check(reader)


def _attach_and_check(data: bytes, kind: type) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "segment").write_bytes(data)
        try:
            reader = kind.attach("segment", SPEC, directory=folder)
        except HandoffError as error:
            assert str(error)
            # Whatever lies there, a new writer can take the name.
            with kind.create("segment", SPEC, directory=folder) as writer:
                if isinstance(writer, ChunkRing) and writer.inherited is not None:
                    assert same_chunk(writer.inherited, chunk(writer.inherited.seq))
            return
        _check(reader)


def _check(reader: ChunkRing | StepCursor) -> None:
    reader.poll()
    if isinstance(reader, ChunkRing):
        newest = reader.read_newest()
        for got in [*reader.recent(), *([newest] if newest else [])]:
            assert 1 <= got.seq <= 12
            assert same_chunk(got, chunk(got.seq))
    else:
        seen = reader.read()
        assert seen is None or same_state(seen, state(seen.step))


def test_xxh3_is_the_stable_one() -> None:
    """Both sides may have other versions of the library: its value is part of the layout."""
    assert xxhash.xxh3_64_intdigest(b"rtc_ros") == 0x9816ADA5A98A0C89
