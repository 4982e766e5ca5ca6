"""Directories and files that are not as they should be: a sentence each, never a crash."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import resource
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
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
    WriterPresentError,
)
from rtc_ros.handoff.latch import LatchFile
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


STRANGER = 54321
"""A user that nobody is, by number alone."""


@pytest.fixture
def shared_directory(open_directory: Path) -> Path:
    """A directory like /dev/shm: everybody may write, nobody may remove another's files."""
    os.chmod(open_directory, 0o1777)
    probe = open_directory / "probe"
    probe.touch()
    try:
        os.chown(probe, STRANGER, STRANGER)
        os.seteuid(NOBODY)
        os.seteuid(0)
    except OSError as error:
        pytest.skip(f"this user can't act for two users ({error.strerror}): root can")
    finally:
        probe.unlink()
    return open_directory


def give(path: Path, uid: int) -> None:
    """Make a file another user's, with its content."""
    os.chown(path, uid, uid)


def names_the_owner(path: Path, here: int, there: int) -> str:
    """Return what a sentence about another user's file must say, as a pattern."""
    who = rf"{re.escape(str(path))} belongs to user {there}\b.*this process runs as user {here}\b"
    return rf"{who}.*as the same user.*sudo rm {re.escape(str(path))}\).*another handoff_name"


def test_another_users_segment_is_refused(shared_directory: Path) -> None:
    directory, segment = str(shared_directory), shared_directory / "ring"
    with ChunkRing.create("ring", SPEC, directory=directory) as ring:
        ring.write(chunk(1))
        with unprivileged():
            for act in (ChunkRing.attach, ChunkRing.attach_or_none):
                with pytest.raises(AccessError, match=names_the_owner(segment, NOBODY, 0)):
                    act("ring", SPEC, directory=directory)
            words = names_the_owner(shared_directory / "ring.lock", NOBODY, 0)
            with pytest.raises(AccessError, match=f"can't take the writer's lock: {words}"):
                ChunkRing.create("ring", SPEC, directory=directory)
        os.chmod(segment, 0o666)  # now it could be read, and written by anybody
        with unprivileged(), pytest.raises(AccessError, match=names_the_owner(segment, NOBODY, 0)):
            ChunkRing.attach("ring", SPEC, directory=directory)


@pytest.mark.parametrize("kind", [ChunkRing, StepCursor])
def test_root_takes_no_segment_of_a_stranger(shared_directory: Path, kind: type) -> None:
    """A whole segment, right in every byte, that somebody else can write."""
    directory, segment = str(shared_directory), shared_directory / "segment"
    with unprivileged(), kind.create("segment", SPEC, directory=directory) as writer:  # type: ignore[attr-defined]
        writer.write(chunk(1) if kind is ChunkRing else state(1))
    content = segment.read_bytes()
    words = names_the_owner(segment, 0, NOBODY)
    with pytest.raises(AccessError, match=words):
        kind.attach("segment", SPEC, directory=directory)  # type: ignore[attr-defined]
    # Nor does root's writer take the name, or a word of what is there: their robot may run.
    lock = shared_directory / "segment.lock"
    with pytest.raises(AccessError, match=names_the_owner(lock, 0, NOBODY)):
        kind.create("segment", SPEC, directory=directory)  # type: ignore[attr-defined]
    lock.unlink()
    with pytest.raises(AccessError, match=f"put a segment in place: {words}"):
        kind.create("segment", SPEC, directory=directory)  # type: ignore[attr-defined]
    assert segment.read_bytes() == content
    assert segment.stat().st_uid == NOBODY
    segment.unlink()
    with kind.create("segment", SPEC, directory=directory) as ours:  # type: ignore[attr-defined]
        assert ours.inherited is None
        kind.attach("segment", SPEC, directory=directory).close()  # type: ignore[attr-defined]


def test_a_segment_that_a_stranger_puts_in_its_place_is_not_followed(
    shared_directory: Path,
) -> None:
    directory, segment = str(shared_directory), shared_directory / "ring"
    with ChunkRing.create("ring", SPEC, directory=directory) as ring:
        named = ring.write(chunk(1))
        reader = ChunkRing.attach("ring", SPEC, directory=directory, check_every=1)
        assert reader.read_newest() is not None
        segment.unlink()
        segment.write_bytes(ring_bytes_once())
        give(segment, STRANGER)
        for _ in range(2):
            with pytest.raises(AccessError, match=names_the_owner(segment, 0, STRANGER)):
                reader.read_newest()
        give(segment, 0)
        assert reader.read_newest().name != named.name  # type: ignore[union-attr]


@pytest.mark.parametrize("as_root", [True, False])
@pytest.mark.parametrize(
    ("leftover", "what"), [("ring.lock", "take the writer's lock"), ("ring", "put a segment")]
)
def test_a_strangers_leftover_is_named_with_the_remedy(
    shared_directory: Path, as_root: bool, leftover: str, what: str
) -> None:
    path = shared_directory / leftover
    path.write_bytes(b"")
    give(path, STRANGER)
    path.chmod(0o666)
    me = 0 if as_root else NOBODY
    words = rf"can't {what}.*: {names_the_owner(path, me, STRANGER)}"
    for _ in range(2):
        with nullcontext() if as_root else unprivileged(), pytest.raises(AccessError, match=words):
            ChunkRing.create("ring", SPEC, directory=str(shared_directory))
    assert path.stat().st_size == 0, "what belongs to a stranger was written"
    path.unlink()
    with nullcontext() if as_root else unprivileged():
        lock = shared_directory / "ring.lock"
        assert not lock.exists() or lock.stat().st_uid == me
        ChunkRing.create("ring", SPEC, directory=str(shared_directory)).close()


@pytest.mark.parametrize("as_root", [True, False])
def test_a_strangers_temporary_file_stops_nobody_and_is_named(
    shared_directory: Path, as_root: bool, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, ours = (shared_directory / f".ring.tmp-{digit * 16}" for digit in "0f")
    me = 0 if as_root else NOBODY
    for path, owner in ((theirs, STRANGER), (ours, me)):
        path.touch()
        give(path, owner)
    with nullcontext() if as_root else unprivileged():
        ChunkRing.create("ring", SPEC, directory=str(shared_directory)).close()
    assert theirs.exists() and not ours.exists()
    (said,) = caplog.messages
    assert re.search(names_the_owner(theirs, me, STRANGER), said)
    assert "this node goes on" in said


def test_a_strangers_latch_holds_but_is_no_latch_of_ours(shared_directory: Path) -> None:
    latch = LatchFile("robot", str(shared_directory))
    path = Path(latch.path)
    path.touch()
    give(path, STRANGER)
    path.chmod(0o666)
    assert latch.there
    with pytest.raises(AccessError, match=names_the_owner(path, 0, STRANGER)):
        latch.write()  # its owner could lift it
    with unprivileged(), pytest.raises(AccessError, match=names_the_owner(path, NOBODY, STRANGER)):
        latch.remove()
    assert latch.there


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
    words = {"fifo": "a FIFO"}.get(what, f"a {what}") + " and not a regular file: remove it"
    with pytest.raises(AccessError, match=f"open the segment: {path} is {words}"):
        ChunkRing.attach("ring", SPEC)
    with pytest.raises(AccessError, match=f"put a segment in place: {path} is {words}"):
        ChunkRing.create("ring", SPEC)
    assert (shm / "elsewhere").read_bytes() == bytes(100_000)
    (shm / "ring.lock").unlink()
    path.rename(shm / "ring.lock")
    with pytest.raises(AccessError, match=f"{shm}/ring.lock is {words}"):
        ChunkRing.create("ring", SPEC)
    assert (shm / "elsewhere").read_bytes() == bytes(100_000)


@pytest.mark.parametrize("name", ["ring", "ring.lock", "ring.latched"])
def test_a_hard_link_to_another_file_of_ours_is_refused(shm: Path, name: str) -> None:
    (shm / "precious").write_bytes(ring_bytes_once())
    os.link(shm / "precious", shm / name)
    words = f"{shm / name} is a hard link to a file that has another name, too: remove it"
    acts = [lambda: ChunkRing.create("ring", SPEC), lambda: ChunkRing.attach("ring", SPEC)]
    if name == "ring.latched":
        acts = [LatchFile("ring").write]
    elif name == "ring.lock":
        del acts[1]
    for act in acts:
        with pytest.raises(AccessError, match=words):
            act()
    assert (shm / "precious").read_bytes() == ring_bytes_once()


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
    sealed = bytearray(ring_bytes_once())
    page = np.frombuffer(sealed, HEADER, 1)
    for name, value in fields.items():
        page[name] = value
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


def test_the_lock_names_its_holder_alone(shm: Path) -> None:
    (shm / "ring.lock").write_text("999999999999 an older one\n")
    with ChunkRing.create("ring", SPEC):
        assert (shm / "ring.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_removed_while_it_was_taken_is_taken_anew(
    shm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder removes it between our open and our flock: another may hold the new one."""
    path, flock, calls = shm / "ring.lock", fcntl.flock, []

    def late(fd: int, how: int) -> None:
        if not calls:
            path.unlink()
        calls.append(fd)
        flock(fd, how)

    monkeypatch.setattr("fcntl.flock", late)
    with ChunkRing.create("ring", SPEC):
        assert len(calls) == 2
        with pytest.raises(WriterPresentError, match=f"process {os.getpid()}"):
            ChunkRing.create("ring", SPEC)


def test_a_lock_that_is_anothers_by_now_is_not_removed(shm: Path) -> None:
    first = ChunkRing.create("ring", SPEC)
    for name in ("ring", "ring.lock"):
        (shm / name).unlink()
    with ChunkRing.create("ring", SPEC):
        first.unlink()
        with pytest.raises(WriterPresentError, match=f"process {os.getpid()}"):
            ChunkRing.create("ring", SPEC)
